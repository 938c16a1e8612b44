"""Storages, images and volumes in a temporary folder, with the real qemu-img and a real web server."""

# Paths are text here, as they are in the host state.
# ruff: noqa: PTH102, PTH110, PTH116, PTH119, PTH123, PTH208, PTH211

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import zctl_storage
import zctl_storage_files as files
import zctl_storage_images as images
import zctl_storage_marker as marker
import zctl_storage_plan as plan

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img (package qemu-utils)")

INVENTORY = "11111111-0000-4000-8000-000000000000"
STORAGE = "22222222-0000-4000-8000-000000000000"
MIB = 1 << 20


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "store")


def storage(root, uuid=STORAGE):
    return {"uuid": uuid, "name": "fast", "kind": "local", "path": root}


def image(root, source, **changes):
    found = {"uuid": "img", "name": "tiny", "storage": STORAGE, "path": f"{root}/images/img.qcow2", "source": source}
    return {**found, "format": "qcow2", "checksum": None, **changes}


def volume(root, name="v1", **changes):
    path = f"{root}/volumes/{name}.qcow2"
    found = {"uuid": name, "name": name, "storage": STORAGE, "path": path, "size": 8 * MIB, "format": "qcow2"}
    return {**found, "backing": None, "backing_format": None, **changes}


def purged(path, uuid="gone"):
    return {"uuid": uuid, "name": uuid, "storage": STORAGE, "path": path}


def run(root, scope=None, check=False, **parts):
    parts.setdefault("storages", [storage(root)])
    uploads = parts.pop("uploads", {})
    sources = parts.pop("sources", {})
    outcome = zctl_storage.converge(INVENTORY, parts, scope, check, sources=sources, uploads=uploads)
    return {result["uuid"]: result for result in outcome["results"]}


def info(path):
    return json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", path]))


def qcow2(path, *arguments, size="4M"):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *arguments, str(path), size], check=True)
    return path


def sha256(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def upload(root, source, **changes):
    """What the action plugin does: bring the file to the host, call again."""
    copy = f"{root}/../uploaded"
    shutil.copy(source, copy)
    wanted = image(root, str(source), **changes)
    return run(root, images=[wanted], uploads={"img": copy})["img"]


def test_a_storage_is_made_and_marked_once(root):
    first = run(root)[STORAGE]
    assert first["result"] == "changed"
    assert first["observed"]["marker_created"]
    assert os.stat(root).st_mode & 0o777 == 0o711
    again = run(root)[STORAGE]
    assert again["result"] == "unchanged"
    assert again["observed"]["token"] == first["observed"]["token"]


def test_check_mode_and_reading_make_nothing(root):
    assert run(root, check=True, volumes=[volume(root)])["v1"]["result"] == "changed"
    assert run(root, scope=[], volumes=[volume(root)])["v1"]["result"] == "unchanged"
    assert not os.path.exists(root)


def test_a_folder_of_another_storage_is_refused_and_so_is_what_stands_on_it(root):
    run(root)
    other = "33333333-0000-4000-8000-000000000000"
    found = run(root, storages=[storage(root, other)], volumes=[volume(root, storage=other)])
    assert "already belongs to the storage fast" in found[other]["reason"]
    assert "its storage is not ready" in found["v1"]["reason"]


def test_an_unreadable_marker_is_not_no_marker(root):
    run(root)
    with open(f"{root}/{plan.MARKER}", "w") as out:
        out.write("{")
    assert "cannot be understood" in run(root)[STORAGE]["reason"]


def test_only_one_of_many_makes_the_marker(root):
    os.mkdir(root)
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(marker.create_marker(storage(root), INVENTORY))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert os.listdir(root) == [plan.MARKER]


def test_a_shared_storage_must_be_a_shared_mount(root):
    os.mkdir(root)
    found = run(root, storages=[{**storage(root), "kind": "shared-mount-point"}])[STORAGE]
    assert found["result"] == "failed"
    assert os.listdir(root) == []


def test_volumes_are_made_grown_and_never_shrunk(root, tmp_path):
    base = upload_ready(root, tmp_path)
    overlay = {"backing": base, "backing_format": "qcow2"}
    wanted = [volume(root, "v1", **overlay), volume(root, "v2", **overlay), volume(root, "raw", format="raw")]
    found = run(root, volumes=wanted)
    assert {r["result"] for r in found.values() if r["kind"] == "volume"} == {"changed"}
    for name in ("v1", "v2"):
        assert info(f"{root}/volumes/{name}.qcow2")["full-backing-filename"] == base
        subprocess.run(["qemu-img", "check", "-q", f"{root}/volumes/{name}.qcow2"], check=True)
    assert os.stat(f"{root}/volumes/v2.qcow2").st_mode & 0o777 == 0o600
    assert os.stat(f"{root}/volumes/raw.qcow2").st_size == 8 * MIB
    assert run(root, volumes=wanted)["v1"]["result"] == "unchanged"
    grown = run(root, volumes=[volume(root, "v1", size=16 * MIB, **overlay)])["v1"]
    assert grown["reason"] == "grown from 8 MiB to 16 MiB"
    assert info(f"{root}/volumes/v1.qcow2")["virtual-size"] == 16 * MIB
    assert "cannot be shrunk" in run(root, volumes=[volume(root, "v1", **overlay)])["v1"]["reason"]


def upload_ready(root, tmp_path):
    """An image in the cache."""
    run(root)
    result = upload(root, qcow2(tmp_path / "base.qcow2"))
    assert result["result"] == "changed", result
    return f"{root}/images/img.qcow2"


def test_a_volume_smaller_than_its_image_or_without_it_is_refused(root, tmp_path):
    base = upload_ready(root, tmp_path)
    overlay = {"backing": base, "backing_format": "qcow2"}
    assert "less than the 4 MiB of its image" in run(root, volumes=[volume(root, size=MIB, **overlay)])["v1"]["reason"]
    lost = run(root, volumes=[volume(root, backing=f"{root}/images/none.qcow2", backing_format="qcow2")])
    assert "is not on this host" in lost["v1"]["reason"]
    assert os.listdir(f"{root}/volumes") == []


def test_scope_takes_along_what_a_volume_needs(root, tmp_path):
    base = upload_ready(root, tmp_path)
    wanted = [volume(root, "v1", backing=base, backing_format="qcow2"), volume(root, "v2")]
    found = run(root, scope=["v1"], images=[image(root, "/x")], volumes=wanted)
    assert set(found) == {STORAGE, "img", "v1"}


def test_an_image_of_the_controller_is_asked_for(root):
    wanted = image(root, "/there/tiny.qcow2")
    outcome = zctl_storage.converge(INVENTORY, {"storages": [storage(root)], "images": [wanted]})
    assert outcome["uploads_wanted"][0]["upload_to"].startswith(f"{root}/images/img.qcow2.part-")
    refused = run(root, images=[wanted], sources={"img": {"error": "the image file /there/tiny.qcow2 does not exist"}})
    assert refused["img"]["result"] == "failed"
    full = run(root, images=[wanted], sources={"img": {"size": 1 << 60}})
    assert full["img"]["reason"].startswith("No space left on device: ")


def test_bad_images_are_refused_and_leave_nothing(root, tmp_path):
    run(root)
    good = qcow2(tmp_path / "good.qcow2")
    backed = qcow2(tmp_path / "backed.qcow2", "-b", "/etc/passwd", "-F", "raw")
    outside = qcow2(tmp_path / "outside.qcow2", "-o", f"data_file={tmp_path}/data.raw")
    raw = tmp_path / "raw.img"
    raw.write_bytes(b"x" * 4096)
    empty = tmp_path / "empty"
    empty.touch()
    for source, changes, words in [
        (good, {"checksum": "sha256:" + "0" * 64}, "the checksum of"),
        (good, {"checksum": "md5:00"}, "is not sha256:"),
        (backed, {}, "needs a backing file"),
        (outside, {}, "keeps its data in another file"),
        (raw, {}, "in the format raw, not qcow2"),
        (good, {"format": "raw"}, "in the format qcow2, not raw"),
        (empty, {}, "is empty"),
    ]:
        result = upload(root, source, **changes)
        assert result["result"] == "failed"
        assert words in result["reason"]
        assert os.listdir(f"{root}/images") == []
    assert upload(root, good, checksum=sha256(good))["result"] == "changed"


class Files(BaseHTTPRequestHandler):
    """Serves one file; /short breaks off in the middle."""

    content = b""

    def do_GET(self):
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[: len(self.content) // 2] if self.path == "/short" else self.content)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server(tmp_path):
    Files.content = qcow2(tmp_path / "served.qcow2").read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_an_image_is_downloaded_and_verified(root, server):
    digest = "sha256:" + hashlib.sha256(Files.content).hexdigest()
    assert run(root, images=[image(root, f"{server}/good", checksum=digest)])["img"]["result"] == "changed"
    assert os.stat(f"{root}/images/img.qcow2").st_mode & 0o777 == 0o644
    assert run(root, images=[image(root, f"{server}/none")])["img"]["reason"] == "already cached"


def test_bad_downloads_leave_nothing(root, server):
    for source, words in [
        (f"{server}/short", "truncated"),
        (f"{server}/none", "404"),
        ("http://127.0.0.1:1/", "cannot be reached"),
    ]:
        result = run(root, images=[image(root, source)])["img"]
        assert result["result"] == "failed"
        assert words in result["reason"]
        assert os.listdir(f"{root}/images") == []


def test_the_part_file_of_a_dead_run_is_removed(root):
    run(root)
    part = images.part_path(f"{root}/images/img.qcow2")
    for age, left in ((0, [os.path.basename(part)]), (3600, [])):
        open(part, "w").close()
        os.utime(part, (os.stat(part).st_mtime - age,) * 2)
        run(root)
        assert os.listdir(f"{root}/images") == left


def test_a_full_disk_is_said_with_figures_and_leaves_nothing(root, monkeypatch):
    run(root)

    def full(_path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    result = run(root, volumes=[volume(root)])["v1"]
    assert result["reason"].startswith(f"No space left on device: {root}/volumes has ")
    assert os.listdir(f"{root}/volumes") == []


def test_purge_removes_what_is_named_and_only_that(root, tmp_path):
    base = upload_ready(root, tmp_path)
    wanted = [volume(root, "v1", backing=base, backing_format="qcow2"), volume(root, "v2")]
    run(root, volumes=wanted)
    used = run(root, purge=[purged(base)])["gone"]
    assert "still the base of 1 volume(s), v1.qcow2" in used["reason"]
    both = run(root, purge=[purged(base, "i"), purged(f"{root}/volumes/v1.qcow2", "v1")])
    assert (both["i"]["result"], both["v1"]["result"]) == ("removed", "removed")
    assert os.listdir(f"{root}/volumes") == ["v2.qcow2"]
    again = run(root, purge=[purged(base)])["gone"]
    assert (again["result"], again["observed"]) == ("unchanged", {})


def test_a_storage_is_given_up_only_when_it_is_empty(root):
    run(root, volumes=[volume(root)])
    mark = purged(f"{root}/{plan.MARKER}", STORAGE)
    assert "still holds 1 file" in run(root, storages=[], purge=[mark])[STORAGE]["reason"]
    gone = run(root, storages=[], purge=[mark, purged(f"{root}/volumes/v1.qcow2")])
    assert {result["result"] for result in gone.values()} == {"removed"}
    assert os.listdir(root) == []


def test_purge_never_leaves_the_storage(root, tmp_path):
    run(root)
    outside = tmp_path / "precious"
    outside.write_text("data")
    os.symlink(outside, f"{root}/volumes/link.qcow2")
    os.mkdir(f"{root}/volumes/folder")
    for path in [
        str(outside),
        f"{root}/volumes/../../precious",
        f"{root}/volumes/link.qcow2",
        f"{root}/volumes/folder",
        f"{root}/volumes",
        f"{root}/volumes/",
        "/etc/passwd",
    ]:
        assert run(root, purge=[purged(path)])["gone"]["result"] == "failed", path
    shutil.rmtree(f"{root}/images")
    os.symlink(tmp_path, f"{root}/images")
    assert "leads out of the storage" in run(root, purge=[purged(f"{root}/images/precious")])["gone"]["reason"]
    assert outside.read_text() == "data"


def test_purge_refuses_a_disk_that_is_open(root, monkeypatch):
    # As on a host whose libvirt does not know the guest; with libvirt's module but no daemon it could not be told.
    monkeypatch.setitem(sys.modules, "libvirt", None)
    run(root, volumes=[volume(root)])
    path = f"{root}/volumes/v1.qcow2"
    # qemu-io keeps the disk open with QEMU's own locks for as long as its input is open
    with subprocess.Popen(["qemu-io", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("length\n")
        guest.stdin.flush()
        guest.stdout.readline()
        assert "in use by a running guest" in run(root, purge=[purged(path)])["gone"]["reason"]
        grown = run(root, volumes=[volume(root, size=16 * MIB)])["v1"]
        assert grown["observed"].get("deferred"), grown
        guest.stdin.close()
    assert run(root, purge=[purged(path)])["gone"]["result"] == "removed"


def test_header_of_a_real_file(tmp_path):
    path = str(qcow2(tmp_path / "a.qcow2", "-b", "/etc/passwd", "-F", "raw"))
    header = files.read_header(path)
    assert header is not None
    assert (header.format, header.size) == ("qcow2", 4 * MIB)
    assert files.read_backing(path, header) == "/etc/passwd"
