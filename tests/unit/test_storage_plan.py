"""The rules of the storage concern that need no disk: paths, mounts, headers, steps."""

from __future__ import annotations

import struct

import pytest
import zctl_storage_plan as plan
from hypothesis import given
from hypothesis import strategies as st

MOUNTS = [("/", "ext4"), ("/srv", "xfs"), ("/srv/nfs", "nfs4"), ("/srv/g", "fuse.glusterfs"), ("/srv/over", "overlay")]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/data", "not a mount point"),
        ("/srv/x", "xfs, mounted at /srv"),
        ("/srv/nfsx", "xfs"),
        ("/srv/nfs", None),
        ("/srv/nfs/a/b", None),
        ("/srv/g/a", None),
        ("/srv/over", None),
    ],
)
def test_mounts(path, words):
    problem = plan.mount_problem(path, MOUNTS)
    assert problem is None if words is None else words in (problem or "")


def test_mountinfo_is_parsed():
    line = "36 35 98:0 / /mnt/my\\040disk rw,noatime master:1 - fuse.sshfs joe@there: rw\n"
    assert plan.parse_mounts(line) == [("/mnt/my disk", "fuse.sshfs")]


@pytest.mark.parametrize("path", ["/", "/etc", "relative", "/a/../b", "/a//b"])
def test_bad_storage_paths(path):
    assert plan.storage_path_problem(path)


@given(st.text(st.sampled_from("/.ab\0é\\"), max_size=12))
def test_no_path_escapes(tail):
    path = "/store/" + tail
    if plan.inside_problem(path, "/store") is None and path != f"/store/{plan.MARKER}":
        folder, _, name = path.rpartition("/")
        assert folder in ("/store/images", "/store/volumes")
        assert name not in ("", ".", "..")
        assert "\0" not in name
        assert not name.startswith(".")


@given(st.binary(max_size=120), st.integers(0, 1 << 40))
def test_any_bytes_are_a_header_or_refused(head, size):
    for data in (head, b"QFI\xfb" + head):
        try:
            found = plan.parse_header(data, size)
        except ValueError:
            continue
        assert found.format in ("raw", "qcow2")


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40), st.none() | st.integers(1, 1 << 40))
def test_volume_steps_never_cut_data_off(actual, wanted, base):
    step, _why = plan.volume_step(
        plan.Header("qcow2", actual),
        {"size": wanted, "format": "qcow2", "path": "/p"},
        base and plan.Header("qcow2", base),
    )
    assert (step == "grow") == (wanted > actual and not (base and base > wanted))
    assert step != "grow" or wanted > actual


def test_an_unknown_qcow2_version_is_refused():
    with pytest.raises(ValueError, match="version 9"):
        plan.parse_header(struct.pack(">4sI", b"QFI\xfb", 9).ljust(80, b"\0"), 80)


def test_sizes_for_people():
    assert [plan.human(size) for size in (0, 1536, 5 << 30)] == ["0 bytes", "1.5 KiB", "5 GiB"]
