"""What runs on a host without zctl: rebuilding its networks at boot, and undoing a try that nobody confirmed."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3, zctl_network, zctl_network_try
except ImportError:
    import zctl_l3
    import zctl_network
    import zctl_network_try


def main(words: list[str]) -> int:
    """`boot`, or `revert UUID`; troubles go to the journal."""
    if words[:1] == ["revert"] and len(words) == 2:
        zctl_network_try.revert(words[1])
        return 0
    if words != ["boot"]:
        sys.stderr.write("usage: zctl_boot.py boot | revert UUID\n")
        return 2
    for leftover in Path("/var/lib/zctl/net-try").glob("*.json"):
        leftover.unlink()
    troubles = zctl_network.restore() + zctl_l3.restore()
    for text in troubles:
        sys.stderr.write(f"{text}\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
