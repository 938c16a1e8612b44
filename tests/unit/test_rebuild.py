"""An inventory out of nothing but hosts, which are played by folders."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import zctl_rows

from tests.unit.conftest import Zctl, fill
from tests.unit.rows_machine import KeepingHosts, play
from zctl.resources.rebuild import LEFT, OWN, SHARED, Said, merge, said_by
from zctl.resources.rows import ABOUT, Record, sum_of

WORDS = ("--image", "tiny", "--instance-offering", "small")
FIRST, SECOND = "198.18.0.1", "198.18.0.2"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud with all kinds of things on two hosts that keep records of it: its inventory and the hosts' folders."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        cloud = Zctl(folder / "home", play(patch, folder / "etc"))
        cloud.ok("init")
        fill(cloud, folder)
        cloud.ok("converge")
        furnish(cloud)
    return folder


@pytest.fixture
def kept(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zctl:
    """That cloud, once more for each test."""
    shutil.copytree(template, tmp_path / "copy")
    return Zctl(tmp_path / "copy" / "home", play(monkeypatch, tmp_path / "copy" / "etc"))


FURNITURE = """
l2-network create outer --zone z1 --physical-interface eth2
l3-network create outside --l2-network outer --cidr 198.51.100.0/24 --gateway 198.51.100.1 --public
ip-range create out --l3-network outside --start 198.51.100.10 --end 198.51.100.40
l2-network create tunnel --zone z1 --kind vxlan
l3-network create inside --l2-network tunnel --cidr 10.9.0.0/24 --gateway 10.9.0.1 --gateway-on hosts
ip-range create in --l3-network inside --start 10.9.0.10 --end 10.9.0.99
keypair create me --public-key KEY
security-group create web --tag team=größe
security-group-rule create http --security-group web --direction ingress --protocol tcp --ports 80
vm create web-1 IMAGE --network inside --host h1 --disk data --ssh-key me --tag env=prod --user-data SCRIPT
vm create web-2 IMAGE --network lan --host h2 --power Stopped
nic create --vm web-1 --l3-network inside
nic update web-1-nic0 --security-group web
volume create spare --disk-offering data
nat-gateway create out --l3-network inside --network outside --host h1
eip create front --network outside --vm web-1
vip create free --l3-network outside
port-forwarding create ssh --vip free --ports 22 --nic web-1-nic1
load-balancer create lb --vip free --l3-network inside --port 80 --target web-1-nic1
vm update web-2 --description quiet
instance-offering create unused --cpus 2 --memory 1G
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPeppqvHrqSmW3cKzOBgGeqHrQaP0zCKjCiE7bK5wWZn"


def furnish(cloud: Zctl) -> None:
    """VMs, disks, groups, keys, addresses and what leads to them."""
    script = cloud.home / "script"
    script.write_text("#!/bin/sh\necho {{ x }} größer\n")
    for line in FURNITURE.strip().splitlines():
        words = [{"KEY": KEY, "SCRIPT": str(script)}.get(word, word) for word in line.split()]
        at = words.index("IMAGE") if "IMAGE" in words else len(words)
        cloud.ok(*words[:at], *(WORDS if at < len(words) else ()), *words[at + 1 :])
    cloud.ok("converge")


def rows_of(cloud: Zctl) -> dict[str, Any]:
    """All rows. Tags come back with what they are pinned to, but not with UUIDs of their own."""
    found: dict[str, Any] = cloud.dump()
    return found | {"tag": sorted((row["name"], row["value"]) for row in cloud.rows("tag"))}


def hosts_of(cloud: Zctl) -> KeepingHosts:
    """The hosts behind the cloud."""
    assert isinstance(cloud.hosts, KeepingHosts)
    return cloud.hosts


def lose(cloud: Zctl) -> None:
    """The inventory is gone."""
    for path in cloud.home.glob("zctl.db*"):
        path.unlink()


def save(cloud: Zctl, path: Path) -> None:
    """A dump of the inventory."""
    with sqlite3.connect(cloud.home / "zctl.db") as source, sqlite3.connect(path) as target:
        source.backup(target)


def put_back(cloud: Zctl, path: Path) -> None:
    """An older dump in its place."""
    lose(cloud)
    (cloud.home / "zctl.db").write_bytes(path.read_bytes())


def rebuild(cloud: Zctl, *more: str) -> dict[str, Any]:
    """A rebuild that must work, by the first host."""
    found: dict[str, Any] = json.loads(cloud.ok("db", "rebuild", "--from-hosts", "--host", FIRST, "-o", "json", *more))
    return found


def test_all_comes_back(kept: Zctl) -> None:
    """Every row, with its uuid, version and tags; nothing differs; it can be worked with."""
    before, export, identity = rows_of(kept), kept.ok("export"), identity_of(kept)
    assert "no differences" in kept.ok("plan")
    lose(kept)
    dry = rebuild(kept, "--dry-run")
    assert not (kept.home / "zctl.db").exists() and dry["new"] and dry["rows"]["vm"] == 2
    found = rebuild(kept)
    assert found["differences"] == 0 and not (
        found["left_out"] or found["notes"] or found["unread"] or found["problems"]
    )
    assert identity_of(kept) == identity == found["inventory"] and found["rows"] == dry["rows"]
    assert rows_of(kept) == before and kept.ok("export") == export
    assert "no differences" in kept.ok("plan")
    kept.ok("vm", "stop", "web-1")
    kept.ok("vm", "delete", "web-2", "--yes")
    assert "no differences" in kept.ok("plan")


def identity_of(cloud: Zctl) -> str:
    """The UUID of the inventory."""
    with cloud.inventory.read() as db:
        return cloud.inventory.identity(db)


def test_what_was_deleted_stays_deleted(kept: Zctl) -> None:
    """Without a run to any host, with one to one of two, and on the host itself."""
    kept.ok("instance-offering", "delete", "unused", "--yes")
    kept.ok("vm", "delete", "web-2", "--yes")  # h2 hears of the offering too; h1 keeps it still
    assert '"unused"' in hosts_of(kept).files(FIRST)[SHARED]
    assert not any('"unused"' in text or "web-2" in text for text in hosts_of(kept).files(SECOND).values())
    before = rows_of(kept)
    make_newer(hosts_of(kept), SECOND)
    lose(kept)
    found = rebuild(kept)
    assert rows_of(kept) == before and "1 rows that only some hosts keep were deleted" in found["notes"][0]
    kept.ok("converge")
    assert '"unused"' not in hosts_of(kept).files(FIRST)[SHARED] and LEFT not in hosts_of(kept).files(FIRST)


def make_newer(hosts: KeepingHosts, address: str) -> None:
    """As if the host's last run had been a while after the others'."""
    path = hosts.path(address, SHARED)
    path.write_text(path.read_text().replace('"at": "2', '"at": "3'))


def test_an_older_dump_takes_in_what_came_after(kept: Zctl, tmp_path: Path) -> None:
    """Offered and asked about, never removed by a converge; what was deleted after that is no row again."""
    save(kept, tmp_path / "old.db")
    kept.ok("instance-offering", "create", "late", "--cpus", "1", "--memory", "1G")
    kept.ok(
        "vm",
        "create",
        "web-3",
        "--image",
        "tiny",
        "--instance-offering",
        "late",
        "--network",
        "lan",
        "--host",
        "h2",
        "--tag",
        "a=b",
    )
    kept.ok("vm", "update", "web-1", "--description", "later")
    kept.ok("converge")
    after = kept.rows("vm", "name=web-3")
    put_back(kept, tmp_path / "old.db")
    for _ in range(2):
        kept.ok("converge")  # the inventory does not know the VM, and keeps the host from forgetting it
        assert "web-3" in hosts_of(kept).files(SECOND)[LEFT]
    said = kept.ok("db", "rebuild", "--from-hosts", "--dry-run")
    assert "+ vm web-3" in said and "+ instance-offering late" in said
    assert "needs a yes" in kept.fails("db", "rebuild", "--from-hosts", code=2)
    assert kept.call("db", "rebuild", "--from-hosts", stdin="n\n").exit_code != 0
    found = json.loads(kept.ok("db", "rebuild", "--from-hosts", "--yes", "-o", "json"))
    assert found["rows"] == {"instance-offering": 1, "vm": 1, "nic": 1, "volume": 1} and not found["new"]
    assert kept.rows("vm", "name=web-3") == after and found["differences"] == 0
    assert LEFT not in hosts_of(kept).files(SECOND)
    kept.ok("vm", "delete", "web-3", "--yes")
    assert json.loads(kept.ok("db", "rebuild", "--from-hosts", "--yes", "-o", "json"))["rows"] == {}


def test_a_host_that_is_away(kept: Zctl) -> None:
    """It is told; its VMs come later, when it is back, as others of theirs did not."""
    hosts = hosts_of(kept)
    before = rows_of(kept)
    lose(kept)
    hosts.away = {SECOND, "h2"}
    answer = kept.call("db", "rebuild", "--from-hosts", "--host", FIRST, "-o", "json")
    assert answer.exit_code == 1 and "host h2" in answer.stderr
    found = json.loads(answer.stdout)
    assert list(found["unread"]) == ["h2"] and found["rows"]["vm"] == 1 and found["rows"]["host"] == 2
    assert kept.rows("host", "name=h2")[0]["state"] == "Disconnected"
    hosts.away = set()
    found = json.loads(kept.ok("db", "rebuild", "--from-hosts", "--yes", "-o", "json"))
    assert found["rows"] == {"vm": 1, "nic": 1, "volume": 1} and found["differences"] == 0
    assert rows_of(kept) == before
    lose(kept)
    hosts.away = {FIRST, SECOND}
    assert "does not answer" in kept.fails("db", "rebuild", "--from-hosts", "--host", FIRST)


def test_two_inventories_on_one_host(kept: Zctl, tmp_path: Path) -> None:
    """One has to be chosen; another inventory than the one that is there is refused."""
    hosts, mine = hosts_of(kept), identity_of(kept)
    other = "00000000-0000-4000-8000-000000000000"
    hosts.domains = {FIRST: {other: {"00000000-0000-4000-8000-000000000001": "theirs"}}}
    assert "inventory" in kept.fails("db", "rebuild", "--from-hosts", "--host", FIRST, "--inventory", other)
    empty = tmp_path / "new.db"
    words = ("db", "rebuild", "--from-hosts", "--host", FIRST, "--db", str(empty))
    answer = kept.call(*words)
    assert answer.exit_code == 2 and f"{mine} on {FIRST}" in answer.stderr and "--inventory" in answer.stderr
    answer = kept.call(*words, "--inventory", other)
    assert answer.exit_code == 1 and "theirs" in answer.stdout and not empty.exists()
    assert "keep no records of inventory x" in kept.call(*words, "--inventory", "x").stderr
    assert kept.call(*words, "--inventory", mine).exit_code == 0 and empty.stat().st_mode & 0o077 == 0
    kept.home = tmp_path / "third"
    kept.ok("init")
    kept.ok("zone", "create", "somebody")
    assert "holds inventory" in kept.fails("db", "rebuild", "--from-hosts", "--host", FIRST, "--inventory", mine)


def test_records_that_somebody_has_edited(kept: Zctl) -> None:
    """They are told and left out with what hangs on them; the rest comes back; nothing breaks."""
    path = hosts_of(kept).path(FIRST, OWN)
    lines = path.read_text().split("\n")
    at = next(number for number, line in enumerate(lines) if '"noun":"vm"' in line)
    uuid, _total, text = lines[at].split(" ", 2)
    row = json.loads(text)
    row["row"]["name"] = "x'; DROP TABLE vm; --"
    forged = json.dumps(row)
    lines[at] = f"{uuid} {sum_of(forged)} {forged}"
    lines += ["rubbish", "{" * 40]
    path.write_text("\n".join(lines))
    lose(kept)
    found = rebuild(kept)
    assert "name" in found["left_out"][0]["reason"] and found["rows"]["vm"] == 1
    lost = {entry["record"] for entry in found["left_out"]}
    assert {"nic web-1-nic0", "load-balancer-target lb/web-1-nic1:80", "port-forwarding ssh"} <= lost
    assert kept.rows("eip")[0]["nic"] is None and kept.rows("volume", "name=web-1-data1")[0]["vm"] is None
    assert sum("edited or is damaged" in words for words in found["notes"]) == 2


def test_two_rows_of_one_name(kept: Zctl) -> None:
    """One is made, the other is told."""
    path = hosts_of(kept).path(SECOND, OWN)
    text = path.read_text()
    line = next(line for line in text.split("\n") if '"noun":"vm"' in line)
    twin = line.split(" ", 2)[2].replace(line[:36], "ffffffff" + line[8:36]).replace("z-web-2", "z-twin")
    path.write_text(f"{text}ffffffff{line[8:36]} {sum_of(twin)} {twin}\n")
    lose(kept)
    found = rebuild(kept)
    assert [entry["record"] for entry in found["left_out"]] == ["vm web-2"] and found["rows"]["vm"] == 2


@pytest.mark.parametrize("engine", [""])
def test_misuse(zctl: Zctl) -> None:
    """In words, and nothing is made."""
    (zctl.home / "zctl.db").unlink()
    for words, said in (
        ((), "from what"),
        (("--from-hosts",), "which host"),
        (("--from-hosts", "--host", "a b"), "no address"),
        (("--from-hosts", "--host", "-oProxyCommand=x"), "no address"),
        (("--from-hosts", "--host", "root@h:99999"), "no address"),
        (("--from-hosts", "--host", "::1:x"), "no address"),
    ):
        answer = zctl.call("db", "rebuild", *words)
        assert answer.exit_code == 2 and said in answer.stderr, (words, answer.output)
    assert not (zctl.home / "zctl.db").exists()


def record(number: int, noun: str = "vm", version: int = 1, **values: Any) -> Record:
    """A record of little."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    return Record(
        uuid, noun, {"id": uuid, "name": f"n{number}", "version": version, "created_at": "2026-01-01", **values}, {}
    )


def said(source: str, at: str = "", domains: Any = None, **parts: list[Record]) -> Said:
    """What a host keeps."""
    records = {part: {one.uuid: one for one in parts.get(part, [])} for part in (OWN, SHARED, LEFT)}
    return Said(source, source, at, records, (), domains)


def test_the_newest_record_wins() -> None:
    """By version, then by time; hosts that do not agree on one version are told."""
    old, new = record(1, version=2), record(1, version=3)
    for order in ([said("a", own=[old]), said("b", own=[new])], [said("b", own=[new]), said("a", own=[old])]):
        assert merge(order, with_left=False).records == {new.uuid: new}
    other = record(1, version=3, name="different")
    found = merge([said("a", own=[new]), said("b", shared=[other])], with_left=False)
    assert found.records == {new.uuid: new} and found.notes == ["vm n1: a and b do not agree; a is believed"]
    assert merge([], with_left=True).records == {}


def test_what_the_inventory_had_lost() -> None:
    """It comes back from nothing only for VMs that are alive, with what they need and what belongs to them."""
    offering, network = record(1, "instance-offering"), record(2, "l3-network", l2_network_id=record(3).uuid)
    wire, vm = record(3, "l2-network"), record(4, instance_offering_id=record(1).uuid)
    nic = record(5, "nic", vm_id=vm.uuid, l3_network_id=network.uuid)
    idle, dead = record(6, "instance-offering"), record(7)
    left = [offering, network, wire, vm, nic, idle, dead]
    found = merge([said("a", "2026-02-02", {vm.uuid: "n4"}, left=left)], with_left=False)
    assert set(found.records) == {one.uuid for one in (offering, network, wire, vm, nic)} and len(found.notes) == 2
    assert set(merge([said("a", "2026-02-02", left=left)], with_left=True).records) == {one.uuid for one in left}


def test_files_of_a_host() -> None:
    """As they are read: what cannot be read hides nothing."""
    good = next(iter(zctl_rows.by_uuid([f"{record(1).uuid} x y"])))
    found = said_by("a", {OWN: f"{ABOUT}[]\n{good} 00 {{}}\n", SHARED: f"{ABOUT}{{\n", LEFT: None}, None)
    assert not found.keeps and found.host == "" and len(found.damaged) == 1 and "own.rows" in found.damaged[0]
