# SPDX-License-Identifier: Apache-2.0
"""Brings disks, leases and VMs of a host to their desired state, by the concerns' own code in the host's Python.

The image files that the storage concern asks for are uploaded, as the action zctl_storage does it.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.zctl.cloud.plugins.action.zctl_storage import ActionModule as StorageAction
from ansible_collections.zctl.cloud.plugins.plugin_utils import straight

Json = dict[str, Any]
OPTIONS = ("inventory", "state", "steps", "scope", "fail")


class ActionModule(StorageAction):
    """The action zctl_guests: as that of the module zctl_storage, with the images one level deeper."""

    _VALID_ARGS = frozenset(OPTIONS)

    def storage_state(self, arguments: Json) -> Json:
        """The images of the storage concern, when that is among the steps."""
        if "storage" not in (arguments.get("steps") or []):
            return {}
        return (arguments.get("state") or {}).get("storage") or {}

    def _module(self, arguments: Json, task_vars: Json | None, fail: bool) -> Json:
        given = {"scope": None, "uploads": {}, **arguments, "check": bool(self._task.check_mode)}
        return straight.ask(self, "zctl_guests", given, task_vars)
