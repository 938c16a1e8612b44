# SPDX-License-Identifier: Apache-2.0
"""Runs the module zctl_guests and uploads the image files that its storage concern asks for."""

from __future__ import annotations

from typing import Any

from ansible_collections.zctl.cloud.plugins.action.zctl_storage import ActionModule as StorageAction

Json = dict[str, Any]


class ActionModule(StorageAction):
    """The action plugin of the module with the same name: as that of zctl_storage, with the images one level deeper."""

    MODULE = "zctl.cloud.zctl_guests"

    def storage_state(self, arguments: Json) -> Json:
        """The images of the storage concern, when that is among the steps."""
        if "storage" not in (arguments.get("steps") or []):
            return {}
        return (arguments.get("state") or {}).get("storage") or {}
