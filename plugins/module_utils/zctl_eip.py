# SPDX-License-Identifier: Apache-2.0
"""The eip concern: public addresses on this host for the cards of its VMs, written down in /etc/zctl/eip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_balancer as balancer
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_arp as arp
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_family as families
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_eip_inside import (
        ip_json_in,
        load_table,
        read_inside,
        set_sysctls,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_boot import install_boot
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_network_plan import USUAL_MTU, parse_links
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_records import damaged_words, read_records
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import (
        difference,
        in_scope,
        outcome,
        result,
    )
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        ip_batch,
        ip_json,
        run,
        write_json,
    )
except ImportError:
    import zctl_balancer as balancer  # type: ignore[no-redef]
    import zctl_eip_arp as arp  # type: ignore[no-redef]
    import zctl_eip_family as families  # type: ignore[no-redef]
    import zctl_eip_plan as plan  # type: ignore[no-redef]
    from zctl_eip_inside import (  # type: ignore[no-redef]
        ip_json_in,
        load_table,
        read_inside,
        set_sysctls,
    )
    from zctl_network_boot import install_boot  # type: ignore[no-redef]
    from zctl_network_plan import USUAL_MTU, parse_links  # type: ignore[no-redef]
    from zctl_records import damaged_words, read_records  # type: ignore[no-redef]
    from zctl_results import (  # type: ignore[no-redef]
        difference,
        in_scope,
        outcome,
        result,
    )
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        ip_batch,
        ip_json,
        run,
        write_json,
    )

FOLDER = Path("/etc/zctl/eip")
KINDS = {"eips": "eip", "snats": "nat-gateway", "exits": "nat-gateway", "forwards": "port-forwarding"}
BALANCER = "load-balancer"
NEEDED = {"uuid", "inventory", "namespace", "cidr", "publics", "eips"}
Json = dict[str, Any]


def read_stored() -> tuple[dict[str, Json], dict[Path, str]]:
    """The routers of this host by their networks' uuids, of all inventories, and the records that cannot be used."""
    return read_records(sorted(FOLDER.glob("*.json")), NEEDED)


def converge(inventory: str, state: Json, scope: list[str] | None, check: bool, by_itself: bool = False) -> Json:
    """Bring the eips in scope to their desired state; returns what a module returns.

    `by_itself`: nobody but this host says so, from what it knew when it went down. Addresses that another host of the
    inventory has by now stay there, and no service is started: systemd does that itself, and would wait for whoever
    asks for it then.
    """
    stored, damaged = read_stored()
    ours = {uuid: entry for uuid, entry in stored.items() if entry["inventory"] == inventory}
    desired = {entry["uuid"]: entry for entry in state.get("routers") or []}
    if not ours and not desired:
        return outcome([])
    host = Host(inventory, check, stored, damaged, by_itself)
    results: list[Json] = []
    wanted = {uuid: families.merged(inventory, ours.get(uuid), desired.get(uuid), scope) for uuid in {*ours, *desired}}
    for uuid in sorted(wanted):
        known = [*families.entries(ours.get(uuid, {})), *families.entries(desired.get(uuid, {}))]
        if any(in_scope(entry["uuid"], scope) for entry in known):
            results += host.router(ours.get(uuid), wanted[uuid], scope)
    results += host.catch([router for uuid, router in wanted.items() if uuid not in host.failed])
    if not check and any(families.entries(router) for router in wanted.values()):
        install_boot()
    words = [f"{e['kind']} {e['name']}: {e['reason']}\n" for e in results if e["result"] in ("changed", "removed")]
    return outcome(results, "", "".join(words))


def kind_of(entry: Json) -> str:
    """What an entry of a router is to people."""
    if "targets" in entry:
        return BALANCER
    if "private_start" in entry:
        return KINDS["forwards"]
    return KINDS["eips"] if "private_ip" in entry else KINDS["snats"]


@dataclass
class Host:
    """This host as it was found, for one inventory."""

    inventory: str
    check: bool
    stored: dict[str, Json]
    damaged: dict[Path, str]
    by_itself: bool = False
    failed: set[str] = field(default_factory=set)
    links: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.links = parse_links(ip_json("address", "show"))

    def router(self, stored: Json | None, wanted: Json, scope: list[str] | None) -> list[Json]:
        """One namespace: its eips' results."""
        before = {entry["uuid"]: entry for entry in families.entries(stored or {})}
        after = {entry["uuid"]: entry for entry in families.entries(wanted)}
        gone = [entry for key, entry in before.items() if key not in after]
        looked = [entry for key, entry in after.items() if in_scope(key, scope)]
        try:
            owner = self.stored.get(wanted["uuid"], wanted)["inventory"]
            if owner != self.inventory:
                raise Trouble(f"another inventory ({owner}) has eips in this network here: it is left alone")
            done = Translation(self, stored, wanted).bring(gone, looked)
        except (Trouble, OSError) as error:
            self.failed.add(wanted["uuid"])
            return [result(kind_of(entry), entry, "failed", str(error)) for entry in [*gone, *looked]]
        return done

    def catch(self, routers: list[Json]) -> list[Json]:
        """What VMs send to a physical gateway is handed to their namespaces."""
        text = plan.catching_table(self.inventory, routers)
        path = FOLDER / f".catching-{self.inventory[:8]}"
        wrong = load_table(path, "bridge", self.inventory, text, "", self.check)
        caught = [eip for router in routers if not router["gateway_here"] for eip in router["eips"]]
        if not wrong or not caught:  # that the last one goes is told by its own result
            return []
        return [result(KINDS["eips"], caught[0], "changed", "what goes to its gateway is caught", wrong, answers=True)]


@dataclass
class Translation:
    """One namespace and what it is to translate."""

    host: Host
    stored: Json | None
    wanted: Json

    def bring(self, gone: list[Json], looked: list[Json]) -> list[Json]:
        """Ports, addresses, routes and translation; a result for each eip."""
        wanted, namespace = self.wanted, self.wanted["namespace"]
        if not (arp.NAMESPACES / namespace).exists():
            if gone and not families.entries(wanted):
                return self.removed(gone)
            if self.host.check:
                words = "its network is to be served first"
                return [result(kind_of(entry), entry, "changed", words, [came(entry)]) for entry in looked]
            raise Trouble(f"network namespace {namespace} is not there: see what l3-network {wanted['name']} says")
        self.write_ahead()
        shared = self.ports()
        seen = {view["version"]: read_inside(namespace, view["version"]) for view in families.views(wanted)}
        have = {address for one in seen.values() for addresses in one["ports"].values() for address in addresses}
        taken = {} if self.host.check else self.ask(have)
        if taken:
            self.leave_out(taken)
            seen = {view["version"]: read_inside(namespace, view["version"]) for view in families.views(self.wanted)}
        shared += self.settle(seen)
        if not self.host.check:
            self.tell(have)
        balanced, problem = self.balance()
        # What is wrong with haproxy is told of a load balancer, and comes last.
        looked.sort(key=lambda entry: kind_of(entry) == BALANCER)
        if looked and kind_of(looked[-1]) == BALANCER:
            rest = self.results([], looked[-1:], have, taken, balanced, problem)
            return self.results(gone, looked[:-1], have, taken, shared, problem) + rest
        return self.results(gone, looked, have, taken, shared + balanced, problem)

    def balance(self) -> tuple[list[Json], str]:
        """Load balancers; one that cannot be started does not keep eips from working."""
        try:
            return [] if self.host.by_itself else balancer.bring(self.wanted, self.host.check), ""
        except (Trouble, OSError) as error:
            return [], str(error)

    def write_ahead(self) -> None:
        """Before anything is made it is written down, so that what a failure leaves behind is known, and goes."""
        if self.host.check or not families.entries(self.wanted):
            return
        links = {link["uuid"]: link for link in [*(self.stored or {}).get("publics", []), *self.wanted["publics"]]}
        write_json(FOLDER / f"{self.wanted['uuid']}.json", {**self.wanted, "publics": list(links.values())})

    def leave_out(self, taken: dict[str, str]) -> None:
        """Go on without the addresses that somebody else has; a port that was made for them alone goes again."""
        lists = {name: [e for e in self.wanted[name] if e.get("ip") not in taken] for name in families.LISTS}
        left = families.trimmed({**self.wanted, **lists})
        for link in self.wanted["publics"]:
            if link not in left["publics"]:
                run(["ip", "link", "del", "dev", link["veth"]])
        self.wanted = left

    def ports(self) -> list[Json]:
        """The ports on public networks: made, mended, removed."""
        wanted, found = self.wanted, []
        inner = parse_links(ip_json_in(wanted["namespace"], "address", "show"))
        for link in wanted["publics"]:
            way_out = self.host.links.get(link["uplink"])
            if link["bridge"] not in self.host.links and not self.host.check:
                raise Trouble(f"the bridge {link['bridge']} of l3-network {link['name']} is not there: zctl converge")
            outer = self.host.links.get(link["veth"])
            if outer is not None and outer.get("ifalias") != plan.port_mark(wanted, link):
                raise Trouble(f"there is a device {link['veth']} that is not zctl's: rename or remove it")
            mtu = link.get("mtu") or (way_out or {}).get("mtu") or USUAL_MTU
            wrong = plan.port_differences(link, mtu, outer, inner.get(link["port"]))
            found += wrong
            if wrong and not self.host.check:
                if outer is not None:
                    run(["ip", "link", "del", "dev", link["veth"]])
                outside, inside = plan.port_lines(wanted, link, mtu)
                ip_batch(outside)
                ip_batch(inside, wanted["namespace"])
        kept = {link["veth"] for link in wanted["publics"]}
        for link in (self.stored or {}).get("publics", []):
            if link["veth"] not in kept and link["veth"] in self.host.links:
                found.append(difference(f"port.{link['name']}", link["veth"], None))
                if not self.host.check:
                    run(["ip", "link", "del", "dev", link["veth"]])
        return found

    def ask(self, have: set[str]) -> dict[str, str]:
        """Who else has addresses that are to come here: address to MAC. Hosts of this inventory let go of them."""
        found: dict[str, str] = {}
        for link in self.wanted["publics"]:
            asked = [ip for ip in plan.addresses(self.wanted, link) if families.with_length(ip) not in have]
            if asked:
                port, mac = link["port"], link["mac"]
                answers = arp.within(self.wanted["namespace"], lambda p=port, m=mac, a=asked: arp.probe(p, m, a))
                own = "" if self.host.by_itself else mac[:8]  # its first three bytes tell the inventory
                found |= {ip: other for ip, other in answers.items() if not own or not other.startswith(own)}
        return found

    def tell(self, have: set[str]) -> None:
        """Say on the public networks that the addresses are here now."""
        for link in self.wanted["publics"]:
            new = [ip for ip in plan.addresses(self.wanted, link) if families.with_length(ip) not in have]
            if new:
                port, mac = link["port"], link["mac"]
                arp.within(self.wanted["namespace"], lambda p=port, m=mac, a=new: arp.announce(p, m, a))
        new = [ip for ip in plan.sources(self.wanted) if f"{ip}/32" not in have]
        if new:
            inside, mac = plan.INSIDE, self.wanted["mac"]
            arp.within(self.wanted["namespace"], lambda: arp.announce(inside, mac, new))

    def settle(self, seen: dict[int, Json]) -> list[Json]:
        """Mend addresses, rules and routes, load the translation, write it down. Returns what differed."""
        wanted, namespace, check = self.wanted, self.wanted["namespace"], self.host.check
        found = set_sysctls(namespace, families.sysctls(wanted), check)
        for view in families.views(wanted):
            lines, differences = plan.inside_lines(seen[view["version"]], plan.wanted_inside(view))
            found += differences
            if not check:
                ip_batch(lines, namespace, view["version"])
            head = families.FAMILIES[view["version"]].table
            path = table_file(wanted["uuid"], view["version"])
            found += load_table(path, head, self.host.inventory, plan.router_table(view), namespace, check)
        record = FOLDER / f"{wanted['uuid']}.json"
        if not families.entries(wanted):
            if not check:
                forget(wanted["uuid"])
        elif not check:
            write_json(record, wanted)
        elif self.stored is None:
            found.append(difference("record", self.host.damaged.get(record), str(record)))
        return found

    def removed(self, gone: list[Json]) -> list[Json]:
        """The results of eips whose namespace is gone already."""
        if not self.host.check:
            forget(self.wanted["uuid"])
        balancer.remove(self.wanted["uuid"], self.host.check)
        return [result(kind_of(entry), entry, "removed", "removed", [left(entry)]) for entry in gone]

    def results(
        self, gone: list[Json], looked: list[Json], have: set[str], taken: dict[str, str], shared: list[Json], bad: str
    ) -> list[Json]:
        """What came of each entry; what concerns them all is told with the first that is not new.

        `bad` is what went wrong with load balancers.
        """
        found = [result(kind_of(entry), entry, "removed", "removed", [left(entry)]) for entry in gone]
        before = {entry["uuid"]: entry for entry in families.entries(self.stored or {})}
        for entry in looked:
            kind, ip = kind_of(entry), entry.get("ip")
            if ip in taken:
                reason = (
                    f"{ip} is answered for by {taken[ip]} already, which is not zctl's: find that machine, or use"
                    " another vip"
                )
                if self.host.by_itself:
                    reason = f"{ip} is answered for by {taken[ip]} by now: it is left there until zctl converge"
                found.append(result(kind, entry, "failed", reason))
                continue
            if bad and kind == BALANCER:
                found.append(result(kind, entry, "failed", bad))
                continue
            is_new = before.get(entry["uuid"]) != entry or (ip is not None and families.with_length(ip) not in have)
            mine = [came(entry)] if is_new else shared
            shared = shared if is_new else []
            words = ("set up" if is_new else "mended") if mine else "it is there already"
            found.append(
                result(kind, entry, "changed" if mine else "unchanged", words, mine, answers=kind == KINDS["eips"])
            )
        return found


def came(entry: Json) -> Json:
    """The difference that an entry is to come."""
    return difference(kind_of(entry), None, entry.get("ip") or entry["mac"])


def left(entry: Json) -> Json:
    """The difference that an entry is to go."""
    return difference(kind_of(entry), entry.get("ip") or entry["mac"], None)


def table_file(uuid: str, version: int) -> Path:
    """Where it is kept how nft showed the table of a router's family."""
    return FOLDER / f".{uuid}.nft{'6' if version == 6 else ''}"


def forget(uuid: str) -> None:
    """Remove what is written down of a router."""
    for path in (FOLDER / f"{uuid}.json", table_file(uuid, 4), table_file(uuid, 6)):
        path.unlink(missing_ok=True)


def restore() -> list[str]:
    """Bring back the eips of all inventories from their files. Returns what did not work."""
    stored, damaged = read_stored()
    troubles = damaged_words(damaged)
    for inventory in sorted({entry["inventory"] for entry in stored.values()}):
        routers = [entry for entry in stored.values() if entry["inventory"] == inventory]
        found = converge(inventory, {"routers": routers}, None, False, by_itself=True)
        troubles += [f"eip {e['name']}: {e['reason']}" for e in found["results"] if e["result"] == "failed"]
    return troubles
