"""Rules of security groups as people write them. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

from zctl.errors import Invalid

DIRECTIONS = ("ingress", "egress")
PROTOCOLS = ("all", "tcp", "udp", "icmp", "icmpv6")
ACTIONS = ("allow", "deny")
PORTED = ("tcp", "udp")
PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
GRAMMAR = "write it as [deny] ingress|egress PROTOCOL [PORT|START-END] [from|to CIDR|group:NAME]"


def canonical_ports(text: str, label: str) -> str:
    """Ports as they are stored: START-END, or one. Raises Invalid."""
    found = PORTS.fullmatch(text.strip())
    if not found:
        raise Invalid(f"ports {text!r} are not START-END or one port", resource=label, field="ports")
    first, last = int(found[1]), int(found[2] or found[1])
    if first > last:
        raise Invalid(
            f"ports {first}-{last} end before they begin", resource=label, remedy=f"write {last}-{first}", field="ports"
        )
    if not 1 <= first <= last <= 65535:
        raise Invalid(f"ports {text} are not between 1 and 65535", resource=label, field="ports")
    return str(first) if first == last else f"{first}-{last}"


def canonical_cidr(text: str, label: str, field: str = "cidr") -> str:
    """A network as it is stored; a single address is one too. Raises Invalid."""
    try:
        if "%" in text:
            raise ValueError("it names an interface")  # Python takes whatever stands behind a % for one
        return str(ip_network(text.strip()))
    except ValueError as error:
        raise Invalid(
            f"{text!r} is not a CIDR: {error}", resource=label, remedy="such as 10.1.0.0/16 or fd00::/64", field=field
        ) from None


def ports_of(text: str | None) -> tuple[int | None, int | None]:
    """First and last port of what is stored."""
    if not text:
        return None, None
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def check_sense(label: str, protocol: str, ports: str | None, cidr: str | None, group: str | None) -> None:
    """Raise Invalid for what no packet could be."""
    if ports and protocol not in PORTED:
        raise Invalid(
            f"protocol {protocol} has no ports",
            resource=label,
            remedy="leave the ports out, or take tcp or udp",
            field="ports",
        )
    if cidr and group:
        raise Invalid(
            "it has both a CIDR and a remote group", resource=label, remedy="make two rules of it", field="remote_group"
        )
    if cidr and protocol in ("icmp", "icmpv6") and (ip_network(cidr).version == 6) != (protocol == "icmpv6"):
        right = "icmpv6" if protocol == "icmp" else "icmp"
        raise Invalid(f"protocol {protocol} does not go with {cidr}", resource=label, remedy=f"take {right}")


def parse_rule(text: str, label: str) -> dict[str, Any]:
    """The values of a rule written as a line; `remote_group` is a name. Raises Invalid."""
    words = text.split()
    action = words.pop(0) if words and words[0] in ACTIONS else "allow"
    if len(words) < 2 or words[0] not in DIRECTIONS or words[1] not in PROTOCOLS:
        raise Invalid(f"rule {text!r} is not a rule", resource=label, remedy=GRAMMAR, field="rules")
    found: dict[str, Any] = {"action": action, "direction": words[0], "protocol": words[1]}
    found |= {"ports": None, "cidr": None, "remote_group": None}
    rest = words[2:]
    if rest and rest[0] not in ("from", "to"):
        found["ports"] = canonical_ports(rest.pop(0), label)
    if rest:
        if len(rest) != 2 or rest[0] not in ("from", "to"):
            raise Invalid(f"rule {text!r} is not a rule", resource=label, remedy=GRAMMAR, field="rules")
        if rest[1].startswith("group:"):
            found["remote_group"] = rest[1].removeprefix("group:")
        else:
            found["cidr"] = canonical_cidr(rest[1], label, "rules")
    check_sense(label, found["protocol"], found["ports"], found["cidr"], found["remote_group"])
    return found


def rule_text(action: str, direction: str, protocol: str, ports: str | None, remote: str | None) -> str:
    """A rule as a line, as parse_rule reads it."""
    words = ["deny"] if action == "deny" else []
    words += [direction, protocol, *([ports] if ports else [])]
    return " ".join([*words, *(["from" if direction == "ingress" else "to", remote] if remote else [])])
