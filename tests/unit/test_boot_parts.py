"""What a host keeps of zctl to rebuild its networks at boot is complete."""

from __future__ import annotations

import re
from pathlib import Path

from zctl_network_boot import PARTS

FOLDER = Path(__file__).parents[2] / "plugins" / "module_utils"


def test_everything_that_the_boot_code_imports_is_put_on_the_host() -> None:
    """A module that is forgotten would only show at the next reboot of a host."""
    for part in PARTS:
        imported = set(re.findall(r"^\s+(?:import|from) (zctl_\w+)", (FOLDER / f"{part}.py").read_text(), re.MULTILINE))
        assert imported <= set(PARTS), (part, imported - set(PARTS))
