"""Export: what is written applies to nothing changed where it comes from, and makes the same elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.conftest import GIB, Zctl
from zctl.inventory.store import create
from zctl.resources.host import Host
from zctl.resources.internal import StorageHost
from zctl.resources.registry import resource_class

NASTY = st.sampled_from(
    [
        "",
        "ä ☃ 'q' \"d\"",
        "${var.x}",
        "$${var.y:-z}",
        "{{ x }}",
        "yes",
        "1e3",
        "- a: [b",
        "# no",
        "two\nlines",
        "null",
        "~",
    ]
)
TAGS = st.dictionaries(
    st.sampled_from(["env", "a.b/c", "on", "1"]), NASTY.filter(lambda text: "\n" not in text), max_size=3
)


@st.composite
def inventories(draw: Any) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a random cloud in the order they can be made."""
    rows: list[tuple[str, dict[str, Any]]] = [("zone", {"name": "z"}), ("cluster", {"name": "c", "zone": "z"})]

    def add(noun: str, **values: Any) -> None:
        text, tags = draw(NASTY), draw(TAGS)
        rows.append((noun, values | ({"description": text} if text else {}) | ({"tags": tags} if tags else {})))

    add("host", name="h1", cluster="c", address="198.18.0.1", host_key="ssh-ed25519 AAAA", port=draw(st.integers(1, 9)))
    add("host", name="h2", cluster="c", address="198.18.0.2", host_key="ssh-ed25519 AAAA")
    add("primary-storage", name="s1", zone="z", path="/srv/a", overcommit=100)
    add("primary-storage", name="s2", zone="z", path="/srv/b", kind="shared-mount-point", overcommit=100)
    add("image", name="tiny", source="IMAGE")
    add("instance-offering", name="small", cpus=1, memory=draw(st.integers(2**26, 2**27)))
    add("disk-offering", name="data", size=draw(st.integers(2**20, 2**22)))
    add("l2-network", name="l2", zone="z", kind="vxlan")
    for number in range(draw(st.integers(1, 2))):
        ranges = [f"10.{number}.0.10-10.{number}.0.40", f"10.{number}.0.64/27"][: draw(st.integers(1, 2))]
        add(
            "l3-network",
            name=f"n{number}",
            l2_network="l2",
            cidr=f"10.{number}.0.0/24",
            ranges=ranges,
            **draw(st.sampled_from([{}, {"gateway": f"10.{number}.0.1"}, {"dns": ["9.9.9.9"], "domain": "x.y"}])),
        )
    for number in range(draw(st.integers(0, 3))):
        size = draw(st.sampled_from([{"instance_offering": "small"}, {"cpus": 2, "memory": 2**27 + 4096}]))
        add(
            "vm",
            name=f"vm-{number}",
            image="tiny",
            storage=draw(st.sampled_from(["s1", "s2"])),
            networks=draw(st.lists(st.sampled_from(["n0"]), max_size=3)),
            disks=draw(st.lists(st.just("data"), max_size=2)),
            power=draw(st.sampled_from(["Running", "Stopped"])),
            boot=draw(st.sampled_from(["disk", "network,disk"])),
            **size,
            **draw(st.sampled_from([{}, {"root_size": 2**22}, {"root_name": f"r{number}"}, {"host": "h2"}])),
        )
        if draw(st.booleans()):
            add("volume", name=f"v{number}", size=2**21, vm=f"vm-{number}")
            add("nic", name=f"card{number}", vm=f"vm-{number}", l3_network="n0", mac=f"52:54:00:00:00:0{number}")
    if draw(st.booleans()):
        add("volume", name="alone", size=2**20 + 512, primary_storage="s1")
    return rows


def fill(zctl: Zctl, rows: list[tuple[str, dict[str, Any]]], image: Path) -> None:
    """Store the rows, with hosts as they are once they have been looked at."""
    with zctl.inventory.write() as db:
        for noun, values in rows:
            given_values = {key: str(image) if value == "IMAGE" else value for key, value in values.items()}
            row = create(db, resource_class(noun), given_values)[0]
            if isinstance(row, Host):
                row.state, row.cpus, row.memory, row.virtualization = "Connected", 4, 8 * GIB, "qemu"
            if noun == "primary-storage":
                for host in db.query(Host):
                    db.add(StorageHost(storage_id=row.id, host_id=host.id, total=GIB, free=GIB, token="t"))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=inventories())
def test_export_apply_plan_is_empty(zctl: Zctl, tmp_path_factory: Any, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """On the inventory itself nothing would change; on an empty one the same comes out, and again nothing changes."""
    folder = tmp_path_factory.mktemp("export")
    image = folder / "image.raw"
    image.write_bytes(bytes(2**20))
    first, second = Zctl(folder / "a", zctl.hosts), Zctl(folder / "b", zctl.hosts)
    for one in (first, second):
        one.ok("init")
    fill(first, rows, image)
    text = first.ok("export")
    assert "nothing to change" in first.ok("plan", "-f", "-", stdin=text)
    second.ok("apply", "-f", "-", stdin=text)
    assert "nothing to change" in second.ok("plan", "-f", "-", stdin=text)
    assert second.ok("export") == text
    for noun, column in (("vm", "nics"), ("vm", "volumes"), ("volume", "size"), ("l3-network", "dhcp_ip")):
        wanted = {row["name"]: row[column] for row in first.rows(noun)}
        assert {row["name"]: row[column] for row in second.rows(noun)} == wanted


def test_parts_of_an_export(cloud: Zctl) -> None:
    """By kind with what belongs to it, by filter, in a stable order; mistakes are told."""
    words = ("--image", "tiny", "--instance-offering", "small", "--network", "lan", "--disk", "data")
    for name in ("web-2", "web-1"):
        cloud.ok("vm", "create", name, *words, "--host", "h1", "--tag", f"n={name}")
    text = cloud.ok("export", "--kind", "Vm", "--filter", "tags.n=web-1")
    found = list(yaml.safe_load_all(text))
    assert [(entry["kind"], entry["name"]) for entry in found] == [
        ("Vm", "web-1"),
        ("Nic", "web-1-nic0"),
        ("Volume", "web-1-data1"),
    ]
    assert found[0]["spec"] == {
        "image": "tiny",
        "instance_offering": "small",
        "host": "h1",
        "root_size": "1M",
        "storage": "disks",
    }
    assert found[2]["spec"] == {"vm": "web-1", "primary_storage": "disks", "disk_offering": "data"}
    whole = [entry["name"] for entry in yaml.safe_load_all(cloud.ok("export")) if entry["kind"] == "Vm"]
    assert whole == ["web-1", "web-2"]
    assert "did you mean Volume?" in cloud.fails("export", "--kind", "Volumes", code=2)
    assert "no kind has all" in cloud.fails("export", "--filter", "nonsense=1", code=2)
