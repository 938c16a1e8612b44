"""The log of what is done to the database and by timers: one line for each event, for people and for logrotate."""

from __future__ import annotations

import logging
import logging.handlers
import os
from functools import cache
from pathlib import Path

from zctl.ownership import give

SYSTEM_FOLDER = Path("/var/log/zctl")
FILE_NAME = "zctl.log"
FORMAT = "%(asctime)sZ %(process)d %(levelname)s %(name)s: %(message)s"


def log_file(home: Path) -> Path:
    """Where the log lies: the folder that `zctl install` made, when it is ours to write; else the data folder."""
    if "ZCTL_HOME" not in os.environ and os.access(SYSTEM_FOLDER, os.W_OK):
        return SYSTEM_FOLDER / FILE_NAME
    return home / FILE_NAME


class _Handler(logging.handlers.WatchedFileHandler):
    """Opens the file anew when logrotate has moved it away; a full disk must not hide the error that is being told."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the caller tells people by itself."""


@cache
def _handler(path: Path) -> logging.Handler:
    import time

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o640, exist_ok=True)
    give(path)
    handler = _Handler(path, encoding="utf-8", delay=True)
    formatter = logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler


def logger(home: Path, about: str) -> logging.Logger:
    """The log for one subject, such as dump. It never holds secrets: callers pass texts that may be shown."""
    made = logging.getLogger(f"zctl.{about}")
    made.setLevel(logging.INFO)
    made.propagate = False
    try:
        handler = _handler(log_file(home))
    except OSError:
        handler = logging.NullHandler()
    made.handlers = [handler]
    return made
