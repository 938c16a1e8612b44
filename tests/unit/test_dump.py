"""zctl dump_mysql: what a dump holds, which ones are kept, and what is left when it goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.unit.conftest import Zctl
from tests.unit.servers import MariaDb, mariadb
from zctl.backup import folder as dumps
from zctl.inventory.engine import Inventory
from zctl.inventory.head import HEAD
from zctl.inventory.store import create
from zctl.resources.zone import Zone


def folder_of(zctl: Zctl) -> Path:
    """Where its dumps are."""
    return zctl.home / "mysql-backup"


def dumped(zctl: Zctl, *words: str) -> dict[str, Any]:
    """Take a dump."""
    found: dict[str, Any] = json.loads(zctl.ok("dump_mysql", "-o", "json", *words))
    return found


def files(zctl: Zctl) -> list[str]:
    """The dumps there, oldest first."""
    return [row["file"] for row in json.loads(zctl.ok("db", "list-backups", "-o", "json"))]


def start(zctl: Zctl, *words: str, path: str = "", stdin: int | None = None) -> subprocess.Popen[str]:
    """zctl in a process of its own."""
    environment = {**os.environ, "ZCTL_HOME": str(zctl.home), "ZCTL_DB": zctl.db}
    if path:
        environment["PATH"] = f"{path}:{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "zctl", *words],
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def slowed(tmp_path: Path, program: str, script: str) -> str:
    """A folder for PATH with the real program behind a script that gets in the way."""
    place = tmp_path / "slow"
    place.mkdir(exist_ok=True)
    wrapper = place / program
    begun = 'touch "$(dirname "$0")/begun"'
    wrapper.write_text(f"#!/bin/bash\nset -o pipefail\n{begun}\nreal={shutil.which(program)}\n{script}\n")
    wrapper.chmod(0o755)
    return str(place)


def begun(tmp_path: Path) -> None:
    """Wait until the slowed program has been started."""
    for _ in range(300):
        if (tmp_path / "slow" / "begun").exists():
            (tmp_path / "slow" / "begun").unlink()
            return
        time.sleep(0.05)
    raise AssertionError("it was never started")


def fill_events(zctl: Zctl, count: int) -> None:
    """Enough rows to keep a dump busy."""
    from zctl.resources.event import Event

    with zctl.inventory.write() as db:
        zone = create(db, Zone, {"name": "busy"})[0]
        for n in range(count):
            db.add(
                Event.build(name=f"e{n}", what="x" * 200, kind="zone", resource_id=zone.id, resource="busy", actor="me")
            )


def test_a_dump_and_its_manifest(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private, compressed, counted table by table, summed; and it comes back the same."""
    cloud.ok("vm", "create", "web-1", "--image", "tiny", "--instance-offering", "small", "--network", "lan")
    cloud.ok("zone", "create", "odd", "--description", "a ( ' \\ \" `\n(1,2),\n(3) größer \N{SNOWMAN}")
    found = dumped(cloud, "--verify")
    path = folder_of(cloud) / found["file"]
    manifest = json.loads((folder_of(cloud) / f"{found['file']}.json").read_text())
    assert path.stat().st_mode & 0o777 == 0o600 and folder_of(cloud).stat().st_mode & 0o777 == 0o700
    assert found["file"].startswith("zctl-backup-db-2") and found["verified"] is True
    assert manifest["tables"]["vm"] == 1 and manifest["tables"]["zone"] == 2 and manifest["tables"]["grave"] == 0
    assert manifest["schema_revision"] == HEAD
    said = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout
    assert manifest["sha256"] == said.split()[0] and manifest["size"] == path.stat().st_size
    assert "came back the same" in cloud.call("db", "verify", found["file"]).stderr
    told = json.loads(cloud.ok("db", "verify", found["file"], "-o", "json"))
    assert told["verified"] and told["rows"] == found["rows"] and told["tables"] > 10
    told = json.loads(cloud.ok("restore_mysql", "--file", found["file"], "--dry-run", "-o", "json"))
    assert told["dry_run"] and told["rows"] == found["rows"]
    if not cloud.db:
        monkeypatch.setenv("TMPDIR", "/nonexist")
        answer = cloud.call("db", "verify", found["file"])
        assert answer.exit_code == 1 and "error: /nonexist:" in answer.stderr and "set TMPDIR" in answer.stderr
    assert "good" in cloud.ok("db", "list-backups", "--check")
    assert all(len(line) <= 100 for line in cloud.ok("db", "list-backups").splitlines())


def test_retention_goes_by_number_not_by_clock(cloud: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock set back, 200 foreign files, other prefixes: the newest stay, and nothing else is touched."""
    place = folder_of(cloud)
    place.mkdir(parents=True)
    junk = {}
    for n in range(200):
        name = (f"zctl-backup-db-{n}.gz", f"zctl-backup-db-2020-{n}.sql.zst", f"x{n}.json", f".hidden{n}")[n % 4]
        (place / name).write_text(f"junk {n}")
        junk[name] = f"junk {n}"
    years = iter((2026, 2025, 2031, 2019, 2030))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(next(years), 1, 1, tzinfo=tz)

    taken = [dumped(cloud, "--file-name", "monthly", "--keep-amount", "1")["file"]]
    for _ in range(2):
        monkeypatch.setattr("zctl.actions.dump.datetime", type("Clock", (Clock,), {}))
        years = iter((2030 - len(taken), 2030 - len(taken)))
        taken.append(dumped(cloud, "--keep-amount", "2")["file"])
    years = iter((2001, 2001))
    newest = dumped(cloud, "--keep-amount", "2")
    assert newest["removed"] == [taken[1]], "the oldest by number goes, though its name is of a later year"
    assert set(files(cloud)) == {taken[0], taken[2], newest["file"]}
    assert {name: (place / name).read_text() for name in junk} == junk


def test_only_good_dumps_count(cloud: Zctl) -> None:
    """Damaged and cut off ones push no good one out, and are told."""
    first = dumped(cloud)["file"]
    second = dumped(cloud)["file"]
    third = dumped(cloud)["file"]
    place = folder_of(cloud)
    data = bytearray((place / second).read_bytes())
    data[len(data) // 2] ^= 1
    (place / second).write_bytes(data)
    (place / third).write_bytes(data[:100])
    answer = cloud.call("dump_mysql", "--keep-amount", "2", "-o", "json")
    assert answer.exit_code == 0 and json.loads(answer.stdout)["removed"] == []
    assert f"{second} is damaged" in answer.stderr and f"{third} is cut off" in answer.stderr
    assert first in files(cloud), "the last but one that is good stays"
    assert "damaged" in cloud.fails("db", "verify", second) and "cut off" in cloud.fails("db", "verify", third)


def test_two_inventories_share_a_folder(cloud: Zctl, tmp_path: Path) -> None:
    """Each counts its own dumps only."""
    other = Zctl(tmp_path / "other", cloud.hosts)
    other.ok("init")
    mine = dumped(cloud, "--keep-amount", "1")["file"]
    theirs = dumped(other, "--keep-amount", "1", "--file-path", str(folder_of(cloud)))["file"]
    assert set(files(cloud)) == {mine, theirs}
    rows = json.loads(cloud.ok("db", "list-backups", "-o", "json"))
    assert {row["file"]: row["other_inventory"] for row in rows} == {mine: False, theirs: True}
    assert f"dump {mine}" in cloud.call("db", "verify").stderr
    assert "dumps      1 in" in cloud.ok("db", "status")
    (folder_of(cloud) / mine).unlink()
    assert "only 1 of other inventories" in cloud.fails("db", "verify", code=2)
    assert "only 1 of other inventories" in cloud.call("db", "status").stdout
    assert "of another inventory" in cloud.ok("db", "list-backups")
    (other.home / "zctl.db").unlink()
    dumped(cloud)
    said = other.fails("db", "verify", "--file-path", str(folder_of(cloud)), code=2)
    assert "which of them is in use cannot be told" in said and "name one" in said


def test_one_at_a_time(cloud: Zctl) -> None:
    """A second dump is told who is at it."""
    dumps.make(folder_of(cloud))
    with dumps.alone(folder_of(cloud)):
        assert f"another dump is being written by process {os.getpid()}" in cloud.fails("dump_mysql")
    assert dumped(cloud)["sequence"] == 1


def test_encrypted(cloud: Zctl, tmp_path: Path) -> None:
    """Only the identity opens it; keys and refusals are in plain words."""
    identity = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", str(identity)], check=True, capture_output=True)
    public = identity.read_text().split("public key: ")[1].split()[0]
    assert "age-keygen" in cloud.fails("dump_mysql", "--encrypt", code=2)
    assert "age failed" in cloud.fails("dump_mysql", "--encrypt", "--recipient", "age1nonsense")
    assert "--identity" in cloud.fails("dump_mysql", "--encrypt", "--recipient", public, "--verify", code=2)
    found = dumped(cloud, "--encrypt", "--recipient", public, "--verify", "--identity", str(identity))
    assert found["encrypted"] and found["file"].endswith(".zst.age")
    assert (folder_of(cloud) / found["file"]).read_bytes().startswith(b"age-encryption.org/")
    assert "--identity" in cloud.fails("db", "verify", found["file"], code=2)
    cloud.ok("db", "verify", found["file"], "--identity", str(identity))
    other = tmp_path / "other"
    subprocess.run(["age-keygen", "-o", str(other)], check=True, capture_output=True)
    assert "no identity matched" in cloud.fails("db", "verify", found["file"], "--identity", str(other))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed(cloud: Zctl, tmp_path: Path, how: signal.Signals) -> None:
    """At no moment is there a half file under a final name; the next dump clears away what is left."""
    good = dumped(cloud)["file"]
    fill_events(cloud, 2000)
    if cloud.db:
        path = slowed(tmp_path, "mariadb-dump", '"$real" "$@" | while IFS= read -r x; do echo "$x"; sleep 0.01; done')
        waits = [0.3]
    else:
        path, waits = "", [0.3, 0.4, 0.5, 0.6]
    for wait in waits:
        with start(cloud, "dump_mysql", path=path) as process:
            if cloud.db:
                begun(tmp_path)
            time.sleep(wait)
            process.send_signal(how)
            process.communicate(timeout=20)
        finished = process.returncode == 0
        assert process.returncode in (0, 1, -how), process.returncode
        for row in json.loads(cloud.ok("db", "list-backups", "--check", "-o", "json")):
            assert row["condition"] == "good"
        assert good in files(cloud) and (finished or len(files(cloud)) >= 1)
    dumped(cloud)
    assert not [path for path in folder_of(cloud).iterdir() if path.name.endswith("-part")]


def test_no_room(cloud: Zctl, tmp_path: Path) -> None:
    """On a full file system: an error with the remedy, older dumps as they were, and a line in the log."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    small, mount = tmp_path / "small.img", tmp_path / "mount"
    mount.mkdir()
    with small.open("wb") as file:
        file.truncate(2 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(small)], check=True)
    subprocess.run(["mount", "-o", "loop", str(small), str(mount)], check=True)
    try:
        first = dumped(cloud, "--file-path", str(mount))["file"]
        (mount / "ballast").write_bytes(bytes((shutil.disk_usage(mount).free // 4096 - 2) * 4096))
        fill_events(cloud, 3000)
        words = cloud.call("dump_mysql", "--file-path", str(mount), "--keep-amount", "1")
        assert words.exit_code == 1 and "older dumps are untouched" in words.stderr, words.output
        rows = json.loads(cloud.ok("db", "list-backups", "--check", "-o", "json", "--file-path", str(mount)))
        assert [(row["file"], row["condition"]) for row in rows] == [(first, "good")]
        assert not [path for path in mount.iterdir() if path.name.endswith("-part")]
        assert "ERROR zctl.dump" in (cloud.home / "zctl.log").read_text()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_the_server_dies_in_mid_dump(tmp_path: Path) -> None:
    """A failure, in words; no file, and older dumps stay."""
    from tests.unit.conftest import FakeHosts

    with mariadb(tmp_path) as server:
        zctl = Zctl(tmp_path / "home", FakeHosts(), server.without_rows())
        zctl.ok("init")
        good = dumped(zctl)["file"]
        fill_events(zctl, 8000)
        path = slowed(tmp_path, "mariadb-dump", '"$real" "$@" | while IFS= read -r x; do echo "$x"; sleep 0.005; done')
        with start(zctl, "dump_mysql", path=path) as process:
            begun(tmp_path)
            time.sleep(0.5)
            server.process.kill()
            _out, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "Lost connection" in err and "start it, then repeat" in err, err
        assert sorted(path.name for path in folder_of(zctl).glob("[!.]*")) == sorted([good, f"{good}.json"])


def test_under_load(cloud: Zctl) -> None:
    """Each dump holds whole transactions only: pairs of rows, without a gap, as far as they had been written."""
    stop, written = threading.Event(), [0]

    def writer() -> None:
        inventory = Inventory(cloud.url)
        while not stop.is_set():
            with inventory.write() as db:
                for side in "ab":
                    create(db, Zone, {"name": f"{side}{written[0]}"})
            written[0] += 1

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        taken = []
        for _ in range(3):
            before = written[0]
            taken.append((before, dumped(cloud, "--verify")["file"], written[0] + 1))
    finally:
        stop.set()
        thread.join()
    for before, file, after in taken:
        cloud.ok("restore_mysql", "--file", file, "--yes", "--no-plan")
        names = {row["name"] for row in cloud.rows("zone")}
        count = len(names - {"z1"}) // 2
        assert names == {"z1"} | {f"{side}{n}" for side in "ab" for n in range(count)}
        assert before <= count <= after


def test_status(cloud: Zctl) -> None:
    """Address, version, schema, size, the last dump; what is wrong makes it fail."""
    answer = cloud.call("db", "status")
    assert answer.exit_code == 1 and "there is no dump in" in answer.stdout
    file = dumped(cloud)["file"]
    said = cloud.ok("db", "status")
    assert f"schema     {HEAD}, as this zctl needs it" in said and "dumps      1 in" in said
    told = json.loads(cloud.ok("db", "status", "-o", "json"))
    assert told["database"]["problems"] == [] and told["servers"] == [] and told["database"]["size"] > 0
    assert ("MariaDB" if cloud.db else "SQLite") in told["database"]["version"]
    rewritten = folder_of(cloud) / f"{file}.json"
    text = rewritten.read_text()
    rewritten.write_text(text.replace('"started_at": "20', '"started_at": "19'))
    answer = cloud.call("db", "status")
    assert answer.exit_code == 1 and "days old" in answer.stdout
    rewritten.write_text(text.replace('"started_at": "20', '"started_at": "29'))
    answer = cloud.call("db", "status")
    assert answer.exit_code == 1 and "still to come" in answer.stdout
    timeless = re.sub(r'("started_at": "[^"Z]+)Z', r"\1", text)
    for wrong in (timeless, text.replace('"zone": 1', '"zone": -1')):
        assert wrong != text
        rewritten.write_text(wrong)
        answer = cloud.call("db", "status")
        assert answer.exit_code == 1 and "it is no manifest of a dump" in answer.stdout
        assert "it is no manifest" in cloud.call("dump_mysql").stderr


def test_misuse(cloud: Zctl, tmp_path: Path) -> None:
    """Names that lead elsewhere, amounts that keep nothing, places that are none."""
    for prefix in ("../x", "abc\n"):
        assert "cannot begin" in cloud.fails("dump_mysql", "--file-name", prefix, code=2)
    assert cloud.call("dump_mysql", "--keep-amount", "0").exit_code == 2
    assert "USER@ADDRESS:PORT" in cloud.fails("dump_mysql", "--host", "root@h;reboot", code=2)
    assert "goes with --host" in cloud.fails("dump_mysql", "--delete-expired", code=2)
    (tmp_path / "file").touch()
    assert "folder" in cloud.fails("dump_mysql", "--file-path", str(tmp_path / "file"))
    empty = f"sqlite:///{tmp_path}/none.db"
    assert "zctl init" in cloud.fails("dump_mysql", "--db", empty) and not (tmp_path / "none.db").exists()


def test_wrong_password(server: MariaDb, tmp_path: Path) -> None:
    """Told without the password; and the right one, whatever is in it, reaches the programs by a private file only."""
    from urllib.parse import quote

    from tests.unit.conftest import FakeHosts

    password = "ca\"na'ry\\ #; %$(x)`\N{SNOWMAN}"
    server.without_rows()
    server.sql(
        "DROP USER IF EXISTS 'op'@'localhost'",
        f"CREATE USER 'op'@'localhost' IDENTIFIED BY '{pymysql.converters.escape_string(password)}'",
        "GRANT ALL ON zctl.* TO 'op'@'localhost'",
        r"GRANT ALL ON `zctl\_scratch\_%`.* TO 'op'@'localhost'",
    )
    base = server.url(user=f"op:{quote(password, safe='')}")
    zctl = Zctl(tmp_path / "home", FakeHosts(), base)
    zctl.ok("init")
    script = 'cat /proc/$$/cmdline /proc/$$/environ | tr "\\0" "\\n" >> "$(dirname "$0")/seen"; exec "$real" "$@"'
    path = slowed(tmp_path, "mariadb-dump", script)
    slowed(tmp_path, "mariadb", script)
    with start(zctl, "dump_mysql", "--verify", path=path) as process:
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    seen = (tmp_path / "slow" / "seen").read_text()
    everything = seen + err + "".join(p.read_text(errors="replace") for p in zctl.home.rglob("*") if p.is_file())
    for secret in (password, "na'ry", quote(password, safe=""), quote("na'ry", safe="")):
        assert secret not in everything
    assert "--defaults-file=" in seen
    wrong = zctl.call("dump_mysql", "--db", server.url(user="op:falsch"))
    assert wrong.exit_code == 1 and "refuses the user or password" in wrong.stderr and "falsch" not in wrong.output
