"""Completion in the shell: commands, verbs and the names in the inventory, without contacting anything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.unit.conftest import Zctl


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("zctl instance-off", {"instance-offering"}),
        ("zctl vm st", {"start", "stop"}),
        ("zctl host show h", {"h1", "h2"}),
        ("zctl vm create web-1 --image ", {"tiny"}),
        ("zctl zone list -o js", {"json"}),
    ],
)
def test_what_is_offered(cloud: Zctl, words: str, offered: set[str]) -> None:
    """Bash asks through environment variables, as typer's completion script does."""
    environment = {
        **os.environ,
        "ZCTL_HOME": str(cloud.home),
        "ZCTL_DB": cloud.db,
        "_ZCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    said = subprocess.run([sys.executable, "-m", "zctl"], env=environment, capture_output=True, text=True, check=False)
    assert set(said.stdout.split()) == offered, said
