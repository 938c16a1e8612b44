"""zctl install: the files wanted, what is done about those that are there, where zctl may lie. Pure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import Zctl
from zctl.actions import install as actions
from zctl.cli.node import SHELLS, completions
from zctl.errors import Refused
from zctl.node import place
from zctl.node.changes import Change, Found, plan_files, plan_folders
from zctl.node.wanted import (
    COMPLETIONS,
    CONFIG_FILE,
    CRON_FILE,
    LOGROTATE_FILE,
    MARK,
    TASKS,
    UNITS,
    Choice,
    File,
    Folder,
    all_paths,
    is_ours,
    marked,
    wanted_files,
    wanted_folders,
)

PROGRAM = Path("/opt/zctl/bin/zctl")
CHOICE = Choice(PROGRAM, completions=tuple(completions().items()))


def texts(choice: Choice = CHOICE) -> dict[Path, str]:
    """The wanted files' texts."""
    return {file.path: file.text for file in wanted_files(choice)}


def as_found(choice: Choice = CHOICE) -> dict[Path, Found]:
    """A machine on which all is as wanted."""
    return {file.path: Found(file.text, "root", file.group, file.mode) for file in wanted_files(choice)}


def test_the_timers_and_the_cron_lines_say_the_same() -> None:
    """The dump at 00:30 and 12:30 keeping 14, in both."""
    units, cron = texts(), texts(Choice(PROGRAM, cron=True))[CRON_FILE]
    assert "OnCalendar=*-*-* 00,12:30:00\n" in units[UNITS / "zctl-dump.timer"]
    assert "Persistent=true\n" in units[UNITS / "zctl-dump.timer"]
    assert "Persistent=false\n" in units[UNITS / "zctl-watch.timer"]
    assert "\n30 0,12 * * * zctl /opt/zctl/bin/zctl dump_mysql --keep-amount 14\n" in cron
    for task in TASKS:
        assert f"\nExecStart={PROGRAM} {task.words}\n" in units[UNITS / task.service]
        assert f"\n{task.cron} zctl {PROGRAM} {task.words}" in cron
        assert "User=zctl" in units[UNITS / task.service]
    assert len(cron.splitlines()[-1].split()[:5]) == 5 and cron.endswith("\n")


def test_what_services_may_use() -> None:
    """The key as a credential when there is one; a folder for dumps that is set, whether or not it is there yet."""
    service = texts()[UNITS / "zctl-dump.service"]
    assert "LoadCredential" not in service and "ReadWritePaths=/var/lib/zctl /var/log/zctl\n" in service
    more = Choice(PROGRAM, credential="zctl.secret.key:/etc/zctl/secret.key", writable=(Path("/srv/dumps"),))
    service = texts(more)[UNITS / "zctl-dump.service"]
    assert "\nLoadCredential=zctl.secret.key:/etc/zctl/secret.key\n" in service
    assert "\nReadWritePaths=/var/lib/zctl /var/log/zctl -/srv/dumps\n" in service
    # Who reads /proc must see everybody's processes, or it would take living owners of jobs for dead.
    assert "\nProtectProc" not in service and "\nProcSubset" not in service


def test_every_file_is_marked_and_known_to_uninstall() -> None:
    """But the user's settings, which are never touched."""
    for choice in (CHOICE, Choice(PROGRAM, cron=True)):
        for file in wanted_files(choice):
            assert file.path in all_paths()
            assert is_ours(file.text) != file.theirs
            assert file.text.endswith("\n") and not file.text.endswith("\n\n")
    assert marked("#compdef zctl\nbody\n").splitlines()[:2] == ["#compdef zctl", MARK]
    assert set(COMPLETIONS) == set(SHELLS)
    assert [folder.mode & 0o006 for folder in wanted_folders(CHOICE)] == [0, 0, 0]


def test_a_second_time_there_is_nothing_to_do() -> None:
    """And a difference in text or rights is put right, with a diff that tells it."""
    found = as_found()
    assert plan_files(wanted_files(CHOICE), [CRON_FILE], found) == []
    path = UNITS / "zctl-gc.timer"
    found[path] = Found(f"{found[path].text}# mine\n", "root", "adm", 0o600)
    (change,) = plan_files(wanted_files(CHOICE), [], found)
    assert (change.kind, change.path) == ("change", path)
    assert "-# mine" in change.diff() and change.diff()[-1] == f"{path}: root:adm 0600 -> root:root 0644"
    made = plan_files(wanted_files(CHOICE), [], {})
    assert {entry.kind for entry in made} == {"make"} and len(made) == len(texts())
    assert made[0].diff()[:2] == ["--- /dev/null", f"+++ {CONFIG_FILE}"]


def test_other_peoples_files() -> None:
    """Settings are left as they are; anything else without the mark refuses the whole; surplus of others stays."""
    found = as_found()
    found[CONFIG_FILE] = Found('home = "/srv"\n', "me", "me", 0o600)
    found[CRON_FILE] = Found("* * * * * root mine\n", "root", "root", 0o644)
    assert plan_files(wanted_files(CHOICE), [CRON_FILE], found) == []
    found[CRON_FILE] = Found(f"{MARK}\n", "root", "root", 0o644)
    assert [change.kind for change in plan_files(wanted_files(CHOICE), [CRON_FILE], found)] == ["remove"]
    for theirs in (Found("/var/log/zctl/*.log {}\n", "root", "root", 0o644), Found(None, "root", "root", 0o777)):
        with pytest.raises(Refused, match=r"not make|no plain file"):
            plan_files(wanted_files(CHOICE), [], {**found, LOGROTATE_FILE: theirs})


def test_folders() -> None:
    """Made, put right, refused."""
    folder = Folder(Path("/var/lib/zctl"), 0o711, "zctl", "zctl")
    assert plan_folders([folder], {}) == [Change("make", folder)]
    right = Found(None, "zctl", "zctl", 0o711, folder=True)
    assert plan_folders([folder], {folder.path: right}) == []
    (change,) = plan_folders([folder], {folder.path: Found(None, "root", "root", 0o755, folder=True)})
    assert change.diff() == ["/var/lib/zctl: root:root 0755 -> zctl:zctl 0711"]
    with pytest.raises(Refused, match="no folder"):
        plan_folders([folder], {folder.path: Found("", "root", "root", 0o644)})


def test_where_zctl_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where a service or another user cannot come."""
    for hidden in ("/root", "/tmp"):
        with pytest.raises(Refused, match="which services cannot see"):
            place.require_reachable(Path(hidden))
    place.require_reachable(Path("/usr/bin/env"))
    monkeypatch.setattr(place, "HIDDEN", ())
    tmp_path.chmod(0o700)
    with pytest.raises(Refused, match="cannot enter"):
        place.require_reachable(tmp_path / "x")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none" / "python"))
    with pytest.raises(Refused, match="not installed"):
        place.program()
    bad = tmp_path / "a b"
    bad.mkdir()
    (bad / "zctl").touch()
    monkeypatch.setattr(sys, "executable", str(bad / "python"))
    with pytest.raises(Refused, match="cannot name this path"):
        place.program()


def test_folders_of_the_settings() -> None:
    """Data and dumps must lie where services can write."""
    place.require_usable(Path("/srv/zctl"), "data folder")
    for path in ("zctl", "/srv/a b", "/srv/50%", "/home/me/zctl"):
        with pytest.raises(Refused, match="data folder"):
            place.require_usable(Path(path), "data folder")


def test_only_root_installs(zctl: Zctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told."""
    monkeypatch.setattr(actions.os, "geteuid", lambda: 1000)
    assert "sudo zctl install" in zctl.fails("install")
    assert "sudo zctl install" in zctl.fails("install", "--uninstall", "--yes")
    assert "needs a yes" in zctl.fails("install", "--uninstall", code=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_services(tmp_path: Path) -> None:
    """In a data folder that is theirs, so that timers can go on with it."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    environment = {**os.environ, "ZCTL_HOME": str(home), "ZCTL_DB": ""}
    subprocess.run([sys.executable, "-m", "zctl", "init"], env=environment, check=True, capture_output=True)
    assert {path.stat().st_uid for path in home.iterdir()} == {65534}
    assert (home / "zctl.db").stat().st_mode & 0o077 == 0


def test_a_file_is_plain(tmp_path: Path) -> None:
    """A link in a file's place is never written through."""
    from zctl.node.apply import apply_change, read_found

    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("theirs")
    link.symlink_to(target)
    found = read_found([link, tmp_path / "none", target / "below"])
    assert list(found) == [link] and found[link].text is None
    with pytest.raises(Refused, match="no plain file"):
        plan_files([File(link, f"{MARK}\n")], [], found)
    if os.geteuid() == 0:
        apply_change(Change("make", File(link, f"{MARK}\n", 0o640)))
        assert target.read_text() == "theirs" and link.read_text() == f"{MARK}\n" and not link.is_symlink()
        assert link.stat().st_mode & 0o777 == 0o640 and sorted(path.name for path in tmp_path.iterdir()) == [
            "link",
            "target",
        ]
        with pytest.raises(Refused, match="cannot be written"):
            apply_change(Change("make", File(link / "below", "")))
        apply_change(Change("remove", File(link, "")))
        assert not link.exists()
