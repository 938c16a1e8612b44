"""zctl gc: what is old goes, in small transactions; what lives, or may be needed, stays."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.conftest import Zctl
from zctl.actions import garbage
from zctl.inventory import nodes
from zctl.inventory.lease import owner
from zctl.resources.base import now
from zctl.resources.event import Event
from zctl.resources.job import Job
from zctl.resources.management_node import ManagementNode
from zctl.run.runner import OWNER_FILE, end_processes
from zctl.temporary import is_left, private_folder

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of our own: in that of the machine others may have left something."""
    made = tmp_path / "tmp"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    return made


def fill(zctl: Zctl) -> None:
    """Old and new of everything."""
    with zctl.inventory.write() as db:
        nodes.beat(db)
        for days in (1, 40, 100):
            at = now() - days * DAY
            db.add(Event.build(name=f"event-{days}", at=at, what="x"))
            db.add(Job.build(name=f"done-{days}", state="Done", ended_at=at, created_at=at))
            db.add(Job.build(name=f"endless-{days}", state="Failed", created_at=at))
            db.add(Job.build(name=f"running-{days}", state="Running", owner="x@gone:0:1:1", created_at=at))
            db.add(ManagementNode.build(name=f"node-{days}", last_seen=at))


def names(zctl: Zctl, noun: str) -> set[str]:
    """The names of the rows made here that are left."""
    return {row["name"] for row in zctl.rows(noun) if "-1" in row["name"] or "-4" in row["name"]}


def test_rows(zctl: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their age; running jobs never; this machine never."""
    fill(zctl)
    monkeypatch.setattr(garbage, "BATCH", 1)
    before = zctl.dump()
    told = zctl.call("gc", "--dry-run")
    assert "would remove 1 event, 4 jobs, 2 management-nodes" in told.stderr and zctl.dump() == before
    said = zctl.call("gc", "--jobs-days", "50")
    assert said.exit_code == 0 and "removed 1 event, 2 jobs, 2 management-nodes" in said.stderr, said.stderr
    assert names(zctl, "event") == {"event-1", "event-40"}
    assert names(zctl, "job") == {
        *("done-1", "done-40", "endless-1", "endless-40", "running-1", "running-40", "running-100")
    }
    assert len(zctl.rows("management-node")) == 2
    with zctl.inventory.write() as db:
        db.connection().exec_driver_sql("UPDATE management_node SET last_seen = '2020-01-01 00:00:00'")
    assert json.loads(zctl.ok("gc", "--events-days", "30", "-o", "json")) == {
        "event": 1,
        "job": 2,
        "management-node": 1,
        "run-folder": 0,
        "temporary-folder": 0,
    }
    assert "nothing to remove" in zctl.call("gc", "--events-days", "30").stderr
    assert len(zctl.rows("management-node")) == 1
    assert zctl.call("gc", "--events-days", "0").exit_code == 2


def test_more_days_than_the_calendar_has(zctl: Zctl) -> None:
    """Everything is younger: nothing of it goes."""
    fill(zctl)
    for days in ("1000000", "99999999999"):
        found = json.loads(zctl.ok("gc", "--events-days", days, "--jobs-days", days, "-o", "json", "--dry-run"))
        assert (found["event"], found["job"]) == (0, 0)


def test_folders_of_runs(zctl: Zctl) -> None:
    """A dead process's at once, an earlier boot's after a day, one kept for people after so many days; others never."""
    runs = zctl.home / "runs"
    user, _, rest = owner().partition(":")
    kernel = rest.partition(":")[0]
    dead, elsewhere = f"{user}:{kernel}:999999999:1", f"{user}:0.0:1:1"
    for name, who, days in (
        ("alive", owner(), 90),
        ("dead", dead, 0),
        ("reboot-new", elsewhere, 0),
        ("reboot-old", elsewhere, 2),
        ("kept-new", None, 20),
        ("kept-old", None, 31),
    ):
        folder = runs / name
        (folder / "inventory").mkdir(parents=True)
        if who is not None:
            (folder / OWNER_FILE).write_text(who)
        at = now().timestamp() - days * 86400
        os.utime(folder, (at, at))
    (runs / "file").touch()
    assert "would remove 3 run-folders" in zctl.call("gc", "--dry-run").stderr
    assert "removed 3 run-folders" in zctl.call("gc").stderr
    assert sorted(path.name for path in runs.iterdir()) == ["alive", "file", "kept-new", "reboot-new"]
    (zctl.home / "elsewhere").mkdir()
    (zctl.home / "elsewhere" / OWNER_FILE).write_text(dead)
    (runs / "link").symlink_to(zctl.home / "elsewhere")
    for words in (("gc", "--dry-run"), ("gc",)):
        assert zctl.call(*words).stderr == "nothing to remove\n"
    assert (zctl.home / "elsewhere" / OWNER_FILE).exists() and (runs / "link").is_symlink()


@pytest.mark.parametrize("engine", [""])
def test_private_folders(zctl: Zctl, place: Path, tmp_path: Path) -> None:
    """Those of dead processes go, with zctl gc and with any dump; no link is followed; others' are not touched."""
    kernel = owner().rsplit(":", 3)[1]
    dead, precious = f"zctl-{kernel}-999999999-1", tmp_path / "precious"
    (precious / "inner").mkdir(parents=True)

    def lay() -> None:
        for name in (f"{dead}-a", f"{dead}-b_", "zctl-0.0-1-1-new", "zctl-0.0-1-1-old"):
            (place / name).mkdir(exist_ok=True)
            (place / name / "client.cnf").write_text("password")
        (place / f"{dead}-a" / "link").symlink_to(precious)
        os.utime(place / "zctl-0.0-1-1-old", (0, 0))

    lay()
    (place / "zctl-seed-abc").mkdir()
    (place / f"{dead}-link").symlink_to(precious)
    (place / f"{dead}-file").touch()
    (place / f"{dead}-theirs").mkdir()
    kept = {"zctl-seed-abc", f"{dead}-link", f"{dead}-file", "zctl-0.0-1-1-new"}
    if os.geteuid() == 0:
        os.chown(place / f"{dead}-theirs", 65534, 65534)
        kept.add(f"{dead}-theirs")
    else:
        (place / f"{dead}-theirs").rmdir()
    with private_folder() as own:
        assert own.parent == place and own.stat().st_mode & 0o777 == 0o700 and not is_left(own)
        assert {path.name for path in place.iterdir()} == kept | {own.name}
        lay()
        assert "would remove 3 temporary-folders" in zctl.call("gc", "--dry-run").stderr
        assert "removed 3 temporary-folders" in zctl.call("gc").stderr
        assert {path.name for path in place.iterdir()} == kept | {own.name}
        lay()
        zctl.ok("dump_mysql")
        assert {path.name for path in place.iterdir()} == kept | {own.name}
    assert not own.exists() and (precious / "inner").is_dir()


def test_the_watch_ends_what_a_dead_process_left_running(zctl: Zctl) -> None:
    """Its playbook must not go on when another node has its job."""
    user, _, rest = owner().partition(":")
    dead = f"{user}:{rest.partition(':')[0]}:999999999:1"
    left = subprocess.Popen(["sleep", "60"], env={"ZCTL_OWNER": dead, "PATH": os.environ["PATH"]})
    own = subprocess.Popen(["sleep", "60"], env={"ZCTL_OWNER": owner(), "PATH": os.environ["PATH"]})
    try:
        zctl.ok("management-node", "watch")
        assert left.wait(timeout=5) == -9 and own.poll() is None
        assert end_processes(lambda found: found == dead) == 0
    finally:
        own.kill()
        own.wait()
    row = zctl.rows("management-node")[0]
    assert (row["state"], row["jobs"]) == ("Alive", 0)
    assert "no dry run" in zctl.call("management-node", "watch", "--dry-run").stderr


def test_a_run_folder_names_its_process(tmp_path: Path) -> None:
    """While the run is on; not when it is kept for people."""
    from zctl.run.runner import Settings, tidy

    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / OWNER_FILE).write_text("x")
    tidy(Settings(folder.parent), folder, keep=True)
    assert folder.is_dir() and not (folder / OWNER_FILE).exists()
