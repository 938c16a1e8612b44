"""libvirt's own schema accepts the XML of every kind of VM that zctl makes."""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path

import pytest
import zctl_vm_room as vm_room
import zctl_vm_spec as vm_spec
from test_vm_domain import make
from zctl_vm_spec import DiskSpec, NicSpec

GIB = 1 << 20
UUID = "3f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e0"
DISKS = tuple(DiskSpec(f"{UUID}{n}", f"/s/volumes/{n} <&'.qcow2", "qcow2", f"vd{'abc'[n]}") for n in range(3))
NICS = tuple(NicSpec(f"{UUID}{n}", f"52:54:00:00:00:0{n}", "zbr-1", f"zt-{n}", 1450 if n else None) for n in range(2))
KINDS = [
    pytest.param(virt, size, devices, boot, id=f"{virt}-{size[1] // 1024}M-{devices}-{'-'.join(boot)}")
    for virt, size, devices, boot in product(
        ("kvm", "qemu"), ((1, 98304), (4, 4 * GIB)), (0, 2), (("disk",), ("network", "disk"))
    )
]


def validate(xml: str, folder: Path) -> None:
    path = folder / "domain.xml"
    path.write_text(xml)
    done = subprocess.run(["virt-xml-validate", str(path), "domain"], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{xml}"


@pytest.mark.parametrize(("virt", "size", "devices", "boot"), KINDS)
def test_new_and_changed_domains_are_valid(tmp_path, virt, size, devices, boot):
    spec = make(
        uuid=f"{UUID}0", inventory=f"{UUID}1", virt_type=virt, vcpus=size[0], memory=size[1], boot=boot,
        description="a <b> & ]]>", disks=DISKS[:devices], nics=NICS[:devices],
    )  # fmt: skip
    xml = vm_spec.merge(None, spec)
    validate(xml, tmp_path)
    grown = make(uuid=spec.uuid, virt_type=virt, vcpus=80, memory=GIB * 3, disks=DISKS, nics=NICS)
    validate(vm_spec.merge(xml, grown), tmp_path)


def test_what_is_plugged_in_later_is_valid_in_a_domain(tmp_path):
    xml = vm_spec.merge(None, make(uuid=f"{UUID}0", memory=GIB))
    dimm = vm_room.render_dimm(vm_room.Dimm(f"{vm_room.DIMM_ALIAS}0", vm_room.DIMM_STEP))
    validate(xml.replace("</devices>", f"{dimm}</devices>"), tmp_path)
