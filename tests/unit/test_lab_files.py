"""Files, locks, marks and errors of the lab, without any host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zctl.errors import Misuse, NotFound
from zctl.lab import Lab, paths
from zctl.lab.host import LabHost
from zctl.lab.machine import mark
from zctl.lab.shell import LabError, run, succeeds


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZCTL_LAB_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def known_lab(name: str, index: int) -> Lab:
    record = {"name": name, "index": index, "bare": False, "base": "/nowhere"}
    paths.write_json(paths.lab_dir(name) / "lab.json", record)
    return Lab.open(name)


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key"
    paths.write_file(path, "old", mode=0o644)
    paths.write_file(path, "new", mode=0o600)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["key"]


def test_a_damaged_record_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(LabError, match=r"lab\.json is not valid JSON"):
        paths.read_json(tmp_path / "lab.json")
    assert paths.read_json(tmp_path / "none.json") is None


def test_a_lab_is_found_again() -> None:
    known_lab("one", 0)
    known_lab("two", 5)
    assert Lab.names() == ["one", "two"]
    assert Lab.open("two").plan.index == 5
    with pytest.raises(NotFound, match="did you mean two"):
        Lab.open("tow")
    with pytest.raises(NotFound):
        Lab.open("../one")


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "a b", "../x", "$(id)", "x" * 40, "naïve", "a\nb"])
def test_bad_lab_names_are_refused_before_anything_is_done(name: str, state: Path) -> None:
    with pytest.raises(Misuse):
        Lab.up(name, 1)
    assert not state.exists()


@pytest.mark.parametrize("hosts", [0, -1, 100])
def test_bad_numbers_of_hosts_are_refused(hosts: int) -> None:
    with pytest.raises(Misuse):
        Lab.up("lab", hosts)


def test_hosts_are_listed_by_number() -> None:
    lab = known_lab("lab", 1)
    for name in ("h10", "h2", "h1", "strange"):
        (lab.folder / "hosts" / name).mkdir(parents=True)
    assert [host.name for host in lab.hosts] == ["h1", "h2", "h10"]
    assert lab.host("h2").address == "198.18.16.12"
    with pytest.raises(NotFound, match="it has: h1, h2, h10"):
        lab.host("h3")


def test_a_host_that_was_never_started_is_down() -> None:
    host: LabHost = known_lab("lab", 1)._host(1)
    assert host.state == "down"
    assert host.host_key == ""
    assert host.last_words() == ""


def test_the_power_script_is_shell_and_carries_the_mark() -> None:
    power = known_lab("lab", 1)._host(3).power
    text = power.script_text()
    assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0
    assert f"alias '{mark('lab')}'" in text
    assert "--network-veth-extra=zlab1m3:host0" in text
    assert "--network-veth-extra=zlab1d3:data0" in text


def test_the_lock_holds_others_off() -> None:
    code = (
        "import time\nfrom zctl.lab.paths import machine_lock\n"
        "with machine_lock(print):\n    print('held', flush=True)\n    time.sleep(0.5)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        said: list[str] = []
        with paths.machine_lock(said.append):
            assert other.wait(5) == 0
    assert said == [f"waiting for another 'zctl lab' command (pid {other.pid})"]


def test_errors_of_programs_name_the_program_and_what_it_said() -> None:
    with pytest.raises(LabError, match="sh failed with code 3: no luck"):
        run(["sh", "-c", "echo no luck >&2; exit 3"], what="it was tried")
    with pytest.raises(LabError, match="no-such-program-here is missing"):
        run(["no-such-program-here"])
    with pytest.raises(LabError, match="did not end within"):
        run(["sleep", "5"], timeout=0.05)
    assert succeeds(["true"])
    assert not succeeds(["false"])
