# SPDX-License-Identifier: Apache-2.0
"""Compares a host with what it should be, by the concerns' own code in the host's Python.

A module would bring Ansible's module library with it, which takes the host twice as long to load as the comparison
itself takes; for hundreds of hosts that is what the operator waits for.
"""

from __future__ import annotations

import json
import shlex
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.zctl.cloud.plugins.action.zctl_storage import ended, read_sources
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_look

Json = dict[str, Any]
PYTHON = "/usr/bin/python3"
ALONE = ("-I", "-c")  # it finds no module in the login user's home
OPTIONS = ("inventory", "state", "steps", "scope", "fail")
# Reads the code and the arguments from its standard input, so that neither is in the process list or on a disk.
START = """\
import importlib.machinery, json, sys, zlib
size = int(sys.stdin.buffer.readline())
code = json.loads(zlib.decompress(sys.stdin.buffer.read(size)))
args = json.loads(zlib.decompress(sys.stdin.buffer.read()))
class Given:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in code else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(code[module.__name__], module.__name__ + ".py", "exec"), module.__dict__)
    def get_source(self, name):
        return code[name]
sys.meta_path.insert(0, Given())
sys.modules["ansible_collections"] = None  # another version of it may be installed on the host
import zctl_look
zctl_look.main(args)
"""


def packed(value: Any) -> bytes:
    """A value as the other side reads it."""
    return zlib.compress(json.dumps(value).encode(), 1)


def packed_code() -> bytes:
    """All that the concerns are made of."""
    folder = Path(zctl_look.__file__).parent
    code = packed({path.stem: path.read_text(encoding="utf-8") for path in folder.glob("zctl_*.py")})
    return f"{len(code)}\n".encode() + code


CODE = packed_code()  # once, before Ansible forks for the hosts


class ActionModule(ActionBase):
    """The action zctl_look."""

    _requires_connection = True
    _VALID_ARGS = frozenset(OPTIONS)

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Look, and tell what was seen as a module in check mode would."""
        outcome: Json = super().run(tmp, task_vars)
        arguments = {"scope": None, **self._task.args}
        wants_fail = arguments.pop("fail", True)
        storage = (arguments["state"].get("storage") or {}) if "storage" in arguments["steps"] else {}
        arguments |= {"sources": read_sources(storage), "uploads": {}}
        python = str((task_vars or {}).get("ansible_python_interpreter") or "")
        command = [python if python.startswith("/") else PYTHON, *ALONE, f"exec({START!r})"]  # csh takes one line only
        answer = self._low_level_execute_command(shlex.join(command), in_data=CODE + packed(arguments))
        outcome.update(read_answer(answer))
        return ended(outcome, wants_fail)


def read_answer(answer: Json) -> Json:
    """What the host's Python said: a line of JSON, among whatever the shell's own files print before and after it."""
    for line in reversed(answer["stdout"].splitlines()) if answer["rc"] == 0 else ():
        if line.startswith("{"):
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "results" in said:
                return said  # type: ignore[no-any-return]
    return {
        "failed": True,
        "msg": "the host could not be looked at",
        "module_stdout": "" if answer["stderr"].strip() else answer["stdout"],
        "module_stderr": answer["stderr"],
        "rc": answer["rc"],
    }
