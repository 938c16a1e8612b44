# SPDX-License-Identifier: Apache-2.0
"""The rules of a host's firewall: what is written in a list, checked and turned into nftables. Pure.

Nothing of a rule reaches nft as it was written: ports are numbers, networks are parsed, comments have no quotes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    from zctl_system import Trouble  # type: ignore[assignment]

Json = dict[str, Any]
Network = Any  # an IPv4Network or IPv6Network
TABLE = "zctl_firewall"
KEYS = {"port", "ports", "protocol", "from", "comment"}
LONGEST_COMMENT = 100  # bytes; nftables takes 128
HEADER = "# Put here by zctl (role firewall), which writes it anew. Loaded at boot by zctl-firewall.service.\n"
DELETE = f"table inet {TABLE}\ndelete table inet {TABLE}\n"  # a table that is not there cannot be deleted
# In order. What nobody could do without: neighbour discovery is ICMPv6; a multicast tunnel dies without IGMP's
# questions; answers of DHCP servers are not known as such, because they were asked by broadcast or multicast.
# Protocols are numbers (ICMP, IGMP, ICMPv6; TCP is 6), because small hosts have no /etc/protocols.
FIRST = (
    ("ct state established,related", "accept", "answers, and what was let in before"),
    ("ct state invalid", "drop", "belongs to nothing"),
    ('iif "lo"', "accept", "the host itself"),
    ("meta l4proto { 1, 2, 58 }", "accept", "ICMP with neighbour discovery, IGMP"),
    ("udp sport 67 udp dport 68", "accept", "DHCP answers"),
    ("ip6 saddr fe80::/10 udp sport 547 udp dport 546", "accept", "DHCPv6 answers"),
)
LAST = (
    ("meta pkttype { broadcast, multicast }", "drop", "nobody waits for an answer"),
    ("meta l4proto 6", "reject with tcp reset", "not let in"),
    ("", "reject with icmpx admin-prohibited", "not let in"),
)


@dataclass(frozen=True)
class Rule:
    """What is let in: ports as ordered ranges that do not touch, and from where; no networks are all."""

    protocol: str
    ports: tuple[tuple[int, int], ...]
    sources: tuple[Network, ...] = ()
    comment: str = ""


def parse_rules(entries: list[Any]) -> list[Rule]:
    """The rules of a list. Raises Trouble that names the entry and what is wrong with it."""
    rules = []
    for number, entry in enumerate(entries):
        try:
            rules.append(parse_rule(entry))
        except ValueError as error:
            raise Trouble(f"firewall_rules[{number}]: {error}") from None
    return rules


def parse_rule(entry: Any) -> Rule:
    """One rule. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r} is not a rule such as {{port: 22, from: [192.0.2.0/24]}}")
    unknown = sorted(str(key) for key in set(entry) - KEYS)
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)} (there are: {', '.join(sorted(KEYS))})")
    if ("port" in entry) == ("ports" in entry):
        raise ValueError("one of port and ports is needed")
    protocol = entry.get("protocol", "tcp")
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"protocol {protocol!r} is neither tcp nor udp")
    ports = as_list(entry["port"] if "port" in entry else entry["ports"])
    if not ports:
        raise ValueError("ports is empty")
    sources = entry.get("from")
    if sources is not None and not as_list(sources):  # nobody is meant, or everybody: a person must say
        raise ValueError("from is empty: leave it out to let everybody in")
    return Rule(protocol, merge(map(port_range, ports)), networks(as_list(sources)), comment_of(entry.get("comment")))


def as_list(value: Any) -> list[Any]:
    """A list; of a single value, one with that value."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def port_range(value: Any) -> tuple[int, int]:
    """First and last port of `22`, `"22"` or `"8000-8010"`."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value).strip())
    if isinstance(value, bool) or found is None:
        raise ValueError(f"{value!r} is not a port or a range such as 8000-8010")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"port {value} is not within 1 to 65535, first before last")
    return first, last


def merge(ranges: Any) -> tuple[tuple[int, int], ...]:
    """Ranges in order, joined where they overlap or touch: nft refuses a set in which they do."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def networks(values: list[Any]) -> tuple[Network, ...]:
    """Networks of addresses and CIDRs, IPv4 first, none within another."""
    found: dict[int, list[Any]] = {4: [], 6: []}
    for value in values:
        try:
            if not isinstance(value, str) or "%" in value:
                raise ValueError
            network = ipaddress.ip_network(value.strip(), strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is not an address or a network such as 192.0.2.0/24") from None
        if "/" in value and str(network.network_address) != str(ipaddress.ip_interface(value.strip()).ip):
            raise ValueError(f"{value} has bits set beyond its length: did you mean {network}?")
        found[network.version].append(network)
    return (*ipaddress.collapse_addresses(found[4]), *ipaddress.collapse_addresses(found[6]))


def comment_of(value: Any) -> str:
    """A comment that can stand in quotes as it is."""
    text = "" if value is None else str(value).strip()
    if not text.isprintable() or set(text) & set('"\\'):
        raise ValueError("comment has quotes, backslashes, line breaks or other signs that cannot be shown")
    if len(text.encode()) > LONGEST_COMMENT:
        raise ValueError(f"comment is longer than {LONGEST_COMMENT} bytes")
    return text


# --- what it lets in --------------------------------------------------------------------------------------------------
def lets_in(rules: list[Rule], protocol: str, port: int, source: str = "") -> bool:
    """Whether a new connection to a port would be let in; without a source, whether from anywhere at all."""
    for rule in rules:
        if rule.protocol != protocol or not any(first <= port <= last for first, last in rule.ports):
            continue
        if not source or not rule.sources:
            return True
        address = ipaddress.ip_address(source)
        if any(address in network for network in rule.sources if network.version == address.version):
            return True
    return False


# --- nftables ---------------------------------------------------------------------------------------------------------
def render(rules: list[Rule]) -> str:
    """Input for `nft -f`, which takes the place of the table in one step."""
    lines = [line(*first) for first in FIRST]
    for rule in rules:
        for where in matches_of(rule):
            lines.append(line(f"{where}{rule.protocol} dport {port_set(rule.ports)}", "accept", rule.comment))
    lines += [line(*last) for last in LAST]
    return table(lines)


def watch() -> str:
    """Input for `nft -f` that lets the kernel begin to track connections, and lets everything in."""
    return table([line(*FIRST[0])])


def table(lines: list[str]) -> str:
    """Input for `nft -f` with these rules."""
    body = "".join(f"\t\t{text}\n" for text in lines)
    chain = f"\tchain input {{\n\t\ttype filter hook input priority filter; policy accept;\n{body}\t}}\n"
    return f"{HEADER}{DELETE}table inet {TABLE} {{\n{chain}}}\n"


def line(match: str, verdict: str, comment: str) -> str:
    """One rule as nft reads it."""
    said = f' comment "{comment}"' if comment else ""
    return f"{match} counter {verdict}{said}".strip()


def matches_of(rule: Rule) -> list[str]:
    """What to ask of a packet's source, once for each version of IP; an empty text for everybody."""
    if not rule.sources:
        return [""]
    found = []
    for version, word, kind in ((4, "ip", "ipv4"), (6, "ip6", "ipv6")):
        members = [network for network in rule.sources if network.version == version]
        if any(network.prefixlen == 0 for network in members):  # nft has no set of everything
            found.append(f"meta nfproto {kind} ")
        elif members:
            names = (str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n) for n in members)
            found.append(f"{word} saddr {{ {', '.join(names)} }} ")
    return found


def port_set(ports: tuple[tuple[int, int], ...]) -> str:
    """Ports as nft writes a set."""
    names = (str(first) if first == last else f"{first}-{last}" for first, last in ports)
    return f"{{ {', '.join(names)} }}"


# --- who is there -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Connection:
    """Somebody's SSH connection to this host."""

    port: int
    peer: str
    peer_port: int
    pids: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """What tells it from any other."""
        return f"{self.peer} {self.peer_port} {self.port}"


def parse_ssh(listing: str) -> list[Connection]:
    """Connections of sshd in what `ss -Htnp state established` prints."""
    found = []
    for text in listing.splitlines():
        words = text.split(None, 4)
        if len(words) < 5 or '"sshd' not in words[4]:  # since OpenSSH 9.8 it is sshd-session
            continue
        (_, port), (peer, peer_port) = endpoint(words[2]), endpoint(words[3])
        found.append(Connection(port, peer, peer_port, frozenset(map(int, re.findall(r"pid=(\d+)", words[4])))))
    return found


def endpoint(text: str) -> tuple[str, int]:
    """Address and port as ss writes them: brackets around IPv6, devices after a percent sign."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped or address), int(port)


def present_connection(connections: list[Connection], ancestors: list[int]) -> Connection | None:
    """The connection that a process was called by, if one was."""
    for pid in ancestors:
        for connection in connections:
            if pid in connection.pids:
                return connection
    return None


def lockouts(rules: list[Rule], connections: list[Connection], tunnels: dict[str, int]) -> list[str]:
    """What the rules would cut, each with the rule to add. Tunnels are devices and their UDP ports."""
    found = []
    for connection in connections:
        if not lets_in(rules, "tcp", connection.port, connection.peer):
            wanted = f"{{port: {connection.port}, from: [{connection.peer}], comment: SSH}}"
            found.append(f"SSH from {connection.peer} to port {connection.port}: add {wanted}")
    for port in sorted(set(tunnels.values())):
        if not lets_in(rules, "udp", port):
            names = ", ".join(sorted(name for name, theirs in tunnels.items() if theirs == port))
            wanted = f"{{port: {port}, protocol: udp, comment: VXLAN}}"
            found.append(f"the tunnels of VMs ({names}) at UDP port {port}: add {wanted}")
    return sorted(set(found))


def other_filters(chains: list[Json]) -> list[str]:
    """Chains of other tables that what comes in must pass too, from `nft -j list chains`."""
    found = []
    for item in chains:
        chain = item.get("chain", {})
        if chain.get("hook") != "input" or chain.get("type") != "filter" or chain.get("table") == TABLE:
            continue
        if chain.get("family") in ("ip", "ip6", "inet"):
            policy = ", which drops what it does not know" if chain.get("policy") == "drop" else ""
            found.append(f"{chain['family']} {chain['table']} {chain['name']}{policy}")
    return sorted(found)
