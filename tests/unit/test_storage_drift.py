"""Where storages, images and volumes in a temporary folder are not as wanted, with the real qemu-img."""

# Paths are text here, as they are in the host state.
# ruff: noqa: PTH101, PTH103, PTH106, PTH108, PTH110, PTH116, PTH119, PTH123

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import zctl_storage

from tests.unit.test_storage import INVENTORY, STORAGE, image, purged, qcow2, run, storage, upload, upload_ready, volume

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img (package qemu-utils)")


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "store")


def outcome(root, check=True, **parts):
    return zctl_storage.converge(INVENTORY, {"storages": [storage(root)], **parts}, None, check)


def fields(found):
    return {d["field"]: (d["actual"], d["desired"]) for d in found["differences"]}


def test_what_zctl_has_made_of_a_storage_is_kept_as_it_was(root):
    run(root)
    os.chmod(f"{root}/images", 0o755)
    os.rmdir(f"{root}/volumes")
    found = outcome(root)["results"][0]
    expected = {"images.mode": ("0755", "0711"), "volumes": (None, f"{root}/volumes")}
    assert found["result"] == "changed" and fields(found) == expected
    assert fields(run(root)[STORAGE]) == expected
    assert fields(run(root, check=True)[STORAGE]) == {}
    os.unlink(f"{root}/.zctl-storage")
    assert fields(run(root)[STORAGE]) == {"marker": (None, STORAGE)}


def test_what_dead_runs_left_is_told_and_removed(root, tmp_path):
    base = upload_ready(root, tmp_path)
    part = f"{root}/images/big.qcow2.part-0123456789"
    open(part, "w").close()
    assert fields(run(root, check=True)[STORAGE]) == {}, "another host may be at work on it"
    os.utime(part, (1, 1))
    found = run(root, check=True)[STORAGE]
    assert found["result"] == "changed" and fields(found) == {"unfinished image": (part, None)}
    assert os.path.lexists(part)
    assert fields(run(root)[STORAGE]) == {"unfinished image": (part, None)} and not os.path.lexists(part)
    os.unlink(base)
    grave = {"purge": [purged(base, "i")]}
    assert run(root, check=True, **grave)["i"]["result"] == "removed", "what is noted of an image goes with it"
    assert run(root, **grave)["i"]["result"] == "removed"
    assert run(root, **grave)["i"]["result"] == "unchanged"


def test_modes_of_folders_that_were_there_before_are_not_zctls(root):
    os.makedirs(f"{root}/images", 0o755)
    run(root)
    os.chmod(root, 0o700)
    os.chmod(f"{root}/images", 0o750)
    assert fields(run(root)[STORAGE]) == {}
    assert os.stat(f"{root}/images").st_mode & 0o777 == 0o750


def test_another_inventorys_marker_is_named(root):
    zctl_storage.converge("other", {"storages": [storage(root)]})
    found = outcome(root)
    assert found["results"][0]["result"] == "failed"
    assert fields(found["results"][0]) == {"marker.inventory": ("other", INVENTORY)}
    assert found["foreign_things"][0]["owner"].startswith("zctl, inventory other, storage fast")


def test_a_damaged_image_is_fetched_again_only_when_it_is_known_to_be_the_same(root, tmp_path):
    source = qcow2(tmp_path / "source.qcow2")
    run(root)
    upload(root, source)
    wanted, cached = image(root, str(source)), f"{root}/images/img.qcow2"
    size = os.stat(cached).st_size
    os.truncate(cached, 100)
    found = run(root, check=True, images=[wanted])["img"]
    assert found["result"] == "changed" and fields(found) == {"size": (100, size)}
    assert os.stat(cached).st_size == 100
    assert "damaged" in upload(root, source)["reason"] and os.stat(cached).st_size == size
    os.truncate(cached, 100)
    refused = upload(root, qcow2(tmp_path / "other.qcow2", size="9M"))
    assert refused["result"] == "failed" and "checksum" in refused["reason"]
    seal = f"{root}/images/.img.qcow2.seal"
    os.unlink(seal)
    assert fields(run(root, check=True, images=[wanted])["img"]) == {"seal": (None, seal)}  # nobody knows what it was
    run(root, images=[wanted])
    os.truncate(cached, 101)
    assert "no checksum" in run(root, images=[wanted])["img"]["reason"]
    assert fields(run(root, images=[wanted])["img"]) == {"size": (101, 100)}


def test_a_volume_on_another_file_than_its_image_is_refused(root, tmp_path):
    upload_ready(root, tmp_path)
    cached = f"{root}/images/img.qcow2"
    wanted = volume(root, backing=cached, backing_format="qcow2")
    parts = {"images": [image(root, "/x")], "volumes": [wanted]}
    assert fields(run(root, **parts)["v1"]) == {"file": (None, wanted["path"])}
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", "/etc/hostname", wanted["path"]], check=True)
    found = run(root, **parts)["v1"]
    assert found["result"] == "failed" and fields(found) == {"backing": ("/etc/hostname", cached)}
    assert "qemu-img rebase -u -F qcow2" in found["reason"]
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", cached, wanted["path"]], check=True)
    assert fields(run(root, **parts)["v1"]) == {}
    subprocess.run(["qemu-img", "rebase", "-u", "-b", "", wanted["path"]], check=True)
    alone = run(root, **parts)["v1"]
    assert alone["result"] == "unchanged" and fields(alone) == {"backing": (None, cached)}


def test_a_lost_volume_is_named_and_not_made_anew(root):
    wanted = volume(root)
    run(root, volumes=[wanted])
    os.unlink(wanted["path"])
    found = run(root, volumes=[{**wanted, "made": True}])["v1"]
    assert found["result"] == "failed" and fields(found) == {"file": (None, wanted["path"])}
    assert not os.path.exists(wanted["path"])


def test_unknown_files_are_told_of_and_stay(root):
    run(root, volumes=[volume(root)])
    for name in ("mine.iso", f"{STORAGE}.qcow2", "x.qcow2.part"):
        with open(f"{root}/volumes/{name}", "w") as out:
            out.write("12345")
    found = outcome(root, check=False, volumes=[volume(root)])["foreign_things"]
    assert {os.path.basename(e["name"]): (e["owner"], e["size"]) for e in found} == {
        f"{STORAGE}.qcow2": ("named as zctl does: not wanted on this host, 5 bytes", 5),
        "mine.iso": ("unknown file, 5 bytes", 5),
        "x.qcow2.part": ("zctl, begun and not finished, 5 bytes", 5),
    }
    assert os.path.exists(f"{root}/volumes/mine.iso")
