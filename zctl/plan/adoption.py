"""Which of the domains found on hosts can be taken over, under which names and on which networks. Pure.

Whatever cannot be recognised is left open and said in a note; whatever would be wrong is refused with the reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Json = dict[str, Any]

LEGAL = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
MAC = re.compile(r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")
NAME_LENGTH = 63
DOMAIN_LENGTH = 80
SOURCE_LENGTH = {"disks": 1024, "nics": 255}
DESCRIPTION_LENGTH = 1000
LEAST_MEMORY = 16 * 1024**2
ADOPTABLE = ("Running", "Stopped")
BOOTS = ("disk", "network", "disk,network", "network,disk")
UNPLUGGED = ("user",)
"""cards whose addresses are private to the domain and say nothing about a network"""


@dataclass(frozen=True)
class Place:
    """A host that was read."""

    id: str
    name: str
    cluster: str | None = None


@dataclass(frozen=True)
class Network:
    """An l3-network as the recognition needs it; `interface` only for plain Ethernet."""

    id: str
    name: str
    bridge: str
    interface: str | None
    cidr: str
    hosts: frozenset[str]
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Known:
    """What the inventory holds that an adopted VM could collide with. Values are labels for messages."""

    vms: dict[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    macs: dict[str, str] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    inventory: str = ""


@dataclass(frozen=True)
class Choice:
    """What the user asked for. Domains are named by libvirt's name, HOST/NAME, or UUID."""

    domains: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)


@dataclass
class Card:
    """One network card: where it is plugged in, and the l3-network and address as far as they are known."""

    mac: str
    source: str
    network: Network | None = None
    ip: str | None = None


@dataclass
class Proposal:
    """One domain to take over."""

    place: Place
    facts: Json
    name: str
    domain: str
    disks: list[Json]
    cards: list[Card]
    root: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def boot(self) -> str:
        """The boot order in the inventory's words."""
        words = ",".join(self.facts["boot"])
        return words if words in BOOTS else "disk"


@dataclass(frozen=True)
class Refusal:
    """A domain that is left as it is, and why."""

    host: str
    domain: str
    uuid: str
    reason: str


@dataclass
class Outcome:
    """What adoption would do, before anything is written."""

    proposals: list[Proposal] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def goes_by(place: Place, facts: Json, word: str) -> bool:
    """Whether a user's word means this domain."""
    return word in (facts["domain"], f"{place.name}/{facts['domain']}") or word.lower() == facts["uuid"]


def legal_name(domain: str) -> str:
    """A legal name made from a domain's: unchanged when it is legal, else lower-case with '-' for what is not."""
    if LEGAL.match(domain):
        return domain
    plain = unicodedata.normalize("NFKD", domain.replace("ß", "ss")).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9]+", "-", plain.lower() or "vm").strip("-")[:NAME_LENGTH].strip("-")
    return text or "vm"


def unique_name(wanted: str, host: str, taken: set[str]) -> str:
    """The wanted name, or one with the host's name or a number behind it that nobody has."""
    if wanted not in taken:
        return wanted
    endings = [f"-{legal_name(host)}", *(f"-{number}" for number in range(2, len(taken) + 3))]
    candidates = (f"{wanted[: NAME_LENGTH - len(ending)].rstrip('-')}{ending}" for ending in endings)
    return next(name for name in candidates if name not in taken and LEGAL.match(name))


def propose(found: dict[Place, list[Json]], known: Known, choice: Choice) -> Outcome:
    """Proposals and refusals for all domains found, in the order of hosts and domain names."""
    outcome = Outcome()
    taken = {*known.names, *choice.names.values()}
    everywhere = [(place, facts) for place, all_facts in found.items() for facts in all_facts]
    seen = Counter(facts["uuid"] for _place, facts in everywhere)
    macs = Counter(nic["mac"] for _place, facts in everywhere for nic in facts.get("nics", []))
    users = disk_users(everywhere)
    domains = set(known.domains)
    addresses: set[tuple[str, str]] = set()
    for word in (*choice.domains, *choice.names, *choice.exclude):
        if not any(goes_by(place, facts, word) for place, facts in everywhere):
            outcome.unknown.append(word)
    for place, facts in sorted(everywhere, key=lambda pair: (pair[0].name, pair[1]["domain"])):
        if not is_chosen(place, facts, choice):
            continue
        if facts["mark"] == known.inventory:
            outcome.ours.append(facts["domain"])
            continue
        wish = next((name for word, name in choice.names.items() if goes_by(place, facts, word)), None)
        reason = refusal(place, facts, known, seen, macs, users) or name_problem(wish, known, choice)
        if reason:
            outcome.refusals.append(Refusal(place.name, facts["domain"], facts["uuid"], reason))
            continue
        name = wish or unique_name(legal_name(facts["domain"]), place.name, taken)
        taken.add(name)
        proposal = accept(place, facts, name, domains, known, choice, addresses)
        outcome.proposals.append(proposal)
    return outcome


def is_chosen(place: Place, facts: Json, choice: Choice) -> bool:
    """Whether the domain is among those asked for."""
    if any(goes_by(place, facts, word) for word in choice.exclude):
        return False
    return not choice.domains or any(goes_by(place, facts, word) for word in choice.domains)


def disk_users(everywhere: list[tuple[Place, Json]]) -> dict[tuple[str, str], list[tuple[str, bool]]]:
    """Which domains use a disk: files and devices by host, network disks by source alone."""
    users: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for place, facts in everywhere:
        for disk in facts.get("disks", []):
            key = ("" if disk["shared"] and disk["type"] == "network" else place.id, disk["source"])
            users.setdefault(key, []).append((f"{place.name}/{facts['domain']}", disk["shareable"]))
    return users


def refusal(
    place: Place,
    facts: Json,
    known: Known,
    seen: Counter[str],
    macs: Counter[str],
    users: dict[tuple[str, str], list[tuple[str, bool]]],
) -> str:
    """Why the domain cannot be taken over, or an empty text."""
    if facts["mark"] is not None:
        return f"it belongs to another zctl inventory ({facts['mark']}); remove it there first"
    if facts["uuid"] in known.vms:
        return f"its UUID {facts['uuid']} is {known.vms[facts['uuid']]}'s in the inventory; give the copy a new UUID"
    if seen[facts["uuid"]] > 1:
        return f"its UUID {facts['uuid']} is on two of the hosts; remove the copy that is not in use"
    return domain_problem(facts) or device_problem(place, facts, known, macs, users)


def domain_problem(facts: Json) -> str:
    """What of the domain itself does not fit."""
    if not facts["persistent"]:
        return f"it is transient: 'virsh dumpxml {facts['domain']}' and 'virsh define' make it lasting first"
    if facts["virt_type"] not in ("kvm", "qemu"):
        return f"it is of type {facts['virt_type']}; zctl runs kvm and qemu only"
    if facts["state"] not in ADOPTABLE:
        why = f" ({facts['why']})" if facts.get("why") else ""
        return f"it is {facts['state']}{why}; only running and stopped VMs can be taken over: resume or stop it first"
    if facts["memory"] < LEAST_MEMORY:
        return "it has less than 16 MiB of memory; give it more with 'virsh setmaxmem'"
    if len(facts["description"]) > DESCRIPTION_LENGTH:
        return f"its description is longer than {DESCRIPTION_LENGTH} characters; shorten it with 'virsh desc'"
    if re.search(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", facts["description"]):
        return "its description holds characters that cannot be kept; change it with 'virsh desc'"
    return ""


def device_problem(
    place: Place,
    facts: Json,
    known: Known,
    macs: Counter[str],
    users: dict[tuple[str, str], list[tuple[str, bool]]],
) -> str:
    """What of its disks and cards belongs to something else too."""
    for nic in facts["nics"]:
        if nic["mac"] in known.macs:
            return f"its MAC {nic['mac']} is {known.macs[nic['mac']]}'s in the inventory; change it with 'virsh edit'"
        if macs[nic["mac"]] > 1:
            return f"its MAC {nic['mac']} is on two network cards; change one of them with 'virsh edit'"
        if not MAC.match(nic["mac"]):
            return f"{nic['mac'] or 'a card without MAC'} is not a MAC that zctl can keep"
    for disk in facts["disks"]:
        key = ("" if disk["shared"] and disk["type"] == "network" else place.id, disk["source"])
        others = [name for name, _shareable in users[key] if name != f"{place.name}/{facts['domain']}"]
        if others and not all(shareable for _name, shareable in users[key]):
            return (
                f"its disk {disk['source']} is also a disk of {others[0]}; give each its own, or mark it <shareable/>"
            )
        if len(users[key]) > 1 and not others:
            return f"its disk {disk['source']} is plugged in twice; detach one of them with 'virsh detach-disk'"
    for kind, limit in SOURCE_LENGTH.items():
        long = next((entry["source"] for entry in facts[kind] if len(entry["source"]) > limit), None)
        if long:
            return f"the source {long[:60]}... is longer than {limit} characters"
    return ""


def name_problem(wish: str | None, known: Known, choice: Choice) -> str:
    """What is wrong with a name that the user chose."""
    if wish is None:
        return ""
    if not LEGAL.match(wish):
        return f"{wish!r} is not a legal name; letters, digits and '-' are, such as {legal_name(wish)}"
    if wish in known.names:
        return f"a vm {wish} exists already; choose another name with --name"
    if list(choice.names.values()).count(wish) > 1:
        return f"the name {wish} is given to two domains; choose another for one of them"
    return ""


def accept(
    place: Place,
    facts: Json,
    name: str,
    domains: set[str],
    known: Known,
    choice: Choice,
    addresses: set[tuple[str, str]],
) -> Proposal:
    """The proposal for a domain that nothing forbids, with notes on all that is out of the ordinary."""
    domain = facts["domain"]
    if domain in domains or len(domain) > DOMAIN_LENGTH:
        domain = facts["uuid"]  # virsh takes it wherever it takes a name
    domains.add(domain)
    root = boot_disk(facts["disks"])
    disks = [disk for disk in facts["disks"] if disk["target"] == root]
    disks += [disk for disk in facts["disks"] if disk["target"] != root]
    cards = [recognise(place, nic, known, choice, addresses) for nic in facts["nics"]]
    proposal = Proposal(place, facts, name, domain, disks, cards, root)
    proposal.notes = notes(proposal)
    return proposal


def boot_disk(disks: list[Json]) -> str | None:
    """The disk that the guest boots from: the first by boot order, else the first of its bus, else the first."""
    ordered = sorted((disk["boot"], disk["target"]) for disk in disks if disk["boot"])
    if ordered:
        return str(ordered[0][1])
    first = next((disk["target"] for disk in disks if re.match(r"^[a-z]{2}a$", disk["target"])), None)
    return first or (disks[0]["target"] if disks else None)


def recognise(place: Place, nic: Json, known: Known, choice: Choice, addresses: set[tuple[str, str]]) -> Card:
    """The card with its l3-network: named by the user, known by its bridge, or by its address when only one fits."""
    card = Card(nic["mac"], nic["source"])
    card.network = network_of(place, nic, known, choice)
    if card.network is None:
        return card
    for text in nic["ips"]:
        key = (card.network.id, text)
        if fits(card.network, text) and text not in card.network.taken and key not in addresses:
            addresses.add(key)
            card.ip = text
            break
    return card


def network_of(place: Place, nic: Json, known: Known, choice: Choice) -> Network | None:
    """The l3-network that a card is on, or None."""
    words = (nic["bridge"], nic["source"], nic["source"].partition(":")[2])
    wish = next((choice.networks[word] for word in words if word and word in choice.networks), None)
    if wish is not None:
        return next((network for network in known.networks if network.name == wish), None)
    if nic["type"] in UNPLUGGED:
        return None
    here = [network for network in known.networks if place.id in network.hosts]
    on_bridge = [
        network
        for network in here
        if nic["bridge"] and (network.bridge == nic["bridge"] or (network.interface in nic["ports"]))
    ]
    for candidates in (on_bridge, here):
        fitting = [network for network in candidates if any(fits(network, text) for text in nic["ips"])]
        if len(fitting) == 1:
            return fitting[0]
    return on_bridge[0] if len(on_bridge) == 1 and not nic["ips"] else None


def fits(network: Network, text: str) -> bool:
    """Whether an address lies in the network."""
    try:
        return ip_address(text) in ip_network(network.cidr)
    except ValueError:
        return False


def notes(proposal: Proposal) -> list[str]:
    """What a careful operator wants to know of this one."""
    facts, found = proposal.facts, []
    if proposal.name != facts["domain"]:
        found.append(f"it is called {proposal.name} here; libvirt's name stays")
    if proposal.domain != facts["domain"]:
        found.append("its libvirt name is used twice or too long; zctl reaches it by its UUID")
    for nic, card in zip(facts["nics"], proposal.cards, strict=True):
        where = f"card {card.mac} on {card.source}"
        if card.network is None:
            found.append(
                f"{where}: no l3-network is known for it; --network {nic['bridge'] or card.source}=NAME names one"
            )
        elif card.ip is None and nic["ips"]:
            found.append(f"{where}: {', '.join(nic['ips'])} is not a free address of {card.network.name}; not recorded")
        elif card.ip is None:
            found.append(f"{where}: on {card.network.name}, its address is not known")
    for disk in proposal.disks:
        if disk["size"] is None:
            found.append(f"disk {disk['target']} ({disk['source']}): its size could not be read")
    if facts["partial"]:
        found.append(f"{', '.join(facts['partial'])} waits for the guest's next start; left as it is")
    live = facts.get("live_size")
    if live and live != [facts["vcpus"], facts["memory"]]:
        found.append("the running guest has another size than its configuration, which is what is recorded")
    if facts["hostdevs"]:
        found.append(f"passes host devices through ({', '.join(facts['hostdevs'])}); they stay")
    if facts["snapshots"]:
        found.append(f"snapshots: {facts['snapshots']}; they stay, and zctl does not manage them")
    if facts["managed_save"]:
        found.append("has a saved state; its next start continues from that")
    if facts["tpm"] or facts["nvram"]:
        found.append("has a TPM or NVRAM of its own; it stays")
    return found
