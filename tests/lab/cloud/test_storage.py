"""Storages and images on real hosts: shared file systems proven, downloads verified."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cloud.zctl import Cloud, fetch
from zctl.lab.guest_image import cached_guest

SMALL = ("--instance-offering", "small", "--network", "flat")


@pytest.fixture
def shared(no_vms: Cloud) -> Iterator[Cloud]:
    """The cloud with a storage on the folder that all lab hosts share."""
    cloud = no_vms
    (cloud.lab.shared / "disks").mkdir(exist_ok=True)
    cloud.ok(
        "primary-storage",
        "create",
        "shared",
        "--zone",
        "z1",
        "--kind",
        "shared-mount-point",
        "--path",
        "/srv/shared/disks",
    )
    yield cloud
    for row in cloud.rows("vm"):
        cloud.ok("vm", "delete", row["name"], "--yes")
    cloud.ok("primary-storage", "delete", "shared", "--yes")


def test_a_shared_storage_holds_one_copy_of_an_image(shared: Cloud) -> None:
    """VMs of two hosts overlay the same cached file; deleting the storage leaves nothing of zctl's on it."""
    cloud = shared
    for number, host in enumerate(("h1", "h2"), start=1):
        cloud.ok("vm", "create", f"web-{number}", "--image", "tiny", *SMALL, "--host", host, "--storage", "shared")
        assert f"web-{number}" in fetch(f"http://{cloud.ip(f'web-{number}')}/")
    assert len(list((cloud.lab.shared / "disks" / "images").glob("*.qcow2"))) == 1
    assert len(list((cloud.lab.shared / "disks" / "volumes").iterdir())) == 2


def test_a_local_folder_is_no_shared_storage(cloud: Cloud) -> None:
    """Refused in words on every host, and not kept."""
    said = cloud.fails(
        "primary-storage",
        "create",
        "wrong",
        "--zone",
        "z1",
        "--kind",
        "shared-mount-point",
        "--path",
        "/opt/zctl-wrong",
    )
    assert "mount" in said
    assert not cloud.rows("primary-storage", "name=wrong")


def test_hosts_that_see_different_file_systems(cloud: Cloud) -> None:
    """One host has something else mounted there: refused, naming it."""
    path = "/srv/other"
    for host in ("h1", "h2", "h3"):
        cloud.lab.ssh(host, f"mkdir -p {path} /var/tmp/other && bindfs /var/tmp/other {path}")
    try:
        said = cloud.fails(
            "primary-storage", "create", "split", "--zone", "z1", "--kind", "shared-mount-point", "--path", path
        )
        assert "another file system" in said
        assert not cloud.rows("primary-storage", "name=split")
    finally:
        for host in ("h1", "h2", "h3"):
            cloud.lab.ssh(host, f"umount {path}; rm -rf /var/tmp/other {path}")


@pytest.fixture
def web(cloud: Cloud, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which the lab's hosts can fetch from it."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer((str(cloud.lab.plan.machine), 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://{cloud.lab.plan.machine}:{server.server_port}"
    server.shutdown()


def test_an_image_by_url(no_vms: Cloud, web: tuple[Path, str]) -> None:
    """Downloaded by the host, verified, used; a wrong checksum or a file that changed leaves nothing."""
    cloud, (folder, url) = no_vms, web
    data = cached_guest().qcow2.read_bytes()
    (folder / "good.qcow2").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert "404" in cloud.fails("image", "create", "none", "--source", f"{url}/none.qcow2")
    assert "needs its checksum" in cloud.fails("image", "create", "unchecked", "--source", f"{url}/good.qcow2")
    cloud.ok("image", "create", "by-url", "--source", f"{url}/good.qcow2", "--checksum", f"sha256:{digest}")
    cloud.ok("vm", "create", "web-1", "--image", "by-url", *SMALL, "--host", "h1")
    assert "web-1" in fetch(f"http://{cloud.ip('web-1')}/")
    cloud.ok("vm", "delete", "web-1", "--yes")
    cloud.ok("image", "delete", "by-url", "--yes")

    cloud.ok("image", "create", "changed", "--source", f"{url}/good.qcow2", "--checksum", f"sha256:{'0' * 64}")
    said = cloud.fails("vm", "create", "web-2", "--image", "changed", *SMALL, "--host", "h1")
    assert "checksum" in said and "undone" in said
    assert cloud.rows("vm") == [] and cloud.rows("volume") == []
    cloud.ok("image", "delete", "changed", "--yes")
    left = cloud.lab.ssh("h1", "ls /var/lib/zctl/storage/images").split()
    assert all(not name.endswith(".part") for name in left)


def test_an_image_file_that_is_not_what_it_should_be(cloud: Cloud, tmp_path: Path) -> None:
    """Missing, wrong checksum, a web page, an overlay: refused before anything is stored."""
    before = cloud.rows("image")
    page = tmp_path / "page.qcow2"
    page.write_text("<html>moved</html>")
    assert "cannot read" in cloud.fails("image", "create", "a", "--source", str(tmp_path / "none"))
    assert "web page" in cloud.fails("image", "create", "b", "--source", str(page))
    wrong = cloud.fails(
        "image", "create", "c", "--source", str(cached_guest().qcow2), "--checksum", f"sha256:{'1' * 64}"
    )
    assert "checksum" in wrong
    assert cloud.rows("image") == before


def test_a_lost_disk_is_not_remade_from_nothing(no_vms: Cloud) -> None:
    """A file that somebody removed is told as lost, and used again when it is back."""
    cloud = no_vms
    cloud.ok("vm", "create", "web-1", "--image", "tiny", *SMALL, "--host", "h1")
    cloud.ok("vm", "stop", "web-1", "--force")
    path = f"/var/lib/zctl/storage/volumes/{cloud.rows('volume')[0]['uuid']}.qcow2"
    cloud.lab.ssh("h1", f"mv {path} /var/tmp/lost")
    said = cloud.fails("vm", "start", "web-1")
    assert "is gone" in said and "web-1-root" in said
    cloud.lab.ssh("h1", f"mv /var/tmp/lost {path}")
    cloud.ok("vm", "start", "web-1")
    assert "web-1" in fetch(f"http://{cloud.ip('web-1')}/")
