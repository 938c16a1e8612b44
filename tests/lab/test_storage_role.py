"""The storage role alone on real hosts: uploads, sudo, a shared file system, a full one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.role_runner import by_name, run_role
from zctl.lab import Lab
from zctl.lab.guest_image import cached_guest

ROOT = "/var/lib/zctl/test-role"
STORAGE = "aaaaaaaa-0000-4000-8000-000000000001"
IMAGE = "aaaaaaaa-0000-4000-8000-000000000002"
Json = dict[str, Any]


def wanted(root: str = ROOT, kind: str = "local", volumes: int = 1) -> Json:
    image = f"{root}/images/{IMAGE}.qcow2"
    source = cached_guest().qcow2
    return {
        "storages": [{"uuid": STORAGE, "name": "store", "kind": kind, "path": root}],
        "images": [
            {
                "uuid": IMAGE, "name": "tiny", "storage": STORAGE, "path": image, "source": str(source),
                "checksum": "sha256:" + hashlib.sha256(Path(source).read_bytes()).hexdigest(), "format": "qcow2",
            }
        ],
        "volumes": [
            {
                "uuid": f"v{number}", "name": f"v{number}", "storage": STORAGE, "size": 1 << 30, "format": "qcow2",
                "path": f"{root}/volumes/v{number}.qcow2", "backing": image, "backing_format": "qcow2",
            }
            for number in range(volumes)
        ],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def clean(lab: Lab) -> Iterator[None]:
    yield
    for host in ("h1", "h2"):
        lab.ssh(host, f"umount /mnt/small 2>/dev/null; rm -rf {ROOT} /mnt/small /srv/shared/test-role; true")


def test_an_image_is_uploaded_once_and_volumes_stand_on_it(lab: Lab, tmp_path: Path) -> None:
    state = wanted(volumes=2)
    dry = by_name(run_role(lab, tmp_path, "storage", state, check=True)["h1"])
    assert {result["result"] for result in dry.values()} == {"changed"}
    assert lab.try_ssh("h1", f"ls {ROOT}").returncode
    first = run_role(lab, tmp_path, "storage", state)["h1"]
    assert {result["result"] for result in first["results"]} == {"changed"}
    assert "No errors" in lab.ssh("h1", f"qemu-img check {ROOT}/volumes/v1.qcow2")
    again = run_role(lab, tmp_path, "storage", state)["h1"]
    assert not again["changed"]
    assert {result["result"] for result in again["results"]} == {"unchanged"}
    assert lab.ssh("h1", f"ls {ROOT}/images").split() == [f"{IMAGE}.qcow2"]


def test_a_sudo_user_uploads_too(lab: Lab, tmp_path: Path) -> None:
    lab.ssh(
        "h1",
        "id joe 2>/dev/null || useradd -m -s /bin/bash joe; echo 'joe ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/joe;"
        " mkdir -p ~joe/.ssh; cp ~/.ssh/authorized_keys ~joe/.ssh/; chown -R joe: ~joe/.ssh",
    )
    found = by_name(run_role(lab, tmp_path, "storage", wanted(), user="joe")["h1"])
    assert {result["result"] for result in found.values()} == {"changed"}, found
    assert lab.ssh("h1", f"stat -c '%U %a' {ROOT}/images/*.qcow2").split() == ["root", "644"]
    assert lab.ssh("h1", "find /home/joe -name '*.part'").strip() == ""


def test_a_missing_image_fails_alone(lab: Lab, tmp_path: Path) -> None:
    state = wanted()
    state["images"][0]["source"] = "/no/such/image.qcow2"
    state["volumes"].append({**state["volumes"][0], "uuid": "free", "name": "free", "backing": None})
    state["volumes"][-1]["path"] = f"{ROOT}/volumes/free.qcow2"
    found = by_name(run_role(lab, tmp_path, "storage", state)["h1"])
    assert "/no/such/image.qcow2 does not exist on the machine that zctl runs on" in found["tiny"]["reason"]
    assert found["v0"]["result"] == "failed"
    assert found["free"]["result"] == "changed"


def test_hosts_of_a_shared_storage_see_one_marker(lab: Lab, tmp_path: Path) -> None:
    state = wanted("/srv/shared/test-role", "shared-mount-point")
    lab.ssh("h1", "mkdir -p /srv/shared/test-role")
    both = run_role(lab, tmp_path, "storage", state, ("h1", "h2"))
    stores = [by_name(both[host])["store"]["observed"] for host in ("h1", "h2")]
    assert stores[0]["token"] == stores[1]["token"]
    assert sorted(store["marker_created"] for store in stores) == [False, True]
    for host in ("h1", "h2"):
        assert by_name(both[host])["tiny"]["result"] in ("changed", "unchanged"), both[host]
    assert lab.ssh("h2", "ls /srv/shared/test-role/images").split() == [f"{IMAGE}.qcow2"]


def test_a_folder_that_is_no_shared_mount_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.ssh("h1", f"mkdir -p {ROOT}")
    found = by_name(run_role(lab, tmp_path, "storage", wanted(kind="shared-mount-point"))["h1"])
    assert "not a mount point" in found["store"]["reason"]
    assert lab.ssh("h1", f"ls -A {ROOT}").strip() == ""


def test_a_full_disk_is_named_and_nothing_half_is_left(lab: Lab, tmp_path: Path) -> None:
    lab.ssh("h1", "mkdir -p /mnt/small; mount -t tmpfs -o size=256k tmpfs /mnt/small")
    state = wanted("/mnt/small/store", volumes=0)
    state["volumes"] = [
        {"uuid": f"f{n}", "name": f"f{n}", "storage": STORAGE, "size": 8 << 40, "format": "qcow2",
         "path": f"/mnt/small/store/volumes/f{n}.qcow2", "backing": None, "backing_format": None}
        for n in range(40)
    ]  # fmt: skip
    found = by_name(run_role(lab, tmp_path, "storage", state)["h1"])
    assert found["tiny"]["reason"].startswith("No space left on device: /mnt/small/store/images has ")
    failed = [found[f"f{n}"] for n in range(40) if found[f"f{n}"]["result"] == "failed"]
    assert failed
    assert failed[0]["reason"].startswith("No space left on device: /mnt/small/store/volumes has ")
    made = {f"f{n}.qcow2" for n in range(40) if found[f"f{n}"]["result"] == "changed"}
    assert set(lab.ssh("h1", "ls -A /mnt/small/store/volumes").split()) == made
