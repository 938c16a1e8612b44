"""The rendered folder: the same bytes each time, nothing of zctl's in it, and no harm to other people's files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.unit.conftest import Zctl
from zctl.actions.ansible_inventory import group_names
from zctl.errors import Refused
from zctl.inventory.store import create
from zctl.plan.hoststate import CONCERNS
from zctl.resources.host import Host
from zctl.run import eject as ejecting
from zctl.run.eject import MARKER, eject
from zctl.run.folder import render_site

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def variables(folder: Path, host: str) -> dict[str, Any]:
    """A host's variables as Ansible reads them, texts marked as plain with a '!' before."""

    class Loader(yaml.SafeLoader):
        """Knows Ansible's tag."""

    Loader.add_constructor("!unsafe", lambda _loader, node: f"!{node.value}")
    found: dict[str, Any] = yaml.load((folder / f"inventory/host_vars/{host}.yml").read_text(), Loader)
    return found


def ansible(folder: Path, *argv: str) -> str:
    """An Ansible program in the folder, where importing zctl fails."""
    bar = folder.parent / "bar"
    bar.mkdir(exist_ok=True)
    (bar / "zctl.py").write_text("raise ImportError('zctl is not installed')\n")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(bar), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [str(BIN / argv[0]), *argv[1:]], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(cloud: Zctl, tmp_path: Path) -> Path:
    """A rendered folder of two hosts and a VM."""
    cloud.ok(
        "vm", "create", "web", "--image", "tiny", "--instance-offering", "small", "--network", "lan",
        "--host", "h1", "--description", "{{ 1 + 1 }}: 'quoted' ü",
    )  # fmt: skip
    made = tmp_path / "out"
    cloud.ok("render", str(made))
    return made


def test_the_same_inventory_gives_the_same_bytes(cloud: Zctl, folder: Path, tmp_path: Path) -> None:
    """In another place, and again in the same place, where then no file is touched."""
    cloud.ok("render", str(tmp_path / "elsewhere"))
    assert files_of(tmp_path / "elsewhere") == files_of(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    said = json.loads(cloud.ok("render", str(folder), "--force", "-o", "json"))
    assert said == {"folder": str(folder), "hosts": ["h1", "h2"], "files_changed": 0}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_only_the_owner_reads_it(folder: Path) -> None:
    """As with the folder of a run."""
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_nothing_in_it_needs_zctl(folder: Path, tmp_path: Path) -> None:
    """No import of it, no path of this checkout or inventory, no compiled files; the collection is whole otherwise."""
    for path, content in files_of(folder).items():
        assert not re.search(rb"^\s*(from|import) zctl(\.| |$)", content, re.MULTILINE), path
        assert str(ROOT).encode() not in content and str(tmp_path / "home").encode() not in content, path
        assert not path.endswith(".pyc")
    copy = folder / "collections/ansible_collections/zctl/cloud"
    assert {path.name for path in (copy / "roles").iterdir()} == {path.name for path in (ROOT / "roles").iterdir()}
    for kind in ("modules", "module_utils", "action"):
        names = {path.name for path in (ROOT / "plugins" / kind).glob("*.py")}
        assert {path.name for path in (copy / "plugins" / kind).iterdir()} == names


def test_the_state_is_that_of_a_run(cloud: Zctl, folder: Path) -> None:
    """By concern, with the user's texts as plain ones, and the same as zctl itself would bring there."""
    cloud.ok("converge", "--host", "h1")
    run = cloud.hosts.runs[-1]
    found = variables(folder, "h1")
    vm = found["zctl_state"]["vm"]["vms"][0]
    assert vm["description"] == "!{{ 1 + 1 }}: 'quoted' ü"
    vm["description"] = vm["description"].removeprefix("!")
    # What hosts keep of the inventory is brought by zctl's own runs only.
    assert found["zctl_state"] == {key: part for key, part in run.state.items() if key != "rows"}
    assert found["zctl_scope"] is None and [*found["zctl_steps"], "rows"] == list(run.steps) == [*CONCERNS, "rows"]
    assert found["ansible_host"] == "198.18.0.1" and found["ansible_port"] == 22


def test_ansible_reads_it(folder: Path) -> None:
    """Groups, patterns, the playbook's syntax and texts that look like templates, in a place that needs quotes."""
    moved = folder.rename(folder.parent / "a folder {of} its own")
    listing = json.loads(ansible(moved, "ansible-inventory", "--list"))
    assert listing["zone_z1"]["hosts"] == listing["cluster_c1"]["hosts"] == listing["zctl"]["hosts"] == ["h1", "h2"]
    said = ansible(moved, "ansible", "h1", "-m", "debug", "-a", "msg={{ zctl_state.vm.vms[0].description }}")
    assert "{{ 1 + 1 }}: 'quoted' ü" in said.replace("\\", "") or "\\u00fc" in said
    said = ansible(moved, "ansible", "h1", "-m", "debug", "-a", "msg={{ ansible_ssh_common_args }}")
    assert f"{moved}/inventory/../known_hosts" in said
    assert "h1" in ansible(moved, "ansible-playbook", "site.yml", "--list-hosts", "--limit", "zone_z1:!h2")
    assert "zctl.cloud.network" in ansible(moved, "ansible-playbook", "site.yml", "--list-tasks")
    keys = (moved / "known_hosts").read_text().splitlines()
    assert [line.split()[1:] for line in keys] == [["ssh-ed25519", "AAAA"]] * 2


def test_ansible_lint_finds_nothing(folder: Path) -> None:
    """By its strictest profile, with the collection that lies in the folder."""
    ansible(folder, "ansible-lint", "--offline", "--profile", "production", "--nocolor", "-q")


def test_site_yml_of_the_checkout_has_the_same_plays() -> None:
    """Only its comments differ, so that both tell the same."""
    plays = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    assert plays == yaml.safe_load(render_site())


def test_hosts_are_chosen_by_name_and_maintenance_is_left_out(cloud: Zctl, tmp_path: Path) -> None:
    """What cannot be rendered is named, with the command that helps."""
    cloud.ok("render", str(tmp_path / "one"), "--host", "h2")
    assert list(
        yaml.safe_load((tmp_path / "one/inventory/hosts.yml").read_text())["all"]["children"]["zctl"]["hosts"]
    ) == ["h2"]
    assert [path.name for path in (tmp_path / "one/inventory/host_vars").iterdir()] == ["h2.yml"]
    cloud.ok("host", "maintenance", "h1")
    assert "zctl host enable h1" in cloud.fails("render", str(tmp_path / "two"), "--host", "h1", "--host", "h2")
    assert not (tmp_path / "two").exists()
    assert "h3" in cloud.fails("render", str(tmp_path / "two"), "--host", "h3")
    cloud.ok("render", str(tmp_path / "two"))
    assert not (tmp_path / "two/inventory/host_vars/h1.yml").exists()
    cloud.ok("host", "maintenance", "h2")
    assert "no hosts" in cloud.fails("render", str(tmp_path / "three"), code=2)


def test_this_machine_is_reached_without_ssh(zctl: Zctl, tmp_path: Path) -> None:
    """A host with the address 'local' has no key and no address."""
    zctl.ok("zone", "create", "z1")
    zctl.ok("cluster", "create", "c1", "--zone", "z1")
    with zctl.inventory.write() as db:
        create(db, Host, {"name": "here", "cluster": "c1", "address": "local"})
    zctl.ok("render", str(tmp_path / "out"))
    found = variables(tmp_path / "out", "here")
    assert found["ansible_connection"] == "local" and "ansible_host" not in found
    assert "ansible_ssh_common_args" not in found and (tmp_path / "out/known_hosts").read_text() == ""


def test_names_are_legal_for_ansible_and_stay_apart(cloud: Zctl, tmp_path: Path) -> None:
    """Zones that would be one group get a piece of their UUID; hosts that Ansible would mix up are refused."""
    rows = [
        SimpleNamespace(id=f"{n}{n}{n}{n}{n}{n}{n}{n}-rest", name=name) for n, name in enumerate(("a.b", "a-b", "a"))
    ]
    names = group_names("zone", rows)
    assert list(names.values()) == ["zone_a_b_00000000", "zone_a_b_11111111", "zone_a"]
    cloud.ok("zone", "update", "z1", "--name", "eu-1.a")
    cloud.ok("render", str(tmp_path / "out"))
    assert "zone_eu_1_a" in (tmp_path / "out/inventory/hosts.yml").read_text()
    for name, words in (("all", "group"), ("kvm", "group"), ("cluster_c1", "group"), ("h2.yml", "host h2")):
        cloud.ok("host", "update", "h1", "--name", name)
        said = cloud.fails("render", str(tmp_path / "new"))
        assert words in said and f"zctl host update {name} --name" in said
        cloud.ok("host", "update", name, "--name", "h1")


def test_foreign_folders_are_refused(cloud: Zctl, tmp_path: Path) -> None:
    """With --force or without: nothing in them changes."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for marker in (
        None,
        "no json",
        '{"files": {"/etc/passwd": "x"}, "whole": true}',
        '{"files": {"../x": ""}, "whole": true}',
        "[]",
    ):
        if marker is not None:
            (full / MARKER).write_text(marker)
        before = files_of(full)
        for words in ((), ("--force",)):
            assert "other things" in cloud.fails("render", str(full), *words)
        assert files_of(full) == before
    assert "not a folder" in cloud.fails("render", str(full / "mine.txt"), "--force")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "not a folder" in cloud.fails("render", str(tmp_path / "link"))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "chmod o-w" in cloud.fails("render", str(tmp_path / "open"))


def test_force_keeps_what_others_added(cloud: Zctl, folder: Path) -> None:
    """Hosts that are gone leave, unless their file was changed; other people's files stay, and are not overwritten."""
    assert "--force" in cloud.fails("render", str(folder))
    mine = {".git/config": "g", "group_vars/all.yml": "a: 1\n", "inventory/host_vars/h9.yml": "b: 2\n"}
    for path, text in mine.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "site.yml").write_text("changed by hand")
    cloud.ok("render", str(folder), "--force", "--host", "h1")
    assert not (folder / "inventory/host_vars/h2.yml").exists()
    assert (folder / "site.yml").read_text() == render_site()
    assert all((folder / path).read_text() == text for path, text in mine.items())
    (folder / "inventory/host_vars/h2.yml").write_text("mine")
    before = files_of(folder)
    assert "move it away" in cloud.fails("render", str(folder), "--force")
    assert files_of(folder) == before
    (folder / "inventory/host_vars/h2.yml").unlink()
    cloud.ok("render", str(folder), "--force")
    (folder / "inventory/host_vars/h2.yml").write_text("changed by hand")
    cloud.ok("render", str(folder), "--force", "--host", "h1")
    assert (folder / "inventory/host_vars/h2.yml").read_text() == "changed by hand"


def test_links_are_not_followed(cloud: Zctl, folder: Path, tmp_path: Path) -> None:
    """A link in a rendered folder never makes zctl write or delete elsewhere."""
    shutil.move(folder / "inventory", tmp_path / "elsewhere")
    (folder / "inventory").symlink_to(tmp_path / "elsewhere")
    before = files_of(tmp_path / "elsewhere")
    assert "it is a link" in cloud.fails("render", str(folder), "--force", "--host", "h1")
    assert files_of(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("after", range(1, 8))
def test_a_killed_render_does_not_pass_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Wherever it ends, the playbook is missing and the next render says so and can go on."""
    target = tmp_path / "out"
    old = {"a": b"1", "b/c": b"2", "site.yml": b"3"}
    new = {"a": b"1", "d/e": b"4", "f": b"5", "g": b"6", "h": b"7", "site.yml": b"3"}
    eject(target, old, "site.yml", force=False)
    writes = 0

    def dying(folder: Path, path: str, content: bytes) -> None:
        """Writes so many files, then the process is gone."""
        nonlocal writes
        writes += 1
        if writes == after:
            raise KeyboardInterrupt
        real(folder, path, content)

    real = ejecting.write
    monkeypatch.setattr(ejecting, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        eject(target, new, "site.yml", force=True)
    monkeypatch.undo()
    if after == 1:  # nothing has changed yet
        assert (target / "b/c").exists()
    elif after < 7:
        assert not (target / "site.yml").exists()
    with pytest.raises(Refused, match="rendered before" if after == 1 else "did not come to its end"):
        eject(target, new, "site.yml", force=False)
    eject(target, new, "site.yml", force=True)
    assert {path: content for path, content in files_of(target).items() if path != MARKER} == new
    assert eject(target, new, "site.yml", force=True) == 0


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file where a folder must be, with the words what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be read and written"):
        eject(tmp_path / "file" / "out", {"site.yml": b""}, "site.yml", force=False)
