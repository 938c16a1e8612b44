"""The tree that VMs are told, the server's settings, user data and keys, as values."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zctl_metadata_files as files
import zctl_metadata_plan as plan
from hypothesis import given
from hypothesis import strategies as st
from zctl_metadata_nginx import nginx_config

from tests.unit.conftest import Zctl
from zctl.errors import Invalid
from zctl.resources.user_data import read_user_data, require_fit, words_of, written
from zctl.ssh_keys import fingerprint, generate, normal_key

Json = dict[str, Any]
MAC = "52:54:00:00:00:01"
CARD = {
    "uuid": "3f7e9984-98f5-4f6e-afbf-1819cf00e95d",
    "mac": MAC,
    "ip": "10.0.0.5",
    "device": 0,
    "cidr": "10.0.0.0/24",
}
NIC: Json = {
    "uuid": CARD["uuid"],
    "name": "web-1",
    "l3_network": "l3",
    "ip": "10.0.0.5",
    "mac": MAC,
    "instance_id": "i-1",
    "hostname": "web-1",
    "instance_type": "small",
    "zone": "z1",
    "tokens_required": False,
    "cards": [CARD],
}
KEYS = [{"name": "a", "public_key": "ssh-ed25519 AAA a"}, {"name": "b", "public_key": "ssh-ed25519 BBB b"}]


def test_listings_are_as_ec2_gives_them() -> None:
    """The uppermost folder without slashes, keys by number and name, folders with a slash."""
    found = plan.tree({**NIC, "keys": KEYS, "user_data": base64.b64encode(b"x").decode()})
    assert found[".list"] == b"meta-data\nuser-data"
    assert b"public-keys/" in found["meta-data/.list"].split(b"\n")
    assert found["meta-data/public-keys/.list"] == b"0=a\n1=b"
    assert found["meta-data/public-keys/1/.list"] == b"openssh-key"
    assert found["meta-data/network/interfaces/macs/.list"] == f"{MAC}/".encode()
    assert found["user-data"] == b"x"


def test_what_a_vm_does_not_have_is_not_there() -> None:
    """No empty leaf, no folder without entries."""
    found = plan.tree(NIC)
    for word in ("public-ipv4", "public-keys", "user-data", "security-groups", "ami-id"):
        assert not [path for path in found if word in path], word
    assert all(content for content in found.values())


def test_a_public_address_and_groups_show_when_they_are_there() -> None:
    """What other parts put into the state."""
    card = {**CARD, "public_ipv4": "203.0.113.7", "security_groups": ["web", "ssh"]}
    found = plan.tree({**NIC, "public_ipv4": "203.0.113.7", "security_groups": ["web", "ssh"], "cards": [card]})
    assert found["meta-data/public-ipv4"] == b"203.0.113.7"
    assert found["meta-data/security-groups"] == b"web\nssh"
    assert found[f"meta-data/network/interfaces/macs/{MAC}/public-ipv4s"] == b"203.0.113.7"


@given(st.dictionaries(st.sampled_from(["a/b", "a/c", "d", "e/f/g"]), st.binary(min_size=1), min_size=1))
def test_every_leaf_is_reached_by_the_listings(leaves: dict[str, bytes]) -> None:
    """A client that only follows listings finds all of it."""
    lists = plan.listings(leaves, {})

    def walk(folder: str) -> set[str]:
        found = set()
        for entry in lists[f"{folder}/.list".lstrip("/")].split("\n"):
            path = f"{folder}/{entry.rstrip('/')}".lstrip("/")
            found |= walk(path) if f"{path}/.list" in lists else {path}
        return found

    assert walk("") == set(leaves)


def test_user_data_are_told_by_size_and_hash() -> None:
    """In differences, which are printed."""
    assert plan.shown("user-data", b"secret") == "6 bytes, sha256:2bb80d537b1da3e3"
    assert plan.shown("meta-data/mac", b"a\nb") == "a b"
    assert plan.shown("meta-data/mac", None) is None


def test_a_tree_is_written_compared_and_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole at first, file by file later; another card's at the same address goes."""
    monkeypatch.setattr(files.os, "fchown", lambda *_: None)
    monkeypatch.setattr(files.os, "chown", lambda *_: None)
    home, first, second = tmp_path / "10.0.0.5", plan.tree(NIC), plan.tree({**NIC, "keys": KEYS})
    assert files.read_tree(home, "one") == {}
    files.write_tree(home, "one", {}, first, 0)
    assert files.read_tree(home, "one") == first
    files.write_tree(home, "one", first, second, 0)
    assert files.read_tree(home, "one") == second
    files.write_tree(home, "one", second, first, 0)
    assert files.read_tree(home, "one") == first
    assert files.read_tree(home, "two") == {}
    files.write_tree(home, "two", {}, second, 0)
    assert files.read_tree(home, "two") == second
    assert (home / "data" / "meta-data" / "mac").stat().st_mode & 0o777 == 0o640


def test_a_token_is_kept_and_can_be_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one for the card's life; `none` opens only while no token is required."""
    monkeypatch.setattr(files.os, "fchown", lambda *_: None)
    monkeypatch.setattr(files.os, "chown", lambda *_: None)
    files.write_token(tmp_path, False, 0)
    token = (tmp_path / "token" / "value").read_text()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token) and (tmp_path / "token" / "is" / token).exists()
    assert (tmp_path / plan.OPEN).exists()
    files.write_token(tmp_path, True, 0)
    assert (tmp_path / "token" / "value").read_text() == token
    assert not (tmp_path / plan.OPEN).exists()


def test_lifetimes_of_tokens() -> None:
    """The pattern lets through 1 to 21600 and nothing else."""
    text = nginx_config({"uuid": "u"})
    found = re.search(r'"~(\^\(\[1-9\].*\$)" 1;', text)
    assert found
    pattern = re.compile(found[1])
    legal = {number for number in range(0, 30000) if pattern.search(str(number))}
    assert legal == set(range(1, 21601))
    assert not [word for word in ("", "-1", "01", "1e3", " 1", "216001") if pattern.search(word)]


@given(st.binary(min_size=1, max_size=200))
def test_user_data_survive_a_manifest(raw: bytes) -> None:
    """What is exported and read again is the same bytes."""
    stored = base64.b64encode(raw).decode()
    assert read_user_data(written(stored)) == stored


def test_user_data_that_are_refused() -> None:
    """Too large, or no base64 where it says so."""
    require_fit("vm a", base64.b64encode(b"x" * 16384).decode())
    with pytest.raises(Invalid, match="16385 bytes"):
        require_fit("vm a", base64.b64encode(b"x" * 16385).decode())
    with pytest.raises(Invalid, match="not base64"):
        read_user_data("base64:***")
    assert read_user_data("") is None
    assert "secret" not in words_of(base64.b64encode(b"secret").decode())


def test_keys_are_told_from_what_is_none(tmp_path: Path) -> None:
    """Each type that ssh-keygen makes is taken, with ssh-keygen's own fingerprint."""
    for number, kind in enumerate((["ed25519"], ["rsa", "-b", "2048"], ["ecdsa", "-b", "384"])):
        path = tmp_path / str(number)
        subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "a b", "-f", str(path)], check=True)
        text = path.with_suffix(".pub").read_text()
        key = normal_key(text, "keypair a")
        listed = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True)
        assert fingerprint(key) == listed.stdout.split()[1]
        for bad in (
            text[:50],
            text.replace("AAAA", "AAAB", 1),
            path.read_text(),
            f"{text}{text}",
            f'command="x" {text}',
        ):
            with pytest.raises(Invalid):
                normal_key(bad, "keypair a")
    for bad in ("", "hello", "ssh-dss AAAA", "ssh-ed25519 !!!!", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="):
        with pytest.raises(Invalid):
            normal_key(bad, "keypair a")


def test_a_pair_is_made() -> None:
    """The private key is one, the public key is legal."""
    private, public = generate("me")
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert normal_key(public, "keypair me").endswith(" me")


def new_vm(zctl: Zctl, name: str, *more: str) -> None:
    """A small VM."""
    zctl.ok("vm", "create", name, "--image", "tiny", "--instance-offering", "small", "--network", "lan", *more)


def told(zctl: Zctl, name: str) -> Json:
    """What the last run would have a VM be told."""
    runs = reversed(zctl.hosts.runs)
    found: Json = next(nic for run in runs for nic in run.state["metadata"]["nics"] if nic["name"] == name)
    return found


def test_keypairs_by_the_command_line(cloud: Zctl, tmp_path: Path) -> None:
    """Made, told, kept from being deleted while in use, followed when they get another name."""
    _private, public = generate("me")
    (tmp_path / "k.pub").write_text(public)
    cloud.ok("keypair", "create", "me", "--public-key-file", str(tmp_path / "k.pub"))
    assert fingerprint(public) in cloud.ok("keypair", "list")
    said = cloud.ok("keypair", "create", "new", "--generate", "--out", str(tmp_path / "new"))
    assert "PRIVATE" not in said and (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    again = cloud.fails("keypair", "create", "again", "--generate", "--out", str(tmp_path / "new"), code=2)
    assert "cannot be made" in again
    assert "no key is given" in cloud.fails("keypair", "create", "none", code=2)
    assert "private key" in cloud.fails("keypair", "create", "x", "--public-key-file", str(tmp_path / "new"), code=2)
    new_vm(cloud, "a", "--ssh-key", "new", "--ssh-key", "me")
    assert [key["name"] for key in told(cloud, "a")["keys"]] == ["new", "me"]
    assert "in use by vm a" in cloud.fails("keypair", "delete", "me", "--yes")
    assert "did you mean me?" in cloud.fails("vm", "update", "a", "--ssh-key", "mee")
    assert "given twice" in cloud.fails("vm", "update", "a", "--ssh-key", "me", "--ssh-key", "me", code=2)
    cloud.ok("keypair", "update", "me", "--name", "mine")
    assert [key["name"] for key in told(cloud, "a")["keys"]] == ["new", "mine"]
    cloud.ok("vm", "update", "a", "--ssh-key", "new")
    cloud.ok("keypair", "delete", "mine", "--yes")


def test_user_data_by_the_command_line(cloud: Zctl, tmp_path: Path) -> None:
    """Taken from a file, shown by hash, taken away, exported as they were."""
    (tmp_path / "data").write_text("#!/bin/sh\nsecret-word\n")
    new_vm(cloud, "a", "--user-data", str(tmp_path / "data"))
    stored = told(cloud, "a")["user_data"]
    assert base64.b64decode(stored) == (tmp_path / "data").read_bytes()
    for words in (
        ["vm", "show", "a"],
        ["vm", "show", "a", "-o", "json"],
        ["vm", "list", "-o", "wide"],
        ["event", "list"],
    ):
        shown = cloud.ok(*words)
        assert "secret-word" not in shown and stored not in shown, words
    assert "user_data_size" in cloud.ok("vm", "show", "a")
    assert "secret-word" in cloud.ok("export", "--kind", "Vm")
    (tmp_path / "data").write_text("another-word")
    said = cloud.call("vm", "update", "a", "--user-data", str(tmp_path / "data")).output
    assert "12 bytes" in said and "another-word" not in said
    manifest = "kind: Vm\nname: a\nspec: {user_data: third-word}\n"
    planned = cloud.call("plan", "-f", "-", stdin=manifest).output
    assert "10 bytes" in planned and "third-word" not in planned
    cloud.ok("vm", "update", "a", "--user-data", "")
    assert told(cloud, "a")["user_data"] is None
    (tmp_path / "data").write_bytes(b"x" * 16385)
    assert "16385 bytes" in cloud.fails("vm", "update", "a", "--user-data", str(tmp_path / "data"), code=2)
    assert "cannot be read" in cloud.fails("vm", "update", "a", "--user-data", str(tmp_path / "none"), code=2)


def test_a_kept_run_holds_no_user_data(tmp_path: Path) -> None:
    """Its folder stays for people to look at."""
    from zctl.run.runner import forget_secrets

    path = tmp_path / "inventory" / "hosts.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"nics": [{"user_data": "c2VjcmV0", "ip": "10.0.0.5"}, {"user_data": None}]}))
    forget_secrets(tmp_path)
    assert json.loads(path.read_text())["nics"] == [{"user_data": "(left out)", "ip": "10.0.0.5"}, {"user_data": None}]


def test_without_metadata_nothing_is_told(cloud: Zctl) -> None:
    """And the host needs no nginx."""
    new_vm(cloud, "a")
    assert told(cloud, "a")["instance_type"] == "small" and told(cloud, "a")["zone"] == "z1"
    cloud.ok("l3-network", "update", "lan", "--no-metadata-service")
    state = cloud.hosts.runs[-1].state
    assert state["metadata"] == {"l3_networks": [], "nics": []} and state["kvm_host"]["metadata"] is False
    assert state["l3_services"]["l3_networks"][0]["metadata"] is False
    cloud.hosts.runs.clear()
    cloud.ok("l3-network", "update", "lan", "--metadata-service")
    assert told(cloud, "a")["ip"] == cloud.rows("nic")[0]["ip"]


def test_another_instance_only_when_cloud_init_has_to_see_one(cloud: Zctl) -> None:
    """reset-ssh-key without a guest agent; not an update."""
    cloud.ok("keypair", "create", "me", "--public-key", generate("me")[1])
    new_vm(cloud, "a")
    first = told(cloud, "a")["instance_id"]
    cloud.ok("vm", "update", "a", "--ssh-key", "me", "--hostname", "front")
    assert told(cloud, "a")["instance_id"] == first and told(cloud, "a")["hostname"] == "front.lan"
    cloud.ok("vm", "stop", "a")
    said = cloud.call("vm", "reset-ssh-key", "a", "--ssh-key", "me").output
    assert "at its next boot" in said and "runs user data again" in said
    assert told(cloud, "a")["instance_id"] != first
    assert "it is not running" in cloud.fails("vm", "ssh", "a")
