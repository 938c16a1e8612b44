"""Where a traced packet comes from and goes to: names and addresses as people write them. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING

from zctl.errors import Invalid, NotFound, Refused, did_you_mean
from zctl.plan.trace import Packet
from zctl.resources.eip import Eip
from zctl.resources.l3_network import L3Network
from zctl.resources.nic import Nic
from zctl.resources.vip import Vip
from zctl.resources.vm import Vm

if TYPE_CHECKING:
    from zctl.plan.snapshot import Snapshot

ADDRESS = re.compile(r"[0-9.]+")


def ends(snapshot: Snapshot, source: str, target: str, protocol: str | None) -> tuple[Nic | None, Packet]:
    """The card that sends (None: somebody outside) and the packet. Raises Invalid, NotFound or Refused."""
    host, port = split_port(target)
    protocol = protocol or ("tcp" if port else "icmp")
    if protocol in ("tcp", "udp") and not port:
        raise Invalid(f"{protocol} needs a port", resource=f"--to {target}", remedy=f"write --to {host}:443")
    if protocol == "icmp" and port:
        raise Invalid("icmp has no ports", resource=f"--to {target}", remedy="leave the port out, or --protocol tcp")
    cards = cards_of(snapshot, source)
    where = address_of(snapshot, host, cards)
    if cards is None:
        outside = parse_address("--from", source)
        return None, Packet(outside, where, protocol, port)
    nic = card_for(snapshot, cards, where)
    return nic, Packet(nic.ip or "", where, protocol, port)


def split_port(target: str) -> tuple[str, int]:
    """Name or address, and a port or 0. Raises Invalid."""
    host, _, port = target.partition(":")
    if ":" in port:
        raise Invalid("only IPv4 is traced", resource=f"--to {target}", remedy="give a name or an IPv4 address")
    if not port and ":" not in target:
        return host, 0
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise Invalid(
            f"{target!r} is not NAME, ADDRESS or either with :PORT", resource="--to", remedy="such as 172.31.0.9:443"
        )
    return host, int(port)


def parse_address(option: str, text: str) -> str:
    """An IPv4 address, or Invalid."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Invalid(f"{text!r} is not an address", resource=option, remedy="such as 192.0.2.7") from None
    if not isinstance(address, IPv4Address):
        raise Invalid("only IPv4 is traced", resource=f"{option} {text}", remedy="give an IPv4 address")
    return str(address)


def cards_of(snapshot: Snapshot, text: str) -> list[Nic] | None:
    """The cards of a VM, or the one of that name or address; None for an address of nobody's in the cloud."""
    if ADDRESS.fullmatch(text) or ":" in text:
        address = parse_address("--from", text)
        found = [nic for nic in snapshot.by(Nic, "ip", address) if nic.bridge is None]
        if len(found) > 1:
            names = ", ".join(nic.name for nic in found)
            raise Refused(f"several cards have {address}: {names}", resource="--from", remedy="name one of them")
        return found or None
    return named(snapshot, "--from", text)


def named(snapshot: Snapshot, option: str, text: str) -> list[Nic]:
    """The cards of a VM of that name, or the card of that name."""
    for vm in snapshot.by(Vm, "name", text):
        cards = sorted(snapshot.by(Nic, "vm_id", vm.id), key=lambda nic: nic.device)
        usable = [nic for nic in cards if nic.bridge is None and nic.ip and nic.l3_network_id]
        if not usable:
            raise Refused(f"{vm.label} has no card on an l3-network", resource=option, remedy=f"zctl vm show {vm.name}")
        return usable
    for nic in snapshot.by(Nic, "name", text):
        if nic.bridge is not None or not nic.ip or not nic.l3_network_id:
            raise Refused(f"{nic.label} is plugged into what zctl did not make", resource=option)
        return [nic]
    names = [row.name for cls in (Vm, Nic) for row in snapshot.all(cls)]
    hint = did_you_mean(text, names) or "give a VM, a nic or an address"
    raise NotFound(f"there is no vm or nic {text!r}", resource=option, remedy=hint)


def address_of(snapshot: Snapshot, text: str, senders: list[Nic] | None) -> str:
    """The address that a name means to the sender: on a network that they share, or else the public one."""
    if ADDRESS.fullmatch(text):
        return parse_address("--to", text)
    cards = named(snapshot, "--to", text)
    own = {nic.l3_network_id for nic in senders or []}
    for nic in cards:
        if nic.l3_network_id in own:
            return nic.ip or ""
    for nic in cards:
        for eip in snapshot.by(Eip, "nic_id", nic.id):
            vip = snapshot.get(Vip, eip.vip_id)
            if vip and vip.ip and ":" not in vip.ip:
                return vip.ip
    return cards[0].ip or ""


def card_for(snapshot: Snapshot, cards: list[Nic], dst: str) -> Nic:
    """The card by which a VM sends to an address: on that subnet, or else the first with a gateway."""
    networks = {nic.id: snapshot.need(L3Network, nic.l3_network_id) for nic in cards}
    for nic in cards:
        if ip_address(dst) in ip_network(networks[nic.id].cidr):
            return nic
    return next((nic for nic in cards if networks[nic.id].gateway), cards[0])
