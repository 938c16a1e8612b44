"""Encrypted values: made, opened where they are used, given a new key; never shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from tests.unit.conftest import FakeHosts, Zctl
from tests.unit.servers import MariaDb
from zctl.actions import secret
from zctl.cli.main import app
from zctl.config import load as load_config
from zctl.inventory.engine import Inventory
from zctl.resources.management_node import ManagementNode
from zctl.run.connection import host_variables
from zctl.run.runner import forget_secrets
from zctl.secrets import Keyring, alone, load, make

CANARY = "kanarienvogel-7"


def sealed(zctl: Zctl, value: str = CANARY) -> str:
    """An encrypted value, as a user makes it."""
    return zctl.ok("secret", "encrypt", stdin=value).strip()


def test_there_and_back(zctl: Zctl) -> None:
    """Any text; the key is for its owner only; each time it looks different."""
    for value in (CANARY, "größer \N{SNOWMAN}", "a\nb", " x "):
        text = sealed(zctl, value)
        assert text.startswith("ENC(")
        assert zctl.ok("secret", "decrypt", text) == value + "\n"
        assert zctl.ok("secret", "decrypt", stdin=text) == value + "\n"
    key = zctl.home / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert sealed(zctl) != sealed(zctl)
    assert key.read_text().strip() not in repr(load(zctl.home))


def test_mistakes(zctl: Zctl, tmp_path: Path) -> None:
    """A key that others can read, that is gone or another one, a value that was changed: in words, with the remedy."""
    text = sealed(zctl)
    key = zctl.home / "secret.key"
    key.chmod(0o640)
    assert "chmod 600" in zctl.fails("secret", "decrypt", text)
    key.chmod(0o600)
    assert "was changed" in zctl.fails("secret", "decrypt", text[:-9] + "AAAAAAA=)")
    assert "not an ENC" in zctl.fails("secret", "decrypt", "plain", code=2)
    assert "no value" in zctl.fails("secret", "encrypt", code=2)
    binary = CliRunner().invoke(app, ["secret", "encrypt"], input=b"\xff\xfe", env={"ZCTL_HOME": str(zctl.home)})
    assert binary.exit_code == 2 and "no text in UTF-8" in binary.stderr, binary.output
    saved = key.read_bytes()
    key.write_text("no key\n")
    assert "holds no key" in zctl.fails("secret", "decrypt", text)
    assert "holds no key" in zctl.fails("secret", "rotate-key", "--yes") and key.read_text() == "no key\n"
    key.unlink()
    assert "restore it from your backup" in zctl.fails("secret", "decrypt", text)
    assert "no value" in zctl.fails("secret", "encrypt", code=2) and not key.exists(), "made for no value"
    make(zctl.home)
    assert "made with another key" in zctl.fails("secret", "decrypt", text)
    key.write_bytes(saved)
    assert zctl.ok("secret", "decrypt", text) == CANARY + "\n"


def test_a_database_password_in_the_configuration(
    server: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of the address, or all of it; signs that mean something in an address are no trouble."""
    home, etc = tmp_path / "home", tmp_path / "etc" / "zctl"
    etc.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(etc.parent))
    password = "ca/na:r?y@#%&="
    server.without_rows()
    server.sql(
        "DROP USER IF EXISTS 'sealed'@'localhost'",
        f"CREATE USER 'sealed'@'localhost' IDENTIFIED BY '{password}'",
        "GRANT ALL ON zctl.* TO 'sealed'@'localhost'",
    )
    zctl = Zctl(home, FakeHosts())
    text = sealed(zctl, password)
    (etc / "config.toml").write_text(f'db = "{server.url(user=f"sealed:{text}")}"\n')
    zctl.ok("init")
    zctl.ok("zone", "create", "z1")
    whole = sealed(zctl, zctl_url := server.url(user="root"))
    (etc / "config.toml").write_text(f'# mine\ndb = "{whole}" # behind\n')
    assert [row["name"] for row in zctl.rows("zone")] == ["z1"]
    monkeypatch.setenv("ZCTL_HOME", str(home))
    assert load_config().url == zctl_url
    assert "2 value" not in zctl.ok("secret", "rotate-key", "--yes")
    after = (etc / "config.toml").read_text()
    assert whole not in after and after.startswith('# mine\ndb = "ENC(') and after.endswith('" # behind\n')
    assert [row["name"] for row in zctl.rows("zone")] == ["z1"]
    assert "made with another key" in zctl.fails("secret", "decrypt", whole)


def test_a_hosts_sudo_password(cloud: Zctl) -> None:
    """Taken as ENC(...) only, stored so, opened for the run alone; a plain one is refused without being repeated."""
    said = cloud.fails("host", "update", "h1", "--sudo-password", CANARY, code=2)
    assert CANARY not in said and "zctl secret encrypt" in said
    text = sealed(cloud)
    cloud.ok("host", "update", "h1", "--user", "op", "--sudo-password", text)
    cloud.ok("converge", "--host", "h1")
    connection = cloud.hosts.runs[-1].connection
    assert connection.sudo_password == CANARY and CANARY not in repr(connection)
    assert host_variables(connection, Path("k"))["ansible_become_password"] == CANARY
    shown = "".join(
        cloud.ok(*words)
        for words in (
            ("host", "show", "h1"),
            ("host", "list", "-o", "json"),
            ("export",),
            ("event", "list", "-o", "json"),
        )
    )
    assert CANARY not in shown and "ENC(" in shown
    cloud.ok("secret", "rotate-key", "--yes")
    row = json.loads(cloud.ok("host", "show", "h1", "-o", "json"))
    assert row["sudo_password"] != text
    assert cloud.ok("secret", "decrypt", row["sudo_password"]) == CANARY + "\n"
    (cloud.home / "secret.key").unlink()
    answer = cloud.call("converge", "--host", "h1")
    assert answer.exit_code == 1 and "restore it from your backup" in answer.stderr


def test_what_a_folder_or_ansibles_inventory_shows(cloud: Zctl, tmp_path: Path) -> None:
    """zctl render leaves passwords to who runs it."""
    cloud.ok("host", "update", "h1", "--user", "op", "--sudo-password", sealed(cloud))
    cloud.ok("render", str(tmp_path / "out"))
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_rotation_killed_at_any_moment(cloud: Zctl) -> None:
    """Every value opens with what is in the key file then; the next rotation ends with one key."""
    text = sealed(cloud)
    for name in ("h1", "h2"):
        cloud.ok("host", "update", name, "--sudo-password", text)
    environment = {**os.environ, "ZCTL_HOME": str(cloud.home), "ZCTL_DB": cloud.db}
    for wait in (0.4, 0.6, 0.8):
        with subprocess.Popen(
            [sys.executable, "-m", "zctl", "secret", "rotate-key", "--yes"], env=environment, stderr=subprocess.PIPE
        ) as process:
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        for row in cloud.rows("host"):
            value = json.loads(cloud.ok("host", "show", row["name"], "-o", "json"))["sudo_password"]
            assert cloud.ok("secret", "decrypt", value) == CANARY + "\n"
    cloud.ok("secret", "rotate-key", "--yes")
    assert len((cloud.home / "secret.key").read_text().split()) == 1


def test_one_rotation_at_a_time(cloud: Zctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused; a key that was put into the file meanwhile stays; links stay links."""
    key, other = cloud.home / "secret.key", Fernet.generate_key()
    cloud.ok("host", "update", "h1", "--user", "op", "--sudo-password", sealed(cloud))
    with alone(key):
        assert "another process is replacing this key" in cloud.fails("secret", "rotate-key", "--yes")
    etc, real = tmp_path / "etc" / "zctl", tmp_path / "real"
    etc.mkdir(parents=True)
    real.mkdir()
    (real / "config.toml").write_text(f'ssh_key = "{sealed(cloud)}"\n')
    key.rename(real / "key")
    (etc / "config.toml").symlink_to(real / "config.toml")
    key.symlink_to(real / "key")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(etc.parent))

    def reseal_rows(inventory: Inventory, keys: Keyring) -> int:
        with (real / "key").open("ab") as file:
            file.write(other + b"\n")
        return real_reseal(inventory, keys)

    real_reseal = secret.reseal_rows
    monkeypatch.setattr(secret, "reseal_rows", reseal_rows)
    cloud.ok("secret", "rotate-key", "--yes")
    assert key.is_symlink() and (etc / "config.toml").is_symlink()
    assert len(load(cloud.home).keys) == 2 and load(cloud.home).keys[1] == other
    assert cloud.ok("secret", "decrypt", (real / "config.toml").read_text().split('"')[1]) == CANARY + "\n"
    lock = real / ".key.lock"
    lock.unlink()
    lock.symlink_to(real / "config.toml")
    assert "remove it if it is a link" in cloud.fails("secret", "rotate-key", "--yes")
    assert CANARY not in (real / "config.toml").read_text() and (real / "config.toml").stat().st_size


def test_a_rotation_names_the_other_nodes(zctl: Zctl) -> None:
    """Their own files need the old key still."""
    assert "new key is needed" not in zctl.call("secret", "rotate-key", "--yes").stderr
    with zctl.inventory.write() as db:
        db.add(ManagementNode.build(name="node-2"))
    assert "new key is needed on node-2" in zctl.call("secret", "rotate-key", "--yes").stderr


def test_a_lost_key(tmp_path: Path) -> None:
    """With it the configured database is out of reach; the remedy that is named is one."""
    zctl = Zctl(tmp_path / "home", FakeHosts(), f"mysql://zctl:ENC({'x' * 9})@192.0.2.1/zctl")
    assert "zctl secret encrypt makes a new key" in zctl.call("zone", "list").stderr
    key = zctl.home / "secret.key"
    assert sealed(zctl).startswith("ENC(") and key.exists()
    key.write_text("")
    said = zctl.call("secret", "encrypt", stdin=CANARY).stderr
    assert "it holds no key" in said and "without one remove it" in said
    key.unlink()
    assert sealed(zctl).startswith("ENC(")


def test_kept_files_of_a_run(tmp_path: Path) -> None:
    """Passwords and user data are taken out at any depth, also out of a state that is one text."""
    state: dict[str, Any] = {"metadata": {"nics": [{"user_data": CANARY}]}}
    host = {
        "ansible_become_password": CANARY,
        "zctl_state": state,
        "look_state": {"__ansible_unsafe": json.dumps(state)},
    }
    (tmp_path / "inventory").mkdir()
    path = tmp_path / "inventory" / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": {"a": host | {"ansible_host": "h"}}}}))
    forget_secrets(tmp_path)
    assert CANARY not in path.read_text() and '"ansible_host": "h"' in path.read_text()


def test_systemds_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service gets the key from systemd, which keeps it in memory."""
    keys = make(tmp_path)
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "zctl.secret.key").write_bytes(keys.path.read_bytes())
    (folder / "zctl.secret.key").chmod(0o440)
    text = keys.seal(CANARY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert load(tmp_path / "elsewhere").open(text) == CANARY
    assert isinstance(load(tmp_path), Keyring)
