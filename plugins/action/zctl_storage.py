# SPDX-License-Identifier: Apache-2.0
"""Runs the module zctl_storage and uploads the image files that it asks for.

The module is called once; only when it lacks an image that lies on the controller, that file is uploaded and the
module called again to verify it and to go on with what stands on it.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

Json = dict[str, Any]


def read_sources(state: Json) -> dict[str, Json]:
    """What the controller knows about the image files that are its own: their size, or why they cannot be used."""
    sources = {}
    for image in state.get("images") or []:
        path = image.get("source") or ""
        if path.startswith(("http://", "https://")):
            continue
        sources[image["uuid"]] = _look_at(path)
    return sources


def _look_at(path: str) -> Json:
    if not os.path.isabs(path):
        return {"error": f"the image source {path!r} is neither an absolute path on the controller nor an http(s) URL"}
    if not os.path.exists(path):
        return {"error": f"the image file {path} does not exist on the machine that zctl runs on"}
    if not os.path.isfile(path):
        return {"error": f"{path} on the machine that zctl runs on is not a file"}
    if not os.access(path, os.R_OK):
        return {"error": f"permission denied: the image file {path} cannot be read on the machine that zctl runs on"}
    return {"size": os.stat(path).st_size}


class ActionModule(ActionBase):
    """The action plugin of the module with the same name."""

    _requires_connection = True
    MODULE = "zctl.cloud.zctl_storage"

    def storage_state(self, arguments: Json) -> Json:
        """The part of the arguments that names the images."""
        return arguments.get("state") or {}

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Call the module, upload what it lacks, call it again."""
        outcome: Json = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["sources"] = read_sources(self.storage_state(arguments))
        # The first call must not end the task: what it lacks may come with the upload.
        wants_fail = arguments.pop("fail", True)
        first = self._module(arguments, task_vars, fail=False)
        wanted = first.get("uploads_wanted") or []
        if not wanted:
            outcome.update(first)
            return ended(outcome, wants_fail)
        uploads, refused = {}, {}
        try:
            for upload in wanted:
                target = self._target(upload)
                uploads[upload["uuid"]] = target
                try:
                    self._connection.put_file(upload["source"], target)
                except (AnsibleError, OSError) as error:
                    del uploads[upload["uuid"]]
                    refused[upload["uuid"]] = {"error": f"uploading {upload['source']} to {target} failed: {error}"}
            arguments["sources"].update(refused)
            second = self._module({**arguments, "uploads": uploads}, task_vars, fail=False)
        finally:
            if self._connection._shell.tmpdir:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        outcome.update(_together(first, second))
        return ended(outcome, wants_fail)

    def _module(self, arguments: Json, task_vars: Json | None, fail: bool) -> Json:
        return self._execute_module(  # type: ignore[no-any-return]
            module_name=self.MODULE, module_args={**arguments, "fail": fail}, task_vars=task_vars
        )

    def _target(self, upload: Json) -> str:
        """Where the connection's user may write: straight beside the image, or in his temporary folder with become."""
        if not self._connection.become:
            return str(upload["upload_to"])
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        return str(self._connection._shell.join_path(self._connection._shell.tmpdir, f"{upload['uuid']}.part"))


def _together(first: Json, second: Json) -> Json:
    """The second call's outcome, in which what the first one had changed still counts as changed."""
    if "results" not in second:
        return second
    earlier = {(r["kind"], r["uuid"]): r for r in first.get("results") or [] if r["result"] in ("changed", "removed")}
    results = []
    for result in second["results"]:
        before = earlier.get((result["kind"], result["uuid"]))
        if before and result["result"] == "unchanged":
            results.append({**before, "observed": {**result["observed"], **_made(before)}})
        else:
            results.append(result)
    diff = [*(first.get("diff") or []), *(second.get("diff") or [])]
    return {**second, "results": results, "changed": bool(first.get("changed") or second.get("changed")), "diff": diff}


def _made(result: Json) -> Json:
    """Facts that are only true of the call that did the work."""
    return {key: value for key, value in result["observed"].items() if key == "marker_created"}


def ended(outcome: Json, wants_fail: Any) -> Json:
    """Fail the task for a failed resource, unless the caller looks at the results himself."""
    outcome.pop("uploads_wanted", None)
    failed = [r for r in outcome.get("results") or [] if r["result"] == "failed"]
    if failed and str(wants_fail).lower() not in ("false", "no", "0"):
        outcome["failed"] = True
        outcome["msg"] = "; ".join(f"{r['kind']} {r['name']}: {r['reason']}" for r in failed)
    return outcome
