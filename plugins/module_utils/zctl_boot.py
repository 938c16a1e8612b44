"""What runs on a host without zctl: rebuilding its networks at boot, and undoing a try that nobody confirmed."""

from __future__ import annotations

import sys

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import (
        zctl_eip,
        zctl_l3,
        zctl_metadata,
        zctl_network,
        zctl_network_try,
        zctl_security,
    )
except ImportError:
    import zctl_eip  # type: ignore[no-redef]
    import zctl_l3  # type: ignore[no-redef]
    import zctl_metadata  # type: ignore[no-redef]
    import zctl_network  # type: ignore[no-redef]
    import zctl_network_try  # type: ignore[no-redef]
    import zctl_security  # type: ignore[no-redef]


def main(words: list[str]) -> int:
    """`boot`, or `revert UUID`; troubles go to the journal."""
    if words[:1] == ["revert"] and len(words) == 2:
        if zctl_network_try.revert(words[1]):
            sys.stderr.write("nobody confirmed in time: the NIC has its addresses back\n")
        troubles = zctl_network.restore()
    elif words == ["boot"]:
        troubles = rebuild()
    else:
        sys.stderr.write("usage: zctl_boot.py boot | revert UUID\n")
        return 2
    for text in troubles:
        sys.stderr.write(f"{text}\n")
    return 1 if troubles else 0


def rebuild() -> list[str]:
    """Bring back what is written down, filters before what is reached by them; returns the troubles."""
    troubles = []
    for part in (
        zctl_network.end_tries,
        zctl_network.restore,
        zctl_l3.restore,
        zctl_security.restore,
        zctl_metadata.restore,
        zctl_eip.restore,
    ):
        try:
            troubles += part()
        except Exception as error:  # one part must not take the others with it: VMs start without their filters then
            troubles.append(f"{part.__module__}: {type(error).__name__}: {error}; zctl converge mends it")
    return troubles


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
