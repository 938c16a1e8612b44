"""Throwaway real hosts on one Linux machine: for demos, for tests, and to try zctl without hardware."""

from __future__ import annotations

from zctl.lab.host import LabHost
from zctl.lab.lab import Lab

__all__ = ["Lab", "LabHost"]
