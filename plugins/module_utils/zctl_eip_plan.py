# SPDX-License-Identifier: Apache-2.0
"""What a namespace needs to translate between public and private addresses. Pure: values in, lines and texts out.

Both families go the same way: each has its view of a router, and all below is made of one view.
In the namespace of a private l3-network each public network has a port with the eips on it. What comes in for an eip is
translated to its card's address; what the card's VM sends goes out as its eip, by that public network's routing table.
"""

from __future__ import annotations

from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_balancer_plan import allowing_rules
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_eip_family import (
        FAMILIES,
        INSIDE,
        entries,
        link_local,
        version_of,
        with_length,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import difference
except ImportError:
    from zctl_balancer_plan import allowing_rules  # type: ignore[no-redef]
    from zctl_eip_family import (  # type: ignore[no-redef]
        FAMILIES,
        INSIDE,
        entries,
        link_local,
        version_of,
        with_length,
    )
    from zctl_results import difference  # type: ignore[no-redef]

Json = dict[str, Any]
BY_MARK, BY_ADDRESS, BY_NETWORK = 100, 110, 120
SOURCE_LABEL = f"{INSIDE}:lb"  # tells the address of load balancers from the namespace's own
EXIT_TABLE, NEXT_HOP = "268435455", "169.254.1.1"  # below all marks; an address that needs no network
OURS = (BY_MARK, BY_ADDRESS, BY_NETWORK)


def table_name(inventory: str) -> str:
    """The nftables table of one inventory's routers, in the host and in each namespace."""
    return f"zctl_eip_{inventory.replace('-', '')[:8]}"


def addresses(router: Json, link: Json) -> list[str]:
    """The addresses that the router has on a public network."""
    return sorted({entry["ip"] for entry in entries(router) if entry.get("public") == link["uuid"]})


def sources(router: Json) -> list[str]:
    """The addresses by which load balancers reach their targets."""
    return sorted({entry["source"] for entry in router.get("balancers") or []})


def wanted_inside(router: Json) -> Json:
    """What `ip` is to show of a view: addresses by port, rules, routes by table, neighbours; all as its words."""
    rules, routes = [], {}
    ports: dict[str, list[str]] = {port: [] for port in router["ports"]}
    if router["version"] == 4:
        ports[INSIDE] = [with_length(address) for address in sources(router)]
    neighbours = dict(router["neighbours"])
    for snat in router.get("snats") or []:
        mark = next(link["mark"] for link in router["publics"] if link["uuid"] == snat["public"])
        rules.append(f"pref {BY_NETWORK} from {router['cidr']} lookup {mark}")
    for way in router.get("exits") or []:
        rules.append(f"pref {BY_NETWORK} from {router['cidr']} lookup {EXIT_TABLE}")
        routes[EXIT_TABLE] = [f"{router['cidr']} dev {INSIDE}", f"default via {NEXT_HOP} dev {INSIDE}"]
        neighbours[NEXT_HOP] = way["mac"]
    for link in router["publics"]:
        port, table = link["port"], str(link["mark"])
        ports[port] = [with_length(address) for address in addresses(router, link)]
        if router["version"] == 6:
            ports[port].append(f"{link_local(link['mac'])}/64")
        rules.append(f"pref {BY_MARK} fwmark {link['mark']:#x} lookup {table}")
        rules.append(f"pref {BY_ADDRESS} from {link['cidr']} lookup {table}")
        routes[table] = [f"{link['cidr']} dev {port}", f"{router['cidr']} dev {INSIDE}"]
        if link.get("gateway"):
            routes[table].append(f"default via {link['gateway']} dev {port}")
    return {
        "ports": ports,
        "rules": sorted(rules),
        "routes": {table: sorted(lines) for table, lines in routes.items()},
        "neighbours": neighbours,
    }


def seen_inside(addresses: list[Json], rules: list[Json], routes: list[Json], neighbours: list[Json]) -> Json:
    """What `ip -j` of one family shows in a namespace, in the shape of wanted_inside; only what can be ours."""
    ports = {
        link["ifname"]: sorted(
            f"{entry['local']}/{entry['prefixlen']}"
            for entry in link.get("addr_info", [])
            if entry.get("family") in ("inet", "inet6")
            and (link["ifname"] != INSIDE or entry.get("label") == SOURCE_LABEL)
        )
        for link in addresses
        if link["ifname"].startswith("p-") or link["ifname"] == INSIDE
    }
    tables: dict[str, list[str]] = {}
    for route in routes:
        table = str(route.get("table", "main"))
        if table.isdigit():
            via = f" via {route['gateway']}" if route.get("gateway") else ""
            tables.setdefault(table, []).append(f"{route['dst']}{via} dev {route.get('dev')}")
    return {
        "ports": ports,
        "rules": sorted(rule_words(rule) for rule in rules if rule.get("priority") in OURS),
        "routes": {table: sorted(lines) for table, lines in tables.items()},
        "neighbours": {entry["dst"]: entry.get("lladdr") for entry in neighbours},
    }


def rule_words(rule: Json) -> str:
    """A routing rule as `ip rule add` takes it."""
    words = f"pref {rule['priority']}"
    if rule.get("fwmark"):
        words += f" fwmark {int(rule['fwmark'], 16):#x}"
    if rule.get("src", "all") != "all":
        words += f" from {rule['src']}" + (f"/{rule['srclen']}" if "srclen" in rule else "")
    return f"{words} lookup {rule.get('table')}"


def inside_lines(seen: Json, wanted: Json) -> tuple[list[str], list[Json]]:
    """Lines for `ip -batch` in the namespace that make it as wanted, and the differences that they mend."""
    lines: list[str] = []
    found: list[Json] = []
    for port, addresses in wanted["ports"].items():
        have = seen["ports"].get(port, [])
        for address in sorted({*have, *addresses}):
            word = _word(address, have, addresses)
            if word:
                # Whether somebody has it was asked before (zctl_eip_arp), for all at once.
                end = " nodad" if word == "add" and version_of(address) == 6 else ""
                end += f" label {SOURCE_LABEL}" if word == "add" and port == INSIDE else ""
                lines.append(f"addr {word} {address} dev {port}{end}")
                found.append(_changed(f"address.{address}", word, port))
    for rule in sorted({*seen["rules"], *wanted["rules"]}):
        word = _word(rule, seen["rules"], wanted["rules"])
        if word:
            lines.append(f"rule {word} {rule}")
            found.append(_changed("rule", word, rule))
    for table in sorted({*seen["routes"], *wanted["routes"]}):
        have, want = seen["routes"].get(table, []), wanted["routes"].get(table, [])
        # A route by the gateway needs the one to its network to be there first.
        for route in sorted({*have, *want}, key=lambda route: (route.startswith("default"), route)):
            word = _word(route, have, want)
            if word:
                onlink = " onlink" if word == "add" and " via " in route else ""
                lines.append(f"route {word} {route} table {table}{onlink}")
                found.append(_changed("route", word, f"{route} table {table}"))
    for ip in sorted({*seen["neighbours"], *wanted["neighbours"]}):
        have, want = seen["neighbours"].get(ip), wanted["neighbours"].get(ip)
        if have != want:
            end = f"lladdr {want} dev {INSIDE} nud permanent" if want else f"dev {INSIDE}"
            lines.append(f"neigh {'replace' if want else 'del'} {ip} {end}")
            found.append(difference(f"neighbour.{ip}", have, want))
    return lines, found


def _word(entry: str, have: list[str], want: list[str]) -> str:
    return "" if (entry in have) == (entry in want) else "add" if entry in want else "del"


def _changed(field: str, word: str, value: str) -> Json:
    return difference(field, None, value) if word == "add" else difference(field, value, None)


def port_lines(router: Json, link: Json, mtu: int) -> tuple[list[str], list[str]]:
    """Lines for `ip -batch` that make the port on a public network: on the host, and within the namespace."""
    peer = f"peer name {link['port']} netns {router['namespace']} mtu {mtu}"
    outside = [
        f"link add name {link['veth']} mtu {mtu} type veth {peer}",
        f"link set dev {link['veth']} alias {port_mark(router, link)} addrgenmode none",
        f"link set dev {link['veth']} master {link['bridge']}",
        f"link set dev {link['veth']} up",
    ]
    inside = [
        f"link set dev {link['port']} address {link['mac']} addrgenmode none",
        f"link set dev {link['port']} up",
    ]
    return outside, inside


def port_mark(router: Json, link: Json) -> str:
    """What says on the port whose it is."""
    return f"zctl:{router['inventory']}:{router['uuid']}:{link['uuid']}"


def port_differences(link: Json, mtu: int, outer: Json | None, inner: Json | None) -> list[Json]:
    """Where the ends of a public port, as `ip -j address` shows them, are not as port_lines makes them."""
    if outer is None or inner is None:
        return [difference(f"port.{link['name']}", None, link["veth"])]
    fields = (
        ("bridge", outer.get("master"), link["bridge"]),
        ("state", "up" if "UP" in outer.get("flags", []) else "down", "up"),
        ("mtu", outer.get("mtu"), mtu),
        ("mac", inner.get("address"), link["mac"]),
        ("inner_state", "up" if "UP" in inner.get("flags", []) else "down", "up"),
    )
    return [difference(f"port.{link['name']}.{name}", have, want) for name, have, want in fields if have != want]


def router_table(router: Json) -> str:
    """The table of a view for `nft -f`, which takes the place of the one that is there in one step."""
    family = FAMILIES[router["version"]]
    head, kind = family.table, family.kind
    table = f"table {head} {table_name(router['inventory'])}"
    mark = {link["uuid"]: link["mark"] for link in router["publics"]}
    eips = sorted(router["eips"], key=lambda eip: eip["ip"])
    text = f"{table} {{}}\ndelete {table}\n"
    if not router["is_used"]:
        return text
    return (
        text
        + f"""{table} {{
  map private_of {{
    type {kind} : {kind}
{_elements(f"{eip['ip']} : {eip['private_ip']}" for eip in eips)}  }}
  map public_of {{
    type {kind} : {kind}
{_elements(f"{eip['private_ip']} : {eip['ip']}" for eip in eips)}  }}
  map mark_of {{
    type {kind} : mark
{_elements(f"{eip['private_ip']} : {mark[eip['public']]:#x}" for eip in eips)}  }}
  set known {{
    type {kind}
{_elements(eip["private_ip"] for eip in eips)}  }}
  chain marking {{
    type filter hook prerouting priority mangle; policy accept;
    iifname "{INSIDE}" meta mark set {head} saddr map @mark_of
  }}
  chain incoming {{
    type nat hook prerouting priority dstnat; policy accept;
{_lines(forward_rule(entry) for entry in router.get("forwards") or [])}    dnat to {head} daddr map @private_of
  }}
  chain outgoing {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname != "{INSIDE}" snat to {head} saddr map @public_of
    oifname "{INSIDE}" ct status dnat snat to {head} saddr map @public_of
    oifname "{INSIDE}" ct status dnat {head} saddr {router["cidr"]} {own_source(router)}
{_lines(snat_rule(router, entry) for entry in router.get("snats") or [])}  }}
  chain passing {{
    type filter hook forward priority filter; policy drop;
    tcp flags syn tcp option maxseg size set rt mtu
    ct state established,related accept
    ct status dnat accept
    iifname "{INSIDE}" oifname != "{INSIDE}" {head} saddr @known accept
{_lines(way_out_rules(router))}  }}
  chain arriving {{
    type filter hook input priority filter; policy accept;
{_lines(client_rules(router))}    iifname {{ "lo", "{INSIDE}" }} accept
    ct state established,related accept
    {family.arriving} accept
    drop
  }}
}}
"""
    )


def forward_rule(entry: Json) -> str:
    """What leads a port, or some, to a card."""
    ports = str(entry["start"]) if entry["start"] == entry["end"] else f"{entry['start']}-{entry['end']}"
    source = f"ip saddr {entry['allowed']} " if entry.get("allowed") else ""
    target = entry["private_ip"]
    if entry["start"] == entry["end"]:
        target += f":{entry['private_start']}"
    return f"ip daddr {entry['ip']} {source}{entry['protocol']} dport {ports} dnat to {target}"


def snat_rule(router: Json, entry: Json) -> str:
    """What gives the cards without an eip one address outside."""
    port = next(link["port"] for link in router["publics"] if link["uuid"] == entry["public"])
    return f'oifname "{port}" ip saddr {router["cidr"]} snat to {entry["ip"]}'


def own_source(router: Json) -> str:
    """Whom a card that asks for a public address of its own network sees.

    Where the way out is, the other card may be on another host, on which the namespace's own addresses are that
    host's: it answers the way out's.
    """
    return f"snat to {router['snats'][0]['ip']}" if router.get("snats") else "masquerade"


def client_rules(router: Json) -> list[str]:
    """What lets clients reach load balancers."""
    return [rule for entry in router.get("balancers") or [] for rule in allowing_rules(entry)]


def way_out_rules(router: Json) -> list[str]:
    """What lets the cards without an eip out, here or by way of another host."""
    ports = [f'oifname "{link["port"]}"' for link in router["publics"]] if router.get("snats") else []
    ways = [*ports, *(f'oifname "{INSIDE}" ip daddr != {router["cidr"]}' for _ in router.get("exits") or [])]
    return [f'iifname "{INSIDE}" {way} ip saddr {router["cidr"]} accept' for way in ways]


def _lines(rules: Any) -> str:
    return "".join(f"    {rule}\n" for rule in rules)


def _elements(words: Any) -> str:
    listed = ", ".join(words)
    return f"    elements = {{ {listed} }}\n" if listed else ""


def catching_table(inventory: str, routers: list[Json]) -> str:
    """The host's table: what a VM with an eip sends to a physical gateway is handed to its namespace instead."""
    table = f"table bridge {table_name(inventory)}"
    text = f"{table} {{}}\ndelete {table}\n"
    chains = ""
    for version in (4, 6):
        caught = [
            (eip["tap"], router["cidr6" if version == 6 else "cidr"], router["mac"])
            for router in routers
            if not router["gateway_here"]
            for eip in router["eips"]
            if version_of(eip["ip"]) == version
        ]
        chains += catching_chain(version, sorted(caught)) if caught else ""
    return f"{text}{table} {{\n{chains}}}\n" if chains else text


def catching_chain(version: int, caught: list[tuple[str, str, str]]) -> str:
    """The part of that table for one family: port, subnet and namespace of each card that has an eip."""
    family, end = FAMILIES[version], "6" if version == 6 else ""
    return f"""  set inside{end} {{
    type ifname . {family.kind}
    flags interval
{_elements(f'"{tap}" . {cidr}' for tap, cidr, _ in caught)}  }}
  map namespace_of{end} {{
    type ifname : ether_addr
{_elements(f'"{tap}" : {mac}' for tap, _, mac in caught)}  }}
  chain catching{end} {{
    type filter hook prerouting priority -250; policy accept;
    ether type != {family.table} accept
    iifname . {family.table} daddr @inside{end} accept
    {family.table} daddr {{ {family.everybody} }} accept
    ether daddr set iifname map @namespace_of{end}
  }}
"""
