"""zctl as another management node runs it: hosts are played by a function, and the node's clock may be off.

NODE_CLOCK is how many seconds its clock is ahead, NODE_LOG the file that each run is told to, NODE_SLEEP how many
seconds a run takes, NODE_HOLD a file: runs do not end while it is there.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from datetime import timedelta
from pathlib import Path

from zctl.resources import base

OFF = timedelta(seconds=float(os.environ.get("NODE_CLOCK", "0")))
TRUE_NOW = base.now
base.now = lambda: TRUE_NOW() + OFF  # before anything else takes it from there

from tests.unit.conftest import FakeHosts  # noqa: E402
from zctl.cli.main import main  # noqa: E402


def work() -> None:
    """What a run does: it tells that it has begun, and takes its time."""
    with Path(os.environ["NODE_LOG"]).open("a") as log:
        log.write(f"{platform.node()}\n")
    time.sleep(float(os.environ.get("NODE_SLEEP", "0")))
    while (hold := os.environ.get("NODE_HOLD")) and Path(hold).exists():
        time.sleep(0.05)


if __name__ == "__main__":
    import zctl.actions.converge

    zctl.actions.converge.execute = FakeHosts(during=work)  # type: ignore[assignment]
    sys.argv[0] = "zctl"
    main()
