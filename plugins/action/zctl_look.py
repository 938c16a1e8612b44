# SPDX-License-Identifier: Apache-2.0
"""Compares a host with what it should be, by the concerns' own code in the host's Python."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.zctl.cloud.plugins.action.zctl_storage import ended, read_sources
from ansible_collections.zctl.cloud.plugins.plugin_utils import straight

Json = dict[str, Any]
OPTIONS = ("inventory", "state", "steps", "scope", "fail")


class ActionModule(ActionBase):
    """The action zctl_look."""

    _requires_connection = True
    _VALID_ARGS = frozenset(OPTIONS)

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Look, and tell what was seen as a module in check mode would."""
        outcome: Json = super().run(tmp, task_vars)
        arguments = {"scope": None, **self._task.args}
        wants_fail = arguments.pop("fail", True)
        if isinstance(arguments["state"], str):
            arguments["state"] = json.loads(arguments["state"])
        storage = (arguments["state"].get("storage") or {}) if "storage" in arguments["steps"] else {}
        arguments |= {"sources": read_sources(storage), "uploads": {}}
        outcome.update(straight.ask(self, "zctl_look", arguments, task_vars))
        return ended(outcome, wants_fail)
