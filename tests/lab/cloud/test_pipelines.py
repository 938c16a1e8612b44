"""The example pipelines, run as a forge would run them; only the forge's own programs are played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.cloud.zctl import Cloud

EXAMPLES = Path(__file__).parents[3] / "examples" / "pipelines"
MANIFEST = """
kind: Set
name: shop
spec:
  templates:
    web: {spec: {image: tiny, instance_offering: small, networks: [private], power: Stopped, host: h1}}
---
kind: Vm
name: shop-1
template: web
"""
# What the forge keeps between two pipelines: plan.md as the comment, zctl.plan as the artifact.
FORGE = """#!/bin/sh
set -e
case "$*" in
*"pr comment"*) cp plan.md "$FORGE/comment" ;;
*"run list"*) echo 7 ;;
*"run download"*) cp "$FORGE/zctl.plan" . ;;
*notes*) cp plan.md "$FORGE/comment" ;;
*/commits/*) echo '[{"iid": 3}]' > merged.json ;;
*zctl.plan*) cp "$FORGE/zctl.plan" . ;;
*) echo "the forge was asked for something else: $*" >&2; exit 1 ;;
esac
"""


def gitlab(job: str) -> list[str]:
    """The commands of one job."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
    return ["\n".join(found[job]["script"])]


def github(job: str) -> list[str]:
    """The commands of one job, step by step."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "github.yml").read_text())
    return [step["run"] for step in found["jobs"][job]["steps"] if "run" in step]


class Forge:
    """A working copy, the forge's programs, and what it keeps."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.copy, self.kept, bin_folder = cloud, folder / "copy", folder / "kept", folder / "bin"
        for made in (self.copy / "cloud", self.kept, bin_folder):
            made.mkdir(parents=True)
        for name in ("gh", "curl"):
            (bin_folder / name).write_text(FORGE)
            (bin_folder / name).chmod(0o755)
        (bin_folder / "zctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m zctl "$@"\n')
        (bin_folder / "zctl").chmod(0o755)
        self.environment = {
            **cloud.environment,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "FORGE": str(self.kept),
            "GITHUB_STEP_SUMMARY": str(self.kept / "drift"),
            "REQUEST": "3",
            "HEAD": "abc",
            "COMMENTS": "https://forge/notes",
            "MERGED": "https://forge/commits/1/merge_requests",
            "ARTIFACTS": "https://forge/artifacts",
            "FORGE_TOKEN": "secret",
        }

    def job(self, scripts: list[str]) -> subprocess.CompletedProcess[str]:
        """A job in a fresh copy: each command must succeed before the next, as forges do."""
        for left in ("zctl.plan", "plan.md", "merged.json"):
            (self.copy / left).unlink(missing_ok=True)
        done = subprocess.CompletedProcess[str]([], 0, "", "")
        for script in scripts:
            argv = ["bash", "-e", "-o", "pipefail", "-c", script]
            done = subprocess.run(argv, cwd=self.copy, env=self.environment, capture_output=True, text=True)
            if done.returncode:
                break
        if (self.copy / "zctl.plan").exists():
            (self.kept / "zctl.plan").write_bytes((self.copy / "zctl.plan").read_bytes())
        return done


@pytest.mark.parametrize("commands", [gitlab, github])
def test_plan_on_request_apply_on_merge_drift_at_night(no_vms: Cloud, tmp_path: Path, commands: Any) -> None:
    """The comment tells what the merge does; a plan from before a change is refused; drift fails the nightly job."""
    forge = Forge(no_vms, tmp_path)
    (forge.copy / "cloud" / "shop.yaml").write_text(MANIFEST)
    done = forge.job(commands("plan"))
    assert done.returncode == 0, done.stderr
    assert "vm shop-1" in (forge.kept / "comment").read_text() and no_vms.rows("vm") == []
    done = forge.job(commands("apply"))
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in no_vms.rows("vm")] == ["shop-1"]
    done = forge.job(commands("apply"))
    assert done.returncode == 1 and "has been applied already" in done.stderr
    done = forge.job(commands("drift"))
    assert done.returncode == 0, done.stdout + done.stderr
    no_vms.lab.ssh("h1", "virsh undefine z-shop-1")
    done = forge.job(commands("drift"))
    assert done.returncode == 2 and "vm shop-1" in done.stdout
    no_vms.ok("converge", "--noun", "vm", "--name", "shop-1")
    assert forge.job(commands("drift")).returncode == 0
