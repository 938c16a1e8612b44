"""Adoption from the command line, with libvirt played by values: nothing changes but the mark, nothing is half done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.unit.adopt_machine import Fleet, Machine, disk, domain_xml, nic
from tests.unit.conftest import Zctl
from zctl.actions import adopt as adopt_action
from zctl.resources.internal import Outstanding

MAC = "52:54:00:aa:00:0"


@pytest.fixture
def fleet(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The cloud's two hosts, without domains."""
    made = Fleet({"h1": Machine(), "h2": Machine()})
    for module in ("adopt", "converge"):
        monkeypatch.setattr(f"zctl.actions.{module}.execute", made)
    monkeypatch.setattr("zctl_adopt_read.neighbours", list)
    return made


def simple(name: str, number: int, **more: str) -> str:
    """A domain with one disk file and one card on br0."""
    return domain_xml(name, disk(f"file='/srv/{name}.img'", form="raw") + nic(f"{MAC}{number}"), **more)


def without_mark(xml: str) -> str:
    """The XML with the mark taken out again."""
    return re.sub(r"<metadata[^>]*>.*?</metadata>", "", xml, flags=re.DOTALL)


def is_still(fleet: Fleet, cloud: Zctl) -> None:
    """A full converge finds every VM as it should be and defines nothing."""
    cloud.ok("converge")
    assert [machine.defined for machine in fleet.machines.values() if machine.defined] == []


def canonical(xml: str) -> str:
    import xml.etree.ElementTree as ET

    return re.sub(r"\s*(<|>)\s*", r"\1", ET.canonicalize(xml))


def test_only_the_mark_changes(cloud: Zctl, fleet: Fleet) -> None:
    """A running and a stopped VM with autostart: adopted, and the next converge has nothing to do."""
    running = fleet.machines["h1"].run(
        simple("web", 1, head="<title>The web</title><description> mine\n</description>")
    )
    stopped = fleet.machines["h1"].keep(simple("old", 2), started=True)
    before = [canonical(xml) for xml in (running.config, running.live or "", stopped.config)]
    cloud.ok("host", "adopt", "h1")
    after = [canonical(without_mark(xml)) for xml in (running.config, running.live or "", stopped.config)]
    assert before == after
    assert 'adopted="yes"' in running.config and 'adopted="yes"' in (running.live or "")
    is_still(fleet, cloud)
    rows = {row["name"]: row for row in cloud.rows("vm")}
    assert (rows["web"]["power"], rows["web"]["state"], rows["web"]["description"]) == ("Running", "Running", "mine")
    assert (rows["old"]["power"], rows["old"]["autostart"]) == ("Stopped", True)
    assert rows["web"]["uuid"] == running.UUIDString() and rows["web"]["memory"] == 98304 * 1024
    assert [row["name"] for row in cloud.rows("volume")] == ["old-root", "web-root"]
    assert {job["state"] for job in cloud.rows("job")} == {"Done"}
    again = json.loads(cloud.ok("host", "adopt", "h1", "-o", "json"))
    assert (again["adopted"], again["already"]) == ([], 2)


def test_later_changes_leave_the_rest_alone(cloud: Zctl, fleet: Fleet) -> None:
    """Memory, CPUs and description change; title, CPU model, machine and devices stay, and so do foreign sources."""
    domain = fleet.machines["h1"].keep(simple("web", 1, head="<title>The web</title>"))
    cloud.ok("host", "adopt", "h1")
    cloud.ok("vm", "update", "web", "--memory", "128M")
    assert "<title>The web</title>" in domain.config and 'current="1">2<' in domain.config
    assert ">131072<" in domain.config and ">98304<" not in domain.config
    cloud.ok("vm", "update", "web", "--cpus", "2", "--description", "now mine")
    assert 'current="2">2<' in domain.config and "qemu64" in domain.config and "<description>now mine" in domain.config
    domain.config = domain.config.replace("/srv/web.img", "/srv/web.snap1").replace("'br0'", "'br1'")
    fleet.machines["h1"].defined.clear()
    is_still(fleet, cloud)
    assert "web.snap1" in domain.config


def test_a_dry_run_writes_nothing(cloud: Zctl, fleet: Fleet) -> None:
    """It says what it would do; neither inventory nor domain change."""
    domain = fleet.machines["h1"].run(simple("web", 1))
    before, rows = domain.config, cloud.dump()
    answer = json.loads(cloud.ok("host", "adopt", "--all", "--dry-run", "-o", "json"))
    assert [entry["vm"] for entry in answer["adopted"]] == ["web"]
    assert (domain.config, cloud.dump()) == (before, rows)


def test_odd_devices(cloud: Zctl, fleet: Fleet) -> None:
    """LVM, NBD, rbd, pool volumes, passthrough, many consoles and drives: recorded as they are, left as they are."""
    devices = (
        disk("dev='/dev/vg0/web'", "sda", "block", "raw")
        + disk("protocol='nbd' name='export'", "sdb", "network", "raw", "<host name='10.0.0.9' port='10809'/>")
        + disk("protocol='rbd' name='pool/image'", "sdc", "network", "raw", "<host name='mon'/>")
        + disk("pool='default' volume='x.qcow2'", "sdd", "volume")
        + "<disk type='file' device='cdrom'><target dev='sdz' bus='sata'/><readonly/></disk>"
        + nic(f"{MAC}1", "network='default'", "network")
        + nic(f"{MAC}2", "dev='eth0' mode='bridge'", "direct")
        + f"<interface type='user'><mac address='{MAC}3'/></interface>"
        + "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='3' slot='0' function='0'/></source>"
        "</hostdev><console type='pty'/><console type='pty'/><graphics type='vnc'/><tpm model='tpm-tis'/>"
    )
    domain = fleet.machines["h1"].run(domain_xml("odd", devices), snapshots=2, saved=True)
    domain.live = (domain.live or "").replace("network='default'/>", "network='default' portid='1' bridge='virbr0'/>")
    answer = json.loads(cloud.ok("host", "adopt", "h1", "-o", "json"))
    (entry,) = answer["adopted"]
    sources = [found["source"] for found in entry["disks"]]
    assert sources == ["/dev/vg0/web", "nbd://10.0.0.9:10809/export", "pool/image", "default/x.qcow2"]
    assert [found["source"] for found in entry["nics"]] == ["network:default", "direct:eth0", "user"]
    words = " ".join(entry["notes"])
    for word in (
        "--network virbr0=NAME",
        "passes host devices",
        "snapshots: 2",
        "saved state",
        "TPM",
        "size could not",
    ):
        assert word in words
    assert [row["kind"] for row in cloud.rows("volume")].count("root") == 1
    is_still(fleet, cloud)
    cloud.ok("vm", "update", "odd", "--memory", "128M")
    for kept in ("<hostdev", "/dev/vg0/web", 'name="export"', "pool/image", "<tpm", 'device="cdrom"'):
        assert kept in domain.config


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("web.example.org", "web-example-org"),
        ("Bücher Straße", "bucher-strasse"),
        ("x" * 80, "x" * 63),
        ("  --  ", "vm"),
        ("日本", "vm"),
        ("Web1", "Web1"),
    ],
)
def test_illegal_names_get_a_legal_one(cloud: Zctl, fleet: Fleet, domain: str, expected: str) -> None:
    """libvirt's name stays what it is."""
    found = fleet.machines["h1"].keep(simple(domain, 1).replace(f"/srv/{domain}.img", "/srv/d.img"))
    cloud.ok("host", "adopt", "h1")
    assert [row["name"] for row in cloud.rows("vm")] == [expected]
    assert found.name() == domain
    is_still(fleet, cloud)


def test_the_user_chooses_names_and_networks(cloud: Zctl, fleet: Fleet) -> None:
    """--name, --network, --domain and --exclude; misspelt ones are refused before anything is done."""
    machine = fleet.machines["h1"]
    machine.run(simple("web.1", 1), addresses={f"{MAC}1": "10.0.0.5"})
    machine.run(simple("b", 2))
    machine.run(simple("c", 3))
    assert "no domain nope" in cloud.fails("host", "adopt", "h1", "--domain", "nope")
    assert "nope" in cloud.fails("host", "adopt", "h1", "--network", "br0=nope")
    assert "not KEY=VALUE" in cloud.fails("host", "adopt", "h1", "--name", "b", code=2)
    assert "which hosts" in cloud.fails("host", "adopt", code=2)
    assert "not a legal name" in cloud.fails("host", "adopt", "h1", "--domain", "b", "--name", "b=a b")
    cloud.ok("host", "adopt", "h1", "--exclude", "c", "--name", "web.1=www", "--network", "br0=lan")
    assert sorted(row["name"] for row in cloud.rows("vm")) == ["b", "www"]
    assert sorted((row["mac"][-1], row["l3_network"], row["ip"]) for row in cloud.rows("nic")) == [
        ("1", "lan", "10.0.0.5"),
        ("2", "lan", None),
    ]
    is_still(fleet, cloud)


def test_addresses_tell_networks(cloud: Zctl, fleet: Fleet) -> None:
    """The only l3-network that holds the address is the card's; an address that is taken is not recorded."""
    machine = fleet.machines["h1"]
    machine.run(simple("a", 1), addresses={f"{MAC}1": "10.0.0.7"})
    machine.run(simple("b", 2), addresses={f"{MAC}2": "10.0.0.1"})
    machine.run(simple("c", 3), addresses={f"{MAC}3": "192.168.1.1"})
    answer = json.loads(cloud.ok("host", "adopt", "h1", "-o", "json"))
    assert [(entry["nics"][0]["l3_network"], entry["nics"][0]["ip"]) for entry in answer["adopted"]] == [
        ("lan", "10.0.0.7"),
        ("lan", None),
        (None, None),
    ]
    assert "not a free address" in " ".join(answer["adopted"][1]["notes"])


def test_two_hosts_with_the_same_things(cloud: Zctl, fleet: Fleet) -> None:
    """The same name is told apart, the same UUID or MAC is refused on both."""
    one, two = fleet.machines["h1"], fleet.machines["h2"]
    one.run(simple("web", 1, identity="11111111-1111-4111-8111-111111111111"))
    two.run(simple("web", 2, identity="22222222-2222-4222-8222-222222222222"))
    for machine, number in ((one, 3), (two, 4)):
        machine.keep(simple("twin", number, identity="33333333-3333-4333-8333-333333333333"))
    one.keep(simple("mac-1", 5))
    two.keep(simple("mac-2", 5))
    answer = cloud.call("host", "adopt", "--all", "-o", "json")
    assert answer.exit_code == 1
    found = json.loads(answer.stdout)
    assert sorted(entry["vm"] for entry in found["adopted"]) == ["web", "web-h2"]
    reasons = sorted(entry["reason"][:8] for entry in found["refused"])
    assert reasons == ["its MAC ", "its MAC ", "its UUID", "its UUID"]
    is_still(fleet, cloud)


REFUSED = {
    "transient": (lambda m: m.run(simple("x", 1), transient=True), "transient"),
    "paused": (lambda m: setattr(m.run(simple("x", 1)), "state", 3), "only running and stopped"),
    "xen": (lambda m: m.keep(simple("x", 1).replace("type='qemu'", "type='xen'", 1)), "type xen"),
    "tiny": (lambda m: m.keep(simple("x", 1, memory=1024)), "16 MiB"),  # type: ignore[arg-type]
    "talkative": (lambda m: m.keep(simple("x", 1, head=f"<description>{'d' * 1001}</description>")), "longer than"),
    "two cards, one MAC": (lambda m: m.keep(domain_xml("x", nic(f"{MAC}1") * 2)), "on two network cards"),
    "other inventory": (
        lambda m: m.keep(
            simple("x", 1, head='<metadata><z:vm xmlns:z="https://zctl.dev/xmlns/1" inventory="other"/></metadata>')
        ),
        "another zctl inventory",
    ),
    "libvirt says no": (lambda m: m.keep(simple("x", 1), refuse_mark="disk full"), "disk full"),
    "one disk, two domains": (
        lambda m: [m.keep(simple("x", 1)), m.keep(simple("y", 2).replace("/srv/y.img", "/srv/x.img"))],
        "is also a disk of",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(cloud: Zctl, fleet: Fleet, case: str) -> None:
    """A sentence says why, and nothing is left of the attempt, neither in the inventory nor on the host."""
    make, words = REFUSED[case]
    make(fleet.machines["h1"])
    before = [domain.config for domain in fleet.machines["h1"].domains]
    assert words in cloud.fails("host", "adopt", "h1")
    assert [domain.config for domain in fleet.machines["h1"].domains] == before
    assert "Running" not in {job["state"] for job in cloud.rows("job")}


def test_one_that_changes_meanwhile_is_refused_alone(cloud: Zctl, fleet: Fleet) -> None:
    """The others are adopted; its rows are gone again, and the next attempt takes it."""
    steady, restless = fleet.machines["h1"].run(simple("a", 1)), fleet.machines["h1"].keep(simple("b", 2))

    def change() -> None:
        restless.config = restless.config.replace("98304", "131072")

    fleet.before_marks = change
    answer = cloud.call("host", "adopt", "h1")
    assert answer.exit_code == 1 and "was changed after it was read" in answer.stderr
    assert [row["name"] for row in cloud.rows("vm")] == ["a"] and "adopted" in steady.config
    fleet.before_marks = None
    cloud.ok("host", "adopt", "h1")
    assert sorted(row["name"] for row in cloud.rows("vm")) == ["a", "b"]
    is_still(fleet, cloud)


def test_a_process_that_dies_is_finished_by_the_next(
    cloud: Zctl, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without marks: converge says so and harms nothing, the next adoption sets the marks."""
    domain = fleet.machines["h1"].run(simple("a", 1))

    def die(*_words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(adopt_action, "set_marks", die)
        cloud.call("host", "adopt", "h1")
    assert [row["name"] for row in cloud.rows("vm")] == ["a"] and "adopted" not in domain.config
    answer = cloud.call("converge")
    assert answer.exit_code == 1 and "zctl host adopt" in answer.output
    assert "adopted" not in domain.config
    cloud.ok("host", "adopt", "h1")
    assert "adopted" in domain.config
    with cloud.inventory.read() as db:
        assert list(db.scalars(select(Outstanding))) == []
    is_still(fleet, cloud)


def test_a_host_that_goes_away_in_between(cloud: Zctl, fleet: Fleet) -> None:
    """The other host's part is done; the rows wait for the host, and the next adoption finishes them."""
    fleet.machines["h1"].run(simple("a", 1))
    fleet.machines["h2"].run(simple("b", 2))
    fleet.away_for_marks = {"h2"}
    answer = cloud.call("host", "adopt", "--all")
    assert answer.exit_code == 1 and "finishes it when the host is back" in answer.stderr
    fleet.away_for_marks = set()
    cloud.ok("host", "adopt", "--all")
    assert sorted(row["name"] for row in cloud.rows("vm")) == ["a", "b"]
    is_still(fleet, cloud)


def test_an_adopted_domain_that_is_gone_is_not_made_anew(cloud: Zctl, fleet: Fleet) -> None:
    """zctl does not know what it was beyond its own part."""
    fleet.machines["h1"].keep(simple("a", 1))
    cloud.ok("host", "adopt", "h1")
    fleet.machines["h1"].domains.clear()
    answer = cloud.call("converge")
    assert answer.exit_code == 1 and "virsh define" in answer.output
    assert fleet.machines["h1"].defined == []


def test_its_host_cannot_be_deleted_under_it(cloud: Zctl, fleet: Fleet, tmp_path: Path) -> None:
    """Deleting the host would take the domain along."""
    fleet.machines["h1"].keep(simple("a", 1))
    cloud.ok("host", "adopt", "h1")
    assert "vm a" in cloud.fails("host", "delete", "h1", "--yes")
