"""plan, apply, prune and saved plans, with hosts played by a function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import Zctl

WEB = """
kind: Set
name: shop
spec:
  variables: {memory: 1G}
---
kind: Vm
name: web-1
tags: {role: web}
spec: {image: tiny, cpus: 1, memory: "${var.memory}", networks: [lan], disks: [data], host: h1}
---
kind: Vm
name: web-2
spec: {image: tiny, cpus: 1, memory: 1G, networks: [lan], host: h2}
"""


def plan(cloud: Zctl, text: str, *words: str) -> dict[str, Any]:
    """A plan as values."""
    found: dict[str, Any] = json.loads(cloud.call("plan", "-f", "-", "-o", "json", *words, stdin=text).stdout)
    return found


def marks(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(action, resource) of each change."""
    return [(change["action"], f"{change['noun']} {change['name']}") for change in found["changes"]]


def test_a_plan_changes_nothing_and_apply_does_it(cloud: Zctl) -> None:
    """What plan says is what apply does; then nothing is left, and no host is contacted."""
    before = cloud.dump()
    found = plan(cloud, WEB)
    assert ("create", "vm web-1") in marks(found) and ("create", "nic web-2-nic0") in marks(found)
    steps = ["storage", "l3_services", "metadata", "security", "vm"]
    assert found["hosts"] == {"h1": steps, "h2": steps}
    assert found["seconds"] > 0 and cloud.dump() == before and not cloud.hosts.runs
    assert cloud.call("plan", "-f", "-", "--detailed-exitcode", stdin=WEB).exit_code == 2
    cloud.ok("apply", "-f", "-", stdin=WEB)
    runs = len(cloud.hosts.runs)
    assert "nothing to change: 2 resources" in cloud.ok("plan", "-f", "-", "--detailed-exitcode", stdin=WEB)
    cloud.ok("apply", "-f", "-", stdin=WEB)
    assert len(cloud.hosts.runs) == runs
    cloud.ok("apply", "-f", "-", "--refresh", stdin=WEB)
    assert len(cloud.hosts.runs) == runs + 2


def test_changes_are_labelled_with_what_they_mean(cloud: Zctl) -> None:
    """Old and new values, and live, restart, remove, replace for each."""
    cloud.ok("apply", "-f", "-", stdin=WEB)
    text = WEB.replace("cpus: 1, memory: 1G", "cpus: 2, memory: 1073741825, boot: network").replace(
        "networks: [lan], disks: [data]", "networks: [], disks: []"
    )
    changes = {change["name"]: change for change in plan(cloud, text)["changes"]}
    fields = changes["web-2"]["fields"]
    assert fields["cpus"] == {"old": 1, "new": 2, "impact": "live"}
    assert (fields["memory"]["impact"], fields["boot"]["impact"]) == ("restart", "restart")
    assert changes["web-1-nic0"]["action"] == "remove" and changes["web-1-nic0"]["impact"] == "remove"
    assert changes["web-1-data1"]["fields"]["vm"] == {"old": "web-1", "new": None, "impact": "live"}
    said = cloud.call("plan", "-f", "-", stdin=text).stdout
    assert "~ vm web-2" in said and "cpus: 1 -> 2" in said and "- nic web-1-nic0" in said
    assert max(map(len, said.splitlines())) <= 80
    table = cloud.ok("plan", "-f", "-", "-o", "markdown", stdin=text)
    assert "| `~` | vm web-2 | cpus: 1 → 2 | live |" in table
    cloud.ok("apply", "-f", "-", stdin=text)
    assert [row["name"] for row in cloud.rows("nic")] == ["web-2-nic0"]
    assert cloud.rows("volume", "name=web-1-data1")[0]["vm"] is None


def test_what_cannot_change_is_refused_with_what_to_do(cloud: Zctl, tmp_path: Path) -> None:
    """An image cannot be changed in place: the plan says so, names the line, and nothing is applied."""
    cloud.ok("apply", "-f", "-", stdin=WEB)
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(2**20 + 512))
    cloud.ok("image", "create", "other", "--source", str(other))
    file = tmp_path / "m.yaml"
    file.write_text(WEB.replace("{image: tiny, cpus: 1, memory: 1G", "{image: other, cpus: 3, memory: 1G"))
    answer = cloud.call("plan", "-f", str(file))
    assert answer.exit_code == 1 and "! vm web-2  [replace]" in answer.stdout
    assert "image cannot be changed" in answer.stdout and "m.yaml:14" in answer.stdout
    assert "make a new VM from the other image" in answer.stdout
    assert "image cannot be changed" in cloud.fails("apply", "-f", str(file))
    moved = WEB.replace("host: h2", "host: h1")
    assert "! vm web-2  [data-moving]" in cloud.call("plan", "-f", "-", stdin=moved).stdout


def test_everything_that_is_refused_is_listed(cloud: Zctl) -> None:
    """One plan tells all mistakes, and what only follows from one is told as such."""
    text = """
kind: Volume
name: v1
spec: {size: 900G, vm: web-9}
---
kind: Vm
name: web-9
spec: {image: tiny, cpus: 64, memory: 1G}
---
kind: Nic
name: n1
spec: {vm: web-9, l3_network: lan}
---
kind: Cluster
name: c2
spec: {zone: nowhere}
"""
    found = plan(cloud, text)
    whys = {change["name"]: change["why"] for change in found["changes"]}
    assert "no host has room" in whys["web-9"] and "does not exist" in whys["c2"]
    assert "it needs vm web-9, which is refused" in whys["v1"] and "stdin:4" in whys["v1"]
    assert "and 3 more" in cloud.fails("apply", "-f", "-", stdin=text)


def test_prune_removes_only_what_the_set_owns(cloud: Zctl) -> None:
    """Not what others made, not what another set owns; a question first; parts go with what they belong to."""
    cloud.ok("apply", "-f", "-", stdin=WEB)
    cloud.ok("vm", "create", "mine", "--image", "tiny", "--instance-offering", "small")
    cloud.ok(
        "apply", "-f", "-", "--set", "other", stdin="kind: Vm\nname: theirs\nspec: {image: tiny, cpus: 1, memory: 1G}"
    )
    less = WEB[: WEB.rindex("---")]
    assert "nothing to change" in cloud.ok("plan", "-f", "-", stdin=less)
    found = plan(cloud, less, "--prune")
    assert {name for _, name in marks(found)} == {"vm web-2", "nic web-2-nic0", "volume web-2-root"}
    assert "needs a yes" in cloud.fails("apply", "-f", "-", "--prune", code=2, stdin=less)
    assert "removed 3" in cloud.ok("apply", "-f", "-", "--prune", "--yes", stdin=less)
    assert {row["name"] for row in cloud.rows("vm")} == {"web-1", "mine", "theirs"}
    only_set = "kind: Set\nname: shop\n"
    cloud.ok("apply", "-f", "-", "--prune", "--yes", stdin=only_set)
    assert {row["name"] for row in cloud.rows("vm")} == {"mine", "theirs"}
    assert [row["name"] for row in cloud.rows("volume", "kind=data")] == ["web-1-data1"], "data was lost"
    assert "--prune needs to know" in cloud.fails("apply", "-f", "-", "--prune", code=2, stdin="kind: Zone\nname: z1")


def test_what_is_in_use_is_not_pruned(cloud: Zctl) -> None:
    """References into a set that is pruned: from its own documents, and from resources of nobody."""
    text = (
        "kind: L3Network\nname: n2\nspec: {l2_network: wire, cidr: 10.7.0.0/24, ranges: [10.7.0.10-10.7.0.20]}\n---\n"
    )
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G, networks: [n2]}\n"
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=text + vm)
    said = cloud.fails("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin=vm)
    assert "l3-network n2" in said and "in use by nic v-nic0" in said
    cloud.ok("vm", "create", "guest", "--image", "tiny", "--instance-offering", "small", "--network", "n2")
    said = cloud.fails("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin="kind: Set\nname: s")
    assert "in use by nic guest-nic0" in said
    cloud.ok("vm", "delete", "guest", "--yes")
    cloud.ok("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin="kind: Set\nname: s")
    assert cloud.rows("ip-range", "l3_network=n2") == [] and cloud.rows("vm") == []


def test_a_resource_belongs_to_one_set(cloud: Zctl) -> None:
    """What is nobody's is taken; what is another set's is refused unless it is taken over."""
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G}\n"
    cloud.ok("apply", "-f", "-", stdin=vm)
    said = cloud.ok("apply", "-f", "-", "--set", "a", stdin=vm)
    assert "set: - -> a" in said and cloud.rows("vm")[0]["manifest_set"] == "a"
    assert "belongs to the set a" in cloud.fails("apply", "-f", "-", "--set", "b", stdin=vm)
    cloud.ok("apply", "-f", "-", "--set", "b", "--take-over", stdin=vm)
    assert cloud.rows("vm")[0]["manifest_set"] == "b"


def test_a_volume_of_a_set_is_unplugged_then_deleted(cloud: Zctl) -> None:
    """Its VM stays; the disk leaves the domain in one run and its file goes in the next."""
    vm = "kind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G}\n"
    cloud.ok("apply", "-f", "-", "--set", "s", stdin=vm + "---\nkind: Volume\nname: d\nspec: {vm: v, size: 1G}\n")
    cloud.hosts.runs.clear()
    cloud.ok("apply", "-f", "-", "--set", "s", "--prune", "--yes", stdin=vm)
    assert cloud.rows("volume", "name=d") == []
    first, second = cloud.hosts.runs
    assert not first.state["storage"]["purge"] and [e["name"] for e in second.state["storage"]["purge"]] == ["d"]


def test_a_saved_plan_is_done_exactly_or_refused(cloud: Zctl, tmp_path: Path) -> None:
    """Applied once; not twice, not after a change, not by another version or inventory, not when it is damaged."""
    file = tmp_path / "p"
    cloud.ok("plan", "-f", "-", "--out", str(file), stdin=WEB)
    assert file.stat().st_mode & 0o777 == 0o600
    cloud.ok("apply", str(file), "--dry-run")
    assert "created" in cloud.ok("apply", str(file))
    assert "has been applied already" in cloud.fails("apply", str(file))
    more = WEB.replace("memory: 1G, networks: [lan], host: h2", "memory: 2G, networks: [lan], host: h2")
    cloud.ok("plan", "-f", "-", "--out", str(file), stdin=more)
    cloud.ok("vm", "update", "web-2", "--cpus", "2")
    said = cloud.fails("apply", str(file))
    assert "changed since the plan was made: vm web-2" in said
    cloud.ok("vm", "update", "web-2", "--cpus", "1")
    cloud.ok("apply", str(file))
    cloud.ok("plan", "-f", "-", "--out", str(file), stdin=WEB)
    content = json.loads(file.read_text())
    for key, value, words in (
        ("zctl", "0.0.1", "another version of zctl"),
        ("schema_revision", "0001", "another schema"),
        ("inventory", "x", "another inventory"),
        ("format", "zctl-plan/9", "not a plan"),
        ("documents", 7, "not a plan"),
    ):
        file.write_text(json.dumps({**content, key: value}))
        answer = cloud.call("apply", str(file))
        assert answer.exit_code in (1, 2) and words in answer.stderr, answer.stderr
    file.write_text("kind: Zone\nname: z")
    assert "not a plan" in cloud.fails("apply", str(file), code=2)
    assert "cannot read" in cloud.fails("apply", str(tmp_path / "none"), code=2)
    assert "in it" in cloud.fails("apply", str(file), "--prune", code=2)


def test_an_empty_plan_may_be_applied_again(cloud: Zctl, tmp_path: Path) -> None:
    """A pipeline that runs twice over the same commit has nothing to be afraid of."""
    cloud.ok("apply", "-f", "-", stdin=WEB)
    cloud.ok("plan", "-f", "-", "--out", str(tmp_path / "p"), stdin=WEB)
    for _ in range(2):
        assert "unchanged 2" in cloud.ok("apply", str(tmp_path / "p"))


def test_hosts_and_their_vms_come_in_one_apply(zctl: Zctl, tmp_path: Path) -> None:
    """VMs wait until their new host has been looked at; a host that is away leaves its part for the next apply."""
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(2**20))
    hosts = "".join(
        f"---\nkind: Host\nname: h{n}\nspec: {{cluster: c, address: 198.18.0.{n}, host_key: ssh-ed25519 AAAA}}\n"
        f"---\nkind: Vm\nname: v{n}\nspec: {{image: tiny, cpus: 1, memory: 1G, host: h{n}}}\n"
        for n in (1, 2)
    )
    text = (
        "kind: Zone\nname: z\n---\nkind: Cluster\nname: c\nspec: {zone: z}\n---\nkind: PrimaryStorage\nname: s\n"
        f"spec: {{zone: z, path: /srv/z}}\n---\nkind: Image\nname: tiny\nspec: {{source: {image}}}\n{hosts}"
    )
    found = plan(zctl, text)
    assert ("later", "vm v1") in marks(found) and ("later", "vm v2") in marks(found)
    zctl.hosts.away = {"h2"}
    answer = zctl.call("apply", "-f", "-", stdin=text)
    assert answer.exit_code == 1 and "does not answer" in answer.stderr
    assert [row["name"] for row in zctl.rows("vm")] == ["v1"], "the rest was not done"
    zctl.hosts.away = set()
    zctl.ok("apply", "-f", "-", stdin=text)
    assert {row["name"]: row["host"] for row in zctl.rows("vm")} == {"v1": "h1", "v2": "h2"}
    assert "nothing to change" in zctl.ok("plan", "-f", "-", stdin=text)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("networks: [lan], host: h2", "networks: [lan, lan], host: h2"), "nic web-2-nic1"),
        (("networks: [lan], host: h2", "networks: [lan], disks: [data, data], host: h2"), "volume web-2-data2"),
        (("networks: [lan], host: h2", "networks: [lan], root_size: 2G, host: h2"), "volume web-2-root"),
    ],
)
def test_parts_are_added_in_place(cloud: Zctl, change: tuple[str, str], field: str) -> None:
    """Cards, disks and sizes of a VM follow its document, and the VM keeps its UUID, MAC and address."""
    cloud.ok("apply", "-f", "-", stdin=WEB)
    before = cloud.rows("nic", "name=web-2-nic0"), cloud.rows("vm", "name=web-2")[0]["uuid"]
    text = WEB.replace(*change)
    assert field in cloud.ok("apply", "-f", "-", stdin=text)
    assert "nothing to change" in cloud.ok("plan", "-f", "-", stdin=text)
    assert (cloud.rows("nic", "name=web-2-nic0"), cloud.rows("vm", "name=web-2")[0]["uuid"]) == before


def test_volumes_never_shrink(cloud: Zctl) -> None:
    """By document and by verb, once there is a file that would be cut."""
    text = "kind: Volume\nname: d\nspec: {size: 2G}\n"
    cloud.ok("apply", "-f", "-", stdin=text)
    cloud.ok("apply", "-f", "-", stdin=text.replace("2G", "1G"))
    vm = "---\nkind: Vm\nname: v\nspec: {image: tiny, cpus: 1, memory: 1G}\n"
    text = text.replace("2G", "2G, vm: v") + vm
    cloud.ok("apply", "-f", "-", stdin=text)
    assert "cannot shrink to 1G" in cloud.fails("apply", "-f", "-", stdin=text.replace("2G", "1G"))
    assert "cannot shrink to 1G" in cloud.fails("volume", "update", "d", "--size", "1G")
    cloud.ok("apply", "-f", "-", stdin=text.replace("2G", "3G"))


def test_variables_come_from_files_the_environment_and_options(
    cloud: Zctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wins over the ones before; a variable that nothing uses is a mistake on the command line only."""
    file = tmp_path / "vars.yaml"
    file.write_text("memory: 2G\nunused: 1\n")

    def memory(*words: str) -> Any:
        changes = plan(cloud, WEB, *words)["changes"]
        return next(c for c in changes if c["name"] == "web-1")["fields"]["memory"]["new"] // 2**30

    assert memory() == 1 and memory("--var-file", str(file)) == 2
    monkeypatch.setenv("ZCTL_VAR_memory", "3G")
    assert memory("--var-file", str(file)) == 3 and memory("--var", "memory=4G") == 4
    assert "did you mean memory" in cloud.fails("plan", "-f", "-", "--var", "memori=1", code=2, stdin=WEB)
    assert "NAME=VALUE" in cloud.fails("plan", "-f", "-", "--var", "x", code=2, stdin=WEB)
    file.write_text("- a")
    assert "not one mapping" in cloud.fails("plan", "-f", "-", "--var-file", str(file), code=2, stdin=WEB)
