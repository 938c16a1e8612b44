"""The steps of a traced packet, and its last one: from the bridge of a network to a card. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from zctl.actions.trace_filters import is_filtered, verdict
from zctl.plan.names import bridge_name, namespace_name, table_name, tap_name
from zctl.plan.trace import Packet, Step
from zctl.resources.host import Host
from zctl.resources.l2_network import L2Network
from zctl.resources.l3_network import L3Network
from zctl.resources.nic import Nic
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot

Ask = dict[str, Any]


class Dropped(Exception):
    """The packet goes no further; the last step says why."""


@dataclass
class Way:
    """What a packet has come by so far."""

    snapshot: Snapshot
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def go(self, host: str | None, place: str, words: str, ask: Ask | None = None) -> None:
        """A step that lets the packet pass."""
        self.steps.append(Step(self.host_name(host), place, words, host_id=host or "", ask=ask))

    def drop(self, host: str | None, place: str, words: str, remedy: str = "") -> NoReturn:
        """A step that does not."""
        self.steps.append(Step(self.host_name(host), place, words, False, remedy, host or ""))
        raise Dropped

    def host_name(self, host: str | None) -> str:
        """A host's name."""
        row = self.snapshot.get(Host, host)
        return row.name if row else ""

    def network(self, nic: Nic) -> L3Network:
        """A card's l3-network."""
        return self.snapshot.need(L3Network, nic.l3_network_id)

    def l2(self, network: L3Network) -> L2Network:
        """An l3-network's l2-network."""
        return self.snapshot.need(L2Network, network.l2_network_id)

    def host_of(self, nic: Nic, word: str) -> str:
        """The host on which a card's VM runs; the packet is dropped when it runs nowhere."""
        vm = self.snapshot.need(Vm, nic.vm_id)
        if vm.power != "Running" or not vm.host_id:
            self.drop(vm.host_id, vm.label, f"it does not run, so it {word} nothing", f"zctl vm start {vm.name}")
        host = self.snapshot.need(Host, vm.host_id)
        if host.state in ("Disconnected", "Connecting"):
            self.notes.append(f"host {host.name} is {host.state}: whether {vm.label} runs is not known")
        return vm.host_id

    def table(self, concern: str, family: str, words: list[str], namespace: str = "") -> Ask:
        """The question whether a filter of zctl's is loaded and holds some words."""
        name = table_name(concern, self.snapshot.inventory)
        return {"what": "table", "family": family, "table": name, "namespace": namespace, "words": words}

    def router_table(self, network: L3Network, *words: str) -> Ask:
        """The question whether the namespace of a network translates so."""
        return self.table("eip", "ip", list(words), namespace_name(network.id))

    def in_namespace(self, host: str, network: L3Network, words: str, address: str | None = None) -> None:
        """A step within the namespace of a network."""
        name = namespace_name(network.id)
        ask = {"what": "namespace", "namespace": name, "address": address}
        self.go(host, f"namespace {name} of {network.label}", words, ask)

    def on_port(self, host: str, nic: Nic, words: str) -> None:
        """A step by a card's port on its bridge."""
        bridge = bridge_name(self.network(nic).l2_network_id)
        ask = {"what": "device", "device": tap_name(nic.id), "bridge": bridge}
        self.go(host, f"port {tap_name(nic.id)} of {nic.label}", words, ask)

    def between(self, here: str, there: str, l2: L2Network) -> None:
        """The wire between two hosts."""
        bridge = bridge_name(l2.id)
        for host, words in ((here, f"out to host {self.host_name(there)}"), (there, "in")):
            place = f"{l2.uplink} of bridge {bridge}"
            ask = {"what": "device", "device": l2.uplink, "bridge": bridge}
            self.go(host, place, f"{l2.label} ({l2.kind}), {words}", ask)

    def filters(self, host: str, nic: Nic, direction: str, packet: Packet) -> None:
        """Anti-spoofing and security groups of a card."""
        place = f"filter of {nic.label}"
        ask = self.table("security", "bridge", [f'"{tap_name(nic.id)}"']) if is_filtered(self.snapshot, nic) else None
        if direction == "egress":
            guard = "anti-spoofing: it sends from its own address" if nic.anti_spoofing else "anti-spoofing is off"
            self.go(host, place, guard, ask)
        found = verdict(self.snapshot, nic, direction, packet)
        if not found.passes:
            self.drop(host, place, f"{direction}: {found.words}", found.remedy)
        self.go(host, place, f"{direction}: {found.words}", ask)

    def deliver(self, nic: Nic, packet: Packet, here: str | None) -> None:
        """From the bridge of a host, or from the wire, to a card."""
        network = self.network(nic)
        l2 = self.l2(network)
        there = self.host_of(nic, "receives")
        if here is None:
            ask = {"what": "device", "device": l2.uplink, "bridge": bridge_name(l2.id)}
            self.go(there, f"{l2.uplink} of bridge {bridge_name(l2.id)}", f"{l2.label} ({l2.kind}), in", ask)
        elif here != there:
            self.between(here, there, l2)
        self.filters(there, nic, "ingress", packet)
        self.on_port(there, nic, f"delivered to {self.snapshot.need(Vm, nic.vm_id).label} as {packet.text}")
