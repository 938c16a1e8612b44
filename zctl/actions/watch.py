"""What a management node does each minute: it says that it is alive, and takes over what dead processes left."""

from __future__ import annotations

from zctl import log
from zctl.actions.context import Context
from zctl.actions.jobs import resume_orphans
from zctl.inventory import nodes
from zctl.inventory.lease import is_dead
from zctl.run.runner import end_processes


def watch(context: Context) -> int:
    """Write this machine's sign of life, end what dead processes left running here, and take over orphaned jobs.

    Returns how many jobs were taken over; their failures are warnings.
    """
    with context.inventory.write() as db:
        nodes.beat(db)
    # Another node may have the job already, and sees neither these processes nor that they go on.
    end_processes(lambda owner: is_dead(owner) is True)
    if count := resume_orphans(context):
        log.logger(context.config.home, "watch").info("took over %d jobs", count)
    return count
