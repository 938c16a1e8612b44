"""Bad input through the command line: a clear error, exit 1 or 2, nothing changed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.unit.conftest import Zctl
from zctl.config import load
from zctl.errors import Misuse

NASTY = [
    "a b",
    "a'b",
    'a"b',
    "$(reboot)",
    "{{ 7*7 }}",
    "<b>",
    "a\nb",
    "x" * 300,
    "\N{PILE OF POO}",
    "-rf",
    "../etc",
    "a;b",
    "",
]
VM = ("--image", "tiny", "--instance-offering", "small")


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names(cloud: Zctl, name: str) -> None:
    """No noun takes a name that could mean something to a shell, a template, XML or a path."""
    for words in (
        ("zone", "create", "--", name),
        ("vm", "create", *VM, "--", name),
        ("disk-offering", "create", "--size", "1G", "--", name),
        ("volume", "create", "--size", "1G", "--", name),
    ):
        said = cloud.fails(*words, code=2)
        assert "name" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("zone", "create", "z1"), 1, "exists already"),
        (("cluster", "create", "c2", "--zone", "z2"), 1, "does not exist"),
        (("vm", "create", "web-1", "--image", "tinny", "--instance-offering", "small"), 1, "did you mean tiny?"),
        (("vm", "create", "web-1", *VM, "--network", "wan"), 1, "l3-network wan: does not exist"),
        (("vm", "create", "web-1", *VM, "--network", "lan=10.0.0.1"), 1, "gateway"),
        (("vm", "create", "web-1", *VM, "--network", "lan=10.0.0.200"), 1, "is in no ip-range"),
        (("vm", "create", "web-1", *VM, "--memory", "lots"), 2, "is not a size"),
        (("vm", "create", "web-1", *VM, "--memory", "1M"), 2, "memory"),
        (("vm", "create", "web-1", *VM, "--cpus", "0"), 2, "cpus"),
        (("vm", "create", "web-1", "--image", "tiny"), 2, "no size"),
        (("vm", "start", "nobody"), 1, "does not exist"),
        (("vm", "update", "nobody", "--cpus", "2"), 1, "does not exist"),
        (("ip-range", "create", "r", "--l3-network", "lan", "--cidr", "10.0.1.0/28"), 1, "not inside"),
        (("ip-range", "create", "r", "--l3-network", "lan", "--start", "10.0.0.5", "--end", "10.0.0.9"), 1, "overlaps"),
        (
            ("ip-range", "create", "r", "--l3-network", "lan", "--start", "10.0.0.9", "--end", "10.0.0.5"),
            1,
            "after end",
        ),
        (("ip-range", "create", "r", "--l3-network", "lan", "--start", "x", "--end", "y"), 2, "not an IP address"),
        (("l3-network", "create", "n", "--l2-network", "wire", "--cidr", "10.0.0.0/25"), 1, "overlaps"),
        (
            ("l3-network", "create", "n", "--l2-network", "wire", "--cidr", "10.1.0.0/24", "--gateway", "10.2.0.1"),
            1,
            "gateway",
        ),
        (("l3-network", "create", "n", "--l2-network", "wire", "--cidr", "10.1.0.5/24"), 2, "not a subnet"),
        (("l2-network", "create", "n", "--zone", "z1"), 1, "--physical-interface"),
        (("l2-network", "create", "n", "--zone", "z1", "--physical-interface", "eth1"), 1, "already carries"),
        (("l2-network", "create", "n", "--zone", "z1", "--kind", "token-ring"), 2, "kind"),
        (("primary-storage", "create", "s", "--zone", "z1", "--path", "/etc"), 1, "cannot hold a storage"),
        (("primary-storage", "create", "s", "--zone", "z1", "--path", "/srv/zctl/in"), 1, "overlaps"),
        (("primary-storage", "create", "s", "--zone", "z1", "--path", "a; rm -rf /"), 2, "path"),
        (("image", "create", "i", "--source", "/nowhere/i.qcow2"), 1, "No such file"),
        (("image", "create", "i", "--source", "ftp://example.net/i"), 2, "neither a file"),
        (("host", "create", "h3", "--cluster", "c1", "--address", "$(id)"), 2, "address"),
        (("zone", "list", "--filter", "color=red"), 2, "no column"),
        (("zone", "list", "--columns", "nmae"), 2, "did you mean name?"),
        (("zone", "list", "-o", "xml"), 2, "output format"),
        (("zone", "delete", "z1", "--yes"), 1, "in use by"),
        (("instance-offering", "delete", "small"), 2, "--yes"),
        (("l3-network", "update", "lan", "--cidr", "10.9.0.0/24"), 2, ""),
        (("tag", "create"), 2, "key"),
        (("wait", "vm", "nobody", "ip"), 1, "does not exist"),
    ],
)
def test_refused_in_words(cloud: Zctl, words: tuple[str, ...], code: int, said: str) -> None:
    """Each mistake names itself and, where there is one, the way out."""
    answer = cloud.fails(*words, code=code)
    assert said in answer


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_exit_codes_are_the_same_in_every_format(cloud: Zctl, form: str) -> None:
    """Programs can rely on them."""
    assert cloud.call("vm", "show", "nobody", "-o", form).exit_code == 1
    assert cloud.call("vm", "list", "--columns", "no", "-o", form).exit_code == 2
    assert cloud.call("vm", "list", "-o", form).exit_code == 0


def test_no_room_says_which_resource_is_short_where(cloud: Zctl) -> None:
    """For each host: CPUs, memory, disk."""
    said = cloud.fails(
        "vm", "create", "big", "--image", "tiny", "--cpus", "64", "--memory", "64G", "--root-size", "500G"
    )
    for host in ("h1", "h2"):
        assert f"{host}: needs 64 CPUs" in said
    assert "memory" in said and "disk" in said


def test_gateway_network_and_broadcast_are_never_given_out(cloud: Zctl) -> None:
    """A range that is the whole block gives 13 of its 16 addresses: not .0, the gateway .1 or DHCP's own."""
    given = set()
    for number in range(13):
        words = ("--image", "tiny", "--cpus", "1", "--memory", "16M", "--power", "Stopped", "--network", "lan")
        answer = cloud.call("vm", "create", f"v{number}", *words)
        if answer.exit_code:
            break
        given.add(cloud.rows("vm", f"name=v{number}")[0]["ip"])
    assert not given & {"10.0.0.0", "10.0.0.1", "10.0.0.255", cloud.rows("l3-network")[0]["dhcp_ip"]}
    assert len(given) == len(cloud.rows("nic"))


def test_image_mistakes(cloud: Zctl, tmp_path: Path) -> None:
    """A wrong checksum, a web page, an overlay, an empty file."""
    image, page, empty, overlay = (tmp_path / name for name in ("i.raw", "p.qcow2", "e.raw", "o.qcow2"))
    image.write_bytes(b"x" * 4096)
    page.write_text("<!DOCTYPE html><html></html>")
    empty.write_bytes(b"")
    overlay.write_bytes(b"QFI\xfb" + (3).to_bytes(4, "big") + (96).to_bytes(8, "big") + bytes(88))
    assert "checksum" in cloud.fails("image", "create", "i", "--source", str(image), "--checksum", "sha256:" + "0" * 64)
    assert "checksum" in cloud.fails("image", "create", "i", "--source", str(image), "--checksum", "md5:00", code=2)
    assert "web page" in cloud.fails("image", "create", "p", "--source", str(page))
    assert "empty" in cloud.fails("image", "create", "e", "--source", str(empty))
    assert "overlay" in cloud.fails("image", "create", "o", "--source", str(overlay))


@pytest.mark.parametrize("engine", [""])
def test_database_troubles(cloud: Zctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked, read-only for another reason, gone, not a database, of a newer zctl: told in words, exit 1."""
    monkeypatch.setattr("zctl.inventory.engine.BUSY_TIMEOUT_MS", 100)
    path = cloud.home / "zctl.db"
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer = cloud.call("zone", "create", "z9")
        assert answer.exit_code == 1 and "locked" in answer.stderr
        holder.execute("ROLLBACK")
        answer = cloud.call("zone", "create", "z9", "--db", f"sqlite:///file:{path}?mode=ro&uri=true")
        assert answer.exit_code == 1 and "read-only" in answer.stderr
        holder.execute("UPDATE alembic_version SET version_num = '9999'")
        assert "schema 9999" in cloud.call("zone", "list").stderr
    path.write_bytes(b"this is no database at all" * 100)
    for extra in ("-wal", "-shm"):
        Path(f"{path}{extra}").unlink(missing_ok=True)
    answer = cloud.call("zone", "list")
    assert answer.exit_code == 1 and "damaged or not an inventory" in answer.stderr
    path.unlink()
    answer = cloud.call("zone", "list")
    assert answer.exit_code == 1 and "zctl init" in answer.stderr
    assert "no database zctl knows" in cloud.call("zone", "list", "--db", "oracle://x/y").stderr
    assert cloud.call("zone", "list", "--db", str(tmp_path / "none.db")).exit_code == 1


@pytest.mark.parametrize("engine", [""])
def test_odd_signs_in_paths(zctl: Zctl, tmp_path: Path) -> None:
    """A path is that file and no other, and it is shown by its name."""
    for name in ("q?x.db", "p%41.db", "%zz ü#&@+:.db"):
        path = tmp_path / "odd" / name
        assert "made" in zctl.call("init", "--db", str(path)).stderr
        zctl.ok("zone", "create", "z1", "--db", str(path))
        assert [entry.name for entry in path.parent.iterdir() if not entry.name.endswith(("-wal", "-shm"))] == [name]
        path.unlink()
    for name in ("h?q%41", "größer"):
        zctl.home = tmp_path / name
        zctl.ok("init")
        assert (zctl.home / "zctl.db").is_file()
    assert "größer/zctl.db: unchanged" in zctl.call("init").stderr


def test_paths_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder; what would depend on the current folder is refused."""
    file = tmp_path / "zctl/config.toml"
    file.parent.mkdir()
    for name, value in (("XDG_CONFIG_HOME", tmp_path), ("HOME", tmp_path / "me")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("ZCTL_HOME", raising=False)
    file.write_text('home = "~/data"\ndump_folder = "~/dumps"\ndump_identity = "~/key"\ndb = "~/x.db"\n')
    found = load()
    assert found.home == tmp_path / "me/data" and found.url == f"sqlite:///{tmp_path}/me/x.db"
    assert (found.dump_folder, found.dump_identity) == (f"{tmp_path}/me/dumps", f"{tmp_path}/me/key")
    for name in ("home", "dump_folder", "dump_identity", "db"):
        file.write_text(f'{name} = "data/x"\n')
        with pytest.raises(Misuse, match=f"{name} is no full path") as caught:
            load()
        assert caught.value.resource == str(file) and caught.value.remedy
    file.write_text('home = "~nobody-of-that-name/x"\n')
    with pytest.raises(Misuse, match="no home folder"):
        load()


@pytest.mark.parametrize("engine", [""])
def test_a_trace_changes_no_exit_code(zctl: Zctl) -> None:
    """--debug adds the trace to the words and the code that there are without it."""
    for words, code in ((("restore_mysql", "--file", "nope"), 2), (("zone", "delete", "none", "--yes"), 1)):
        plain, traced = zctl.call(*words), zctl.call(*words, "--debug")
        assert plain.exit_code == traced.exit_code == code
        assert "Traceback" in traced.stderr and traced.stderr.endswith(plain.stderr) and plain.stderr


def test_every_outcome_is_json_when_asked(zctl: Zctl) -> None:
    """Also of commands that have little to say."""
    for words, keys in (
        (("init",), {"database", "revision", "changed", "done"}),
        (("db", "migrate"), {"database", "revision", "changed", "done"}),
        (("management-node", "watch"), {"jobs_taken_over"}),
        (("version",), {"version"}),
    ):
        assert json.loads(zctl.ok(*words, "-o", "json")).keys() == keys
