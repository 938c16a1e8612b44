"""What VMs are told at 169.254.169.254, asked from inside guests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.lab.cloud.test_vm import create
from tests.lab.cloud.zctl import Cloud, ask, fetch

SERVER = "169.254.169.254"
META = f"http://{SERVER}/latest/meta-data"
CLOSE = "Host: x\r\nConnection: close\r\n"


def said(ip: str, request: str) -> tuple[int, str]:
    """Status and body of what a raw request from inside a guest is answered."""
    head, _, body = raw(ip, request).partition("\n\n")
    return int(head.split()[1]), body.removesuffix("\n")


def raw(ip: str, request: str) -> str:
    """The whole answer to a raw request from inside a guest."""
    sent = urllib.request.Request(f"http://{ip}/cgi-bin/raw?{SERVER}", data=request.encode(), method="POST")
    with urllib.request.urlopen(sent, timeout=15) as answer:
        return str(answer.read().decode("utf-8", "replace")).replace("\r\n", "\n")


def get(ip: str, path: str, *headers: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of a request with headers."""
    return said(ip, f"{method} {path} HTTP/1.1\r\n{CLOSE}" + "".join(f"{line}\r\n" for line in headers) + "\r\n")


def test_the_tree_is_that_of_ec2(no_vms: Cloud, keys: Path, tmp_path: Path) -> None:
    """Leaves, listings and versions as EC2 gives them; 404 for the rest."""
    cloud = no_vms
    (tmp_path / "data").write_bytes(b"#!/bin/true\nsecret-of-web-1\n")
    more = ["--ssh-key", "me", "--ssh-key", "other", "--user-data", str(tmp_path / "data"), "--hostname", "frontend"]
    ip = create(cloud, "web-1", *more)
    mac = cloud.rows("nic")[0]["mac"]
    assert ask(ip, f"fetch?http://{SERVER}/").split()[-1] == "latest"
    assert ask(ip, f"fetch?http://{SERVER}/latest/").split() == ["meta-data", "user-data"]
    top = ask(ip, f"fetch?{META}/").split()
    assert {"instance-id", "local-ipv4", "mac", "network/", "placement/", "public-keys/"} <= set(top)
    expected = {
        "instance-id": f"i-{cloud.show('vm', 'web-1')['uuid'].replace('-', '')[:17]}",
        "local-hostname": "frontend.flat",
        "hostname": "frontend.flat",
        "local-ipv4": ip,
        "mac": mac,
        "instance-type": "small",
        "placement/availability-zone": "z1",
        "network/interfaces/macs/": f"{mac}/",
        f"network/interfaces/macs/{mac}/local-ipv4s": ip,
        f"network/interfaces/macs/{mac}/device-number": "0",
        f"network/interfaces/macs/{mac}/subnet-ipv4-cidr-block": str(cloud.lab.plan.data),
        "public-keys/": "0=me\n1=other",
        "public-keys/0": "openssh-key",
        "public-keys/1/": "openssh-key",
        "public-keys/1/openssh-key": (keys / "other").read_text() and cloud.show("keypair", "other")["public_key"],
    }
    for path, value in expected.items():
        assert ask(ip, f"fetch?{META}/{path}").rstrip("\n") == value, path
        assert ask(ip, f"fetch?http://{SERVER}/2009-04-04/meta-data/{path}").rstrip("\n") == value, path
    assert "secret-of-web-1" in ask(ip, f"fetch?http://{SERVER}/latest/user-data")
    for path in ("/nothing", "/latest/meta-data/public-ipv4", "/latest/meta-data/.list", "/2010-01-01/meta-data/mac"):
        assert get(ip, path)[0] == 404, path


def test_user_data_arrive_as_the_bytes_that_were_given(no_vms: Cloud, tmp_path: Path) -> None:
    """Text, gzip and multipart; too much, nothing and a missing file are refused; nobody sees them later."""
    cloud = no_vms
    packed = gzip.compress(b"#!/bin/sh\necho packed\n" * 50) + bytes(range(256))
    (tmp_path / "data").write_bytes(packed)
    said_words = create_and_hash(cloud, "web-1", str(tmp_path / "data"))
    assert said_words == hashlib.sha256(packed).hexdigest()
    multipart = (
        'Content-Type: multipart/mixed; boundary="=="\r\nMIME-Version: 1.0\r\n\r\n--==\r\n\r\nhidden-word\r\n--==--\r\n'
    )
    (tmp_path / "data").write_bytes(multipart.encode())
    told = cloud.ok("vm", "update", "web-1", "--user-data", str(tmp_path / "data"))
    assert "hidden-word" not in told and base64.b64encode(multipart.encode()).decode()[:40] not in told
    assert get(cloud.ip("web-1"), "/latest/user-data")[1] == multipart.replace("\r\n", "\n").rstrip("\n")
    row = cloud.show("vm", "web-1")
    assert (row["user_data_size"], row["user_data_sha256"]) == (
        len(multipart),
        hashlib.sha256(multipart.encode()).hexdigest(),
    )
    assert "user_data" not in row
    cloud.ok("vm", "update", "web-1", "--user-data", "")
    assert get(cloud.ip("web-1"), "/latest/user-data")[0] == 404
    (tmp_path / "data").write_bytes(b"x" * (16 * 1024 + 1))
    assert "16384 is the most" in cloud.fails("vm", "update", "web-1", "--user-data", str(tmp_path / "data"), code=2)
    assert "cannot be read" in cloud.fails("vm", "update", "web-1", "--user-data", "/nowhere", code=2)
    kept = [path for path in cloud.home.rglob("*") if path.is_file() and b"hidden-word" in path.read_bytes()]
    assert kept == []


def create_and_hash(cloud: Cloud, name: str, file: str) -> str:
    """SHA-256 of the user data that the host serves to a new VM."""
    create(cloud, name, "--user-data", file)
    host, ip = cloud.show("vm", name)["host"], cloud.ip(name)
    return cloud.lab.ssh(host, f"sha256sum /var/lib/zctl/metadata/*/{ip}/data/user-data").split()[0]


def test_tokens(no_vms: Cloud) -> None:
    """IMDSv2: a token is asked for by PUT; wrong ones, and another VM's, open nothing; a VM can be made to need one."""
    cloud = no_vms
    first, second = create(cloud, "web-1", "--host", "h1"), create(cloud, "web-2", "--host", "h1")
    lifetime = "X-aws-ec2-metadata-token-ttl-seconds: "
    path, length = "/latest/api/token", "Content-Length: 0"
    assert get(first, path, length, method="PUT")[0] == 400
    for wrong in ("0", "21601", "-1", "abc", "1e3", "99999999999999999999"):
        assert get(first, path, lifetime + wrong, length, method="PUT")[0] == 400, wrong
    assert get(first, path)[0] == 405
    assert get(first, path, lifetime + "60", "X-Forwarded-For: 10.0.0.1", length, method="PUT")[0] == 403
    whole = raw(first, f"PUT {path} HTTP/1.1\r\n{CLOSE}{lifetime}21600\r\n{length}\r\n\r\n").lower()
    assert "x-aws-ec2-metadata-token-ttl-seconds: 21600" in whole
    tokens = {ip: get(ip, path, lifetime + "60", length, method="PUT")[1] for ip in (first, second)}
    assert tokens[first] != tokens[second] and all(len(token) == 43 for token in tokens.values())
    header = "X-aws-ec2-metadata-token: "
    assert get(first, "/latest/meta-data/local-ipv4", header + tokens[first]) == (200, first)
    for wrong in (tokens[second], "x", "none", "../value", "A" * 43, tokens[first][:-1]):
        assert get(first, "/latest/meta-data/local-ipv4", header + wrong)[0] == 401, wrong
    assert get(first, "/latest/meta-data/local-ipv4") == (200, first)
    cloud.ok("vm", "update", "web-1", "--metadata-tokens", "required")
    assert get(first, "/latest/meta-data/local-ipv4")[0] == 401
    assert get(first, "/")[0] == 401
    assert get(first, "/latest/user-data")[0] == 401
    assert get(first, "/latest/meta-data/local-ipv4", header + tokens[first]) == (200, first)
    assert get(second, "/latest/meta-data/local-ipv4") == (200, second)


def test_no_header_and_no_path_shows_another_vm(no_vms: Cloud, tmp_path: Path) -> None:
    """Asked from inside a guest in all the ways that servers have fallen for."""
    cloud = no_vms
    (tmp_path / "data").write_text("#!/bin/true secret-of-web-2")
    mine = create(cloud, "web-1", "--host", "h1")
    other = create(cloud, "web-2", "--host", "h1", "--user-data", str(tmp_path / "data"))
    l3 = next(row["uuid"] for row in cloud.rows("l3-network") if row["name"] == "flat")
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Instance-ID", "X-Client-IP", "True-Client-IP", "Via")
    for name in names:
        value = f"for={other}" if name == "Forwarded" else other
        assert get(mine, "/latest/meta-data/local-ipv4", f"{name}: {value}") == (200, mine), name
        assert get(mine, "/latest/user-data", f"{name}: {value}")[0] == 404, name
    paths = [
        f"/latest/../../{other}/data/user-data",
        f"/latest/..%2f..%2f{other}/data/user-data",
        f"/latest/%2e%2e/%2e%2e/{other}/data/user-data",
        f"/latest/meta-data/..%5c..%5c{other}/data/user-data",
        f"/latest/meta-data/....//....//{other}/data/user-data",
        f"//latest//..//{other}/data/user-data",
        f"/{other}/data/user-data",
        f"/latest/{other}/user-data",
        f"/latest/meta-data%00/../../../{other}/data/user-data",
        f"http://{other}/latest/user-data",
        f"/latest/../../../../etc/zctl/metadata/{l3}/network.json",
        "/latest/token/value",
        "/token",
    ]
    for path in paths:
        status, body = get(mine, path)
        assert status in (400, 404) and "secret-of-web-2" not in body and "inventory" not in body, (path, status)
    assert get(mine, "/latest/meta-data/local-ipv4", f"Host: {other}")[0] == 400  # a second one
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"):
        assert get(mine, "/latest/meta-data/local-ipv4", "Content-Length: 0", method=method)[0] in (405, 400), method
    assert get(mine, "/latest/meta-data/local-ipv4", method="HEAD") == (200, "")


def test_adding_and_removing_vms_restarts_nothing_and_leaves_nothing(no_vms: Cloud) -> None:
    """nginx keeps its processes, and what a VM was told goes with it; its address tells the next one its own things."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1")
    before = cloud.lab.ssh("h1", "pgrep -x nginx | sort")
    create(cloud, "web-2", "--host", "h1")
    first = ask(ip, f"fetch?{META}/instance-id")
    cloud.ok("vm", "delete", "web-1", "--yes")
    assert ip not in cloud.lab.ssh("h1", "ls /var/lib/zctl/metadata/*/")
    assert create(cloud, "web-3", "--host", "h1") == ip
    assert ask(ip, f"fetch?{META}/instance-id") != first
    assert ask(ip, f"fetch?{META}/local-hostname").strip() == "web-3.flat"
    assert cloud.lab.ssh("h1", "pgrep -x nginx | sort") == before


def test_the_server_can_do_nothing_else(no_vms: Cloud) -> None:
    """Not root, no rights but its port, and no way to write."""
    cloud = no_vms
    create(cloud, "web-1", "--host", "h1")
    pids = cloud.lab.ssh("h1", "pgrep -x nginx").split()
    for pid in pids:
        status = cloud.lab.ssh("h1", f"cat /proc/{pid}/status")
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert lines["Uid"].split()[0] != "0" and lines["NoNewPrivs"] == "1"
        assert int(lines["CapEff"], 16) & ~(1 << 10) == 0, "it has more rights than to listen on port 80"
    for path in ("/etc", "/var/lib/zctl/metadata", "/var/log", "/root"):
        test = f"nsenter -t {pids[0]} -m setpriv --reuid zctl-metadata --clear-groups test -w {path}"
        assert cloud.lab.try_ssh("h1", test).returncode != 0, path


def test_it_is_back_after_a_crash_a_kill_and_a_change_by_hand(no_vms: Cloud) -> None:
    """systemd brings nginx back, a reboot brings all back, plan tells what was edited, converge mends it."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1")
    cloud.lab.ssh("h1", "pkill -9 -x nginx; sleep 2")
    assert ask(ip, f"fetch?{META}/local-ipv4").strip() == ip
    cloud.lab.ssh("h1", f"echo evil > $(ls -d /var/lib/zctl/metadata/*/{ip})/data/meta-data/local-hostname")
    answer = cloud.call("plan")
    assert "metadata meta-data/local-hostname" in answer.out and "evil" in answer.out, answer.out + answer.err
    cloud.ok("converge", "--host", "h1")
    assert ask(ip, f"fetch?{META}/local-hostname").strip() == "web-1.flat"
    cloud.lab.ssh("h1", f"rm -r /var/lib/zctl/metadata/*/{ip}")
    cloud.lab.reboot("h1")
    cloud.ok("vm", "start", "web-1")
    fetch(f"http://{ip}/")
    assert ask(ip, f"fetch?{META}/local-hostname").strip() == "web-1.flat"
    assert "no difference" in (again := cloud.call("plan")).out or again.code == 0, again.out


def test_a_network_can_do_without(no_vms: Cloud) -> None:
    """Switched off, nobody answers; switched on again, running guests are told again."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1")
    cloud.ok("l3-network", "update", "flat", "--no-metadata-service")
    with pytest.raises(AssertionError):
        ask(ip, f"fetch?{META}/local-ipv4", patience=4)
    settings = cloud.lab.ssh("h1", f"cat /etc/zctl/l3/{l3_uuid(cloud, 'flat')}/dnsmasq.conf")
    assert "169.254.169.254/32" not in settings  # no route is told to guests
    cloud.ok("l3-network", "update", "flat", "--metadata-service")
    assert ask(ip, f"fetch?{META}/local-ipv4").strip() == ip


def l3_uuid(cloud: Cloud, name: str) -> str:
    """A network's UUID."""
    return str(cloud.show("l3-network", name)["uuid"])


def test_both_cards_of_a_vm_tell_of_each_other(no_vms: Cloud) -> None:
    """A card that is added shows in what the first one tells."""
    cloud = no_vms
    ip = create(cloud, "web-1")
    cloud.ok("nic", "create", "--vm", "web-1", "--l3-network", "private")
    macs = sorted(f"{row['mac']}/" for row in cloud.rows("nic"))
    assert ask(ip, f"fetch?{META}/network/interfaces/macs/").split() == macs
    extra = next(row for row in cloud.rows("nic") if row["l3_network"] == "private")
    assert ask(ip, f"fetch?{META}/network/interfaces/macs/{extra['mac']}/local-ipv4s").strip() == extra["ip"]
    cloud.ok("nic", "delete", extra["name"], "--yes")
    assert len(ask(ip, f"fetch?{META}/network/interfaces/macs/").split()) == 1


def test_requests_never_leave_the_host(no_vms: Cloud) -> None:
    """ARP for the address stays at home: the machine that plays the physical router sees none of it."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--host", "h1")
    watch = (
        subprocess.Popen(
            ["timeout", "6", "tcpdump", "-nli", cloud.lab.plan.data_bridge, "host", SERVER],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if Path("/usr/bin/tcpdump").exists()
        else None
    )
    rules = cloud.lab.ssh("h1", "nft list ruleset bridge")
    assert f". {SERVER}" in rules
    cloud.lab.ssh("h1", f"ip netns exec zl3-{l3_uuid(cloud, 'flat').replace('-', '')[:10]} ip neigh flush all")
    assert ask(ip, f"fetch?{META}/local-ipv4").strip() == ip
    if watch is not None:
        assert watch.communicate(timeout=10)[0] == ""


def test_another_key_without_a_guest_agent(no_vms: Cloud, keys: Path) -> None:
    """It waits for cloud-init at the next boot, which has to see a new instance; zctl says so."""
    cloud = no_vms
    ip = create(cloud, "web-1", "--ssh-key", "me")
    before = ask(ip, f"fetch?{META}/instance-id")
    told = cloud.call("vm", "reset-ssh-key", "web-1", "--ssh-key", "other")
    assert "at its next boot" in told.err and "zctl vm reboot web-1" in told.err
    assert ask(ip, f"fetch?{META}/instance-id") != before
    assert ask(ip, f"fetch?{META}/public-keys/").strip() == "0=other"
    assert "did you mean other?" in cloud.fails("vm", "reset-ssh-key", "web-1", "--ssh-key", "othr")


def test_keypairs_in_use_and_keys_that_are_none(no_vms: Cloud, keys: Path, tmp_path: Path) -> None:
    """Each refusal names the thing and the way out."""
    cloud = no_vms
    create(cloud, "web-1", "--ssh-key", "me")
    assert "in use by vm web-1" in cloud.fails("keypair", "delete", "me", "--yes")
    assert "did you mean me?" in cloud.fails("vm", "update", "web-1", "--ssh-key", "mee")
    assert "private key" in cloud.fails("keypair", "create", "bad", "--public-key-file", str(keys / "me"), code=2)
    assert "not one public key" in cloud.fails("keypair", "create", "bad", "--public-key", "hello", code=2)
    (tmp_path / "cut.pub").write_text(cloud.show("keypair", "me")["public_key"][:60])
    assert "damaged" in cloud.fails("keypair", "create", "bad", "--public-key-file", str(tmp_path / "cut.pub"), code=2)
    assert [row["name"] for row in cloud.rows("keypair")] == ["me", "other"]
