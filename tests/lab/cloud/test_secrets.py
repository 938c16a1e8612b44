"""Canaries: passwords that reach real hosts, and must be found nowhere else. And copies of dumps on another machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud

CANARY = "kanarienvogel-sudo-9"
MAKE_USER = f"""set -e
useradd --create-home --shell /bin/bash op
echo op:{CANARY} | chpasswd
install -d -m 0700 -o op /home/op/.ssh
install -m 0600 -o op /root/.ssh/authorized_keys /home/op/.ssh/authorized_keys
echo 'op ALL=(ALL) ALL' > /etc/sudoers.d/op
"""


class ProcessWatch(threading.Thread):
    """Looks at the arguments and the environment of every process, over and over, for a word."""

    def __init__(self, word: str) -> None:
        super().__init__(daemon=True)
        self.word, self.found, self.looks = word.encode(), set[str](), 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            self.looks += 1
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        if self.word in (data := (folder / name).read_bytes()):
                            self.found.add(f"{name}: {data.decode(errors='replace')[:200]}")
                    except OSError:
                        continue
            time.sleep(0.05)


@pytest.fixture
def op(cloud: Cloud) -> Iterator[Cloud]:
    """h3 is reached by a user who must give a password to sudo."""
    cloud.lab.ssh("h3", "bash -s", stdin=MAKE_USER)
    yield cloud
    cloud.ok("host", "update", "h3", "--user", "root", "--sudo-password", "")
    cloud.lab.ssh("h3", "rm -f /etc/sudoers.d/op; pkill -u op; userdel --remove op || true")


def test_a_password_for_sudo_is_nowhere_to_be_found(op: Cloud) -> None:
    """It works on the host; no process, file, output, log or row has it, also of runs that fail and are kept."""
    cloud = op
    watch = ProcessWatch(CANARY)
    watch.start()
    said = []
    try:
        sealed = cloud.ok("secret", "encrypt", stdin=CANARY).strip()
        refused = cloud.call("host", "update", "h3", "--user", "op")
        assert refused.code == 1 and "sudo" in refused.err
        cloud.ok("host", "update", "h3", "--user", "op", "--sudo-password", sealed)
        assert "has all it needs" in cloud.call("host", "check", "h3").err
        for words in (
            ("converge", "--host", "h3", "--debug"),
            ("plan", "--host", "h3", "--debug"),
            ("host", "show", "h3"),
            ("export",),
            ("event", "list", "-o", "json"),
            ("job", "list", "-o", "json"),
        ):
            answer = cloud.call(*words)
            assert answer.code == 0, answer.err
            said.append(answer.out + answer.err)
        wrong = cloud.ok("secret", "encrypt", stdin=f"{CANARY}-wrong").strip()
        answer = cloud.call("host", "update", "h3", "--sudo-password", wrong, "--debug")
        said.append(answer.out + answer.err)
        assert answer.code == 1 and "sudo" in answer.err
        cloud.ok("host", "update", "h3", "--sudo-password", sealed)
    finally:
        watch.ended.set()
        watch.join()
    assert watch.looks > 20 and watch.found == set()
    assert not any(CANARY in text for text in said)
    kept = [path for path in cloud.home.rglob("*") if path.is_file()]
    assert any("runs" in path.parts for path in kept), "runs were kept for a look"
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]
    assert cloud.lab.ssh("h3", f"journalctl --no-pager | grep -c {CANARY} || true").strip() == "0"


def test_a_dump_is_copied_and_counted_elsewhere(cloud: Cloud) -> None:
    """Whole, private, with its manifest; older ones go there only when asked, foreign files never."""
    place = f"root@{cloud.lab.host('h2').address}:22"
    folder = "/var/tmp/zctl dumps"
    words = ("dump_mysql", "--host", place, "--remote-path", folder, "--file-name", "away", "-o", "json")
    cloud.lab.ssh("h2", f"mkdir -p '{folder}'; echo mine > '{folder}/away-x.db.zst'; echo no > '{folder}/x.json'")
    try:
        taken = [json.loads(cloud.ok(*words)) for _ in range(3)]
        sums = cloud.lab.ssh("h2", f"cd '{folder}' && sha256sum -- *.zst && stat -c %a -- away-2*")
        for dump in taken:
            manifest = json.loads((cloud.home / "mysql-backup" / f"{dump['file']}.json").read_text())
            assert f"{manifest['sha256']}  {dump['file']}" in sums
        assert set(sums.split()[-6:]) == {"600"}
        cloud.lab.ssh("h2", f"echo x >> '{folder}/{taken[2]['file']}'")
        last = json.loads(cloud.ok(*words, "--remote-keep-amount", "2", "--delete-expired"))
        assert last["removed_remotely"] == [taken[0]["file"]], "the damaged one does not count"
        left = cloud.lab.ssh("h2", f"ls '{folder}'")
        assert {"away-x.db.zst", "x.json", taken[1]["file"], last["file"]} <= set(left.split())
        assert taken[0]["file"] not in left
        refused = cloud.fails(*words[:2], f"nobody@{cloud.lab.host('h2').address}", *words[3:])
        assert "public key" in refused
    finally:
        cloud.lab.ssh("h2", f"rm -rf '{folder}'")
