"""A resource type that another package brings through an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DECLARATION = '''
"""A graphics card."""
from zctl.resources.base import Resource, attr, ref


class Gpu(Resource, table=True):
    """A graphics card of a host."""

    host_id: str = ref("host", help="the host it is in", when="create", listed="list", on_delete="owned")
    memory: int = attr(help="its memory", listed="list", unit="bytes", ge=1)
'''


def test_a_type_of_another_package(tmp_path: Path) -> None:
    """Table, commands, references and deletes along its edges, without a change to zctl."""
    folder = tmp_path / "site"
    (folder / "cards-1.0.dist-info").mkdir(parents=True)
    (folder / "cards.py").write_text(DECLARATION)
    (folder / "cards-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: cards\nVersion: 1.0\n")
    (folder / "cards-1.0.dist-info" / "entry_points.txt").write_text("[zctl.resources]\ngpu = cards:Gpu\n")
    environment = {**os.environ, "ZCTL_HOME": str(tmp_path / "home"), "ZCTL_DB": "", "PYTHONPATH": str(folder)}

    def zctl(*words: str) -> str:
        argv = [sys.executable, "-m", "zctl", *words]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    zctl("init")
    zctl("zone", "create", "z1")
    zctl("cluster", "create", "c1", "--zone", "z1")
    assert "host nowhere: does not exist" in zctl("gpu", "create", "g1", "--host", "nowhere", "--memory", "8G")
    assert "is not a size" in zctl("gpu", "create", "g1", "--host", "h1", "--memory", "much")
    assert "HOST" in zctl("gpu", "list") and "SIZE" in zctl("gpu", "create", "--help")
    assert "Gpu" in zctl("apply", "-f", "/dev/null") or "no document" in zctl("apply", "-f", "/dev/null")
