"""The security concern's model: what is filtered, what is cut, what is written, and how a listing differs."""

from __future__ import annotations

from typing import Any

from zctl_security_model import merged, narrowed, unwanted, zones
from zctl_security_text import link_local, listing_differences, parts_of, render, table_name

Json = dict[str, Any]
OURS = "11111111-2222-4333-8444-555555555555"
WEB, APP = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"


def nic(number: int, *groups: str, **more: Any) -> Json:
    """A card."""
    return {
        "uuid": f"0000000{number}-0000-4000-8000-000000000000",
        "name": f"web-{number}-nic0",
        "tap": f"zt-0000000{number}00",
        "bridge": "zbr-1",
        "private": True,
        "mac": f"52:54:00:00:00:0{number}",
        "addresses": [f"10.0.0.{number}"],
        "allowed": [],
        "anti_spoofing": True,
        "groups": list(groups),
        "ingress_policy": "deny" if groups else "allow",
        "egress_policy": "allow",
        **more,
    }


def rule(protocol: str = "tcp", port: int | None = None, allow: bool = True, **remote: str) -> Json:
    """An ingress rule."""
    values = {"direction": "ingress", "protocol": protocol, "first": port, "last": port, "allow": allow}
    return {**values, "cidr": None, "group": None, **remote}


def group(key: str, *rules: Json, members: tuple[str, ...] = (), access: bool = False) -> Json:
    """A group."""
    return {"uuid": key, "name": key[:4], "member_access": access, "rules": list(rules), "members": list(members)}


def model(cards: list[Json], *groups: Json) -> Json:
    """A model of these."""
    return {"nics": {card["uuid"]: card for card in cards}, "groups": {entry["uuid"]: entry for entry in groups}}


def flow(src: str, dst: str, port: int, of: Json, protocol: int = 6) -> Json:
    """A connection in the zone of a model's bridge."""
    zone = zones(of).get("zbr-1", 0)
    return {"src": src, "dst": dst, "protocol": protocol, "sport": 40000, "dport": port, "zone": zone}


def test_only_connections_that_are_not_admitted_are_cut() -> None:
    """A rule removed takes its own connections with it; what the card began, and others' rules, stay."""
    before = model([nic(1, WEB)], group(WEB, rule(port=80), rule(port=22)))
    after = model([nic(1, WEB)], group(WEB, rule(port=80)))
    flows = [
        flow("10.0.0.9", "10.0.0.1", 80, after),
        flow("10.0.0.9", "10.0.0.1", 22, after),
        flow("10.0.0.1", "10.0.0.9", 22, after),
        flow("10.0.0.9", "10.0.0.8", 22, after),
        {**flow("10.0.0.9", "10.0.0.1", 22, after), "zone": 0},
    ]
    cards = narrowed(before, after)
    assert [card["uuid"] for card in cards] == [nic(1)["uuid"]]
    assert unwanted(after, cards, flows) == [flows[1]]


def test_what_only_grows_cuts_nothing() -> None:
    """New members of groups with allowing rules need no look at connections; ones that are denied do."""
    allowing = rule(port=80, group=APP)
    small, large = (group(APP, members=members) for members in (("10.0.0.5",), ("10.0.0.5", "10.0.0.6")))
    before, after = (model([nic(1, WEB)], group(WEB, allowing), entry) for entry in (small, large))
    assert narrowed(before, after) == []
    assert [card["name"] for card in narrowed(after, before)] == ["web-1-nic0"]
    denying = rule(port=80, group=APP, allow=False)
    before, after = (model([nic(1, WEB)], group(WEB, denying), entry) for entry in (small, large))
    assert [card["name"] for card in narrowed(before, after)] == ["web-1-nic0"]


def test_dhcp_and_metadata_are_always_let_through() -> None:
    """A card that may send nothing still gets its address and its metadata."""
    closed = model([nic(1, WEB, egress_policy="deny")], group(WEB))
    flows = [
        flow("10.0.0.1", "169.254.169.254", 80, closed),
        {**flow("10.0.0.1", "255.255.255.255", 67, closed, 17), "sport": 68},
        flow("10.0.0.1", "169.254.169.254", 22, closed),
    ]
    assert unwanted(closed, list(closed["nics"].values()), flows) == [flows[2]]


def test_a_scope_leaves_the_rest_as_it_is() -> None:
    """What is out of scope stays as written down, what is in scope and not wanted goes, unused groups go too."""
    stored = model([nic(1, WEB), nic(2, APP), nic(3)], group(WEB), group(APP))
    state = {"nics": [nic(1)], "groups": []}
    found = merged(stored, state, [nic(1)["uuid"], nic(2)["uuid"]])
    assert set(found["nics"]) == {nic(1)["uuid"], nic(3)["uuid"]}
    assert found["groups"] == {}
    assert set(merged(stored, {}, [])["nics"]) == set(stored["nics"])
    assert merged(stored, {}, None) == {"nics": {}, "groups": {}}


def test_tables_hold_what_is_needed_only() -> None:
    """Without groups nothing is tracked; without cards nothing is left."""
    name = table_name(OURS)
    plain = render(OURS, model([nic(1)]), True)
    assert f"table bridge {name} {{" in plain and f"table inet {name} {{\n" not in plain and "ct state" not in plain
    assert render(OURS, model([]), True).count("table") == 4
    grouped = render(OURS, model([nic(1, WEB)], group(WEB, rule(port=80))), False)
    assert f"table inet {name} {{\n" in grouped and "ibrname" not in grouped
    tracked = render(OURS, model([nic(1, WEB)], group(WEB, rule(port=80))), True)
    assert "ct state established,related accept" in tracked and "ct zone set meta ibrname" in tracked
    host = render(OURS, model([nic(1, WEB, private=False)], group(WEB)), True)
    assert "ct zone" not in host, "the host's own connections and its bridge's are in one zone"


def test_link_local() -> None:
    """As RFC 4291 has it."""
    assert str(link_local("52:54:00:12:34:56")) == "fe80::5054:ff:fe12:3456"


LISTING = """table bridge zctl_security_11111111 {
    set guarded {
        type ifname
        elements = { "zt-0000000100",
            "zt-0000000200" }
    }

    chain n_ingress_0000000100 {
        jump known
        drop
    }
}
"""


def test_a_listing_by_parts() -> None:
    """Rules of chains and elements of sets."""
    found = parts_of(LISTING)
    assert found["set guarded"] == ["type ifname", '"zt-0000000100"', '"zt-0000000200"']
    assert found["chain n_ingress_0000000100"] == ["jump known", "drop"]


def test_changes_by_hand_are_told_of_the_card() -> None:
    """An element taken out, a rule put in, a flush."""
    cards = model([nic(1), nic(2)])
    first, second = nic(1)["uuid"], nic(2)["uuid"]
    seen = LISTING.replace(',\n            "zt-0000000200"', "").replace(
        "        drop\n", "        accept\n        drop\n"
    )
    found = listing_differences(seen, LISTING, cards)
    assert found[second] == [{"field": "filter.set guarded", "actual": None, "desired": '"zt-0000000200"'}]
    assert found[first] == [{"field": "filter.chain n_ingress_0000000100", "actual": "accept", "desired": None}]
    gone = listing_differences("", LISTING, cards)
    assert {first, second} <= set(gone)
    assert listing_differences(LISTING, LISTING, cards) == {}
