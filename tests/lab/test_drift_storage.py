"""What somebody changes in a storage behind zctl's back: a check names it, a run mends what can be mended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_drift_facts import LISTING, Host, differing, mended
from zctl.lab import Lab
from zctl.lab.guest_image import cached_guest

Json = dict[str, Any]
ROOT = "/srv/drift"
STORAGE = "eeeeeeee-0000-4000-8000-000000000001"
IMAGE = "eeeeeeee-0000-4000-8000-000000000002"
CACHED, DISK = f"{ROOT}/images/{IMAGE}.qcow2", f"{ROOT}/volumes/v1.qcow2"


def wanted() -> Json:
    """A storage with an image and a volume on it that has been there before."""
    source = Path(cached_guest().qcow2)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    image = {"uuid": IMAGE, "name": "tiny", "storage": STORAGE, "path": CACHED, "source": str(source)}
    volume = {"uuid": "v1", "name": "v1", "storage": STORAGE, "size": 1 << 30, "format": "qcow2", "path": DISK}
    return {
        "storages": [{"uuid": STORAGE, "name": "store", "kind": "local", "path": ROOT}],
        "images": [{**image, "checksum": f"sha256:{digest}", "format": "qcow2"}],
        "volumes": [{**volume, "backing": CACHED, "backing_format": "qcow2", "made": True}],
    }


def act(host: Host, **options: Any) -> Json:
    return host.run("storage", wanted(), **options)


def make(host: Host) -> None:
    """Everything in place on the host, for the first time."""
    state = wanted()
    del state["volumes"][0]["made"]
    host.run("storage", state, fail=True)


@pytest.fixture(scope="module")
def store(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """h1 with everything in place."""
    host = Host(lab, tmp_path_factory.mktemp("drift"))
    make(host)
    yield host
    host.ssh(f"rm -rf {ROOT}")


@pytest.fixture
def lossy(store: Host) -> Iterator[Host]:
    """h1 with everything in place, made anew afterwards."""
    yield store
    store.ssh(f"rm -rf {ROOT}")
    make(store)


WHOLE = -1  # stands for the size of the image, which may not be there yet when tests are collected
STORES = {
    "mode changed": (f"chmod 755 {ROOT}/images", {"store images.mode": ("0755", "0711")}),
    "mode of the root changed": (f"chmod 700 {ROOT}", {"store folder.mode": ("0700", "0711")}),
    "owner changed": (f"chown 1000:1000 {ROOT}/volumes", {"store volumes.owner": ("1000:1000", "0:0")}),
    "marker removed": (f"rm {ROOT}/.zctl-storage", {"store marker": (None, STORAGE)}),
    "image removed": (f"rm {CACHED}", {"tiny file": (None, CACHED)}),
    "image cut": (f"truncate -s 4096 {CACHED}", {"tiny size": (4096, WHOLE)}),
    "folder of images removed": (
        f"rm -r {ROOT}/images",
        {"store images": (None, f"{ROOT}/images"), "tiny file": (None, CACHED)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(STORES))
def test_storages_and_images(store: Host, kind: str) -> None:
    command, told = STORES[kind]
    store.ssh(command)
    size = Path(cached_guest().qcow2).stat().st_size
    expected = {field: (have, size if want == WHOLE else want) for field, (have, want) in told.items()}
    mended(lambda **options: act(store, **options), expected)
    assert "No errors" in store.ssh(f"qemu-img check {DISK}")


def test_a_volume_that_is_smaller_than_wanted_grows(store: Host) -> None:
    store.ssh(f"rm {DISK}; qemu-img create -q -f qcow2 -F qcow2 -b {CACHED} {DISK} 512M")
    mended(lambda **options: act(store, **options), {"v1 size": (512 << 20, 1 << 30)})


LOSSES = {
    "volume removed": (f"rm {DISK}", "v1", {"v1 file": (None, DISK)}),
    "volume on another file": (
        f"qemu-img rebase -u -F raw -b /etc/hostname {DISK}",
        "v1",
        {"v1 backing": ("/etc/hostname", CACHED)},
    ),
    "volume larger": (f"qemu-img resize -q {DISK} 2G", "v1", {"v1 size": (2 << 30, 1 << 30)}),
    "marker of another": (
        f"sed -i s/11111111-2222/99999999-2222/ {ROOT}/.zctl-storage",
        "store",
        {
            "store marker.inventory": (
                "99999999-2222-4333-8444-555555555555",
                "11111111-2222-4333-8444-555555555555",
            )
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(LOSSES))
def test_what_cannot_be_mended_is_named_and_left_alone(lossy: Host, kind: str) -> None:
    command, name, expected = LOSSES[kind]
    lossy.ssh(command)
    before = lossy.ssh(f"find {ROOT} -printf '%p %s %T@\\n'")
    for check in (True, False):
        found = act(lossy, check=check)
        assert differing(found) == expected, found
        assert {e["name"]: e["result"] for e in found["results"]}[name] == "failed"
        assert lossy.ssh(f"find {ROOT} -printf '%p %s %T@\\n'") == before


def test_unknown_files_are_told_of_and_stay(store: Host) -> None:
    store.ssh(f"echo 1234 > {ROOT}/volumes/mine.iso")
    found = act(store)
    assert [(e["name"], e["owner"]) for e in found["foreign_things"]] == [
        (f"{ROOT}/volumes/mine.iso", "unknown file, 5 bytes")
    ]
    assert found["changed"] is False and store.ssh(f"cat {ROOT}/volumes/mine.iso").strip() == "1234"


def test_a_check_of_a_storage_changes_nothing(store: Host) -> None:
    before = store.ssh(LISTING)
    assert differing(act(store, check=True)) == {}
    assert store.ssh(LISTING) == before
    store.ssh(f"rm -r {ROOT}")
    before = store.ssh(LISTING)
    state = wanted()
    del state["volumes"][0]["made"]
    found = store.run("storage", state, check=True)
    assert {entry["result"] for entry in found["results"]} == {"changed"}
    assert {"store folder", "store marker", "tiny file", "v1 file"} <= set(differing(found))
    assert store.ssh(LISTING) == before
