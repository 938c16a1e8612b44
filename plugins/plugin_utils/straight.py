# SPDX-License-Identifier: Apache-2.0
"""Hands the concerns' own code to the host's Python through its standard input, and reads the answer.

A module would bring Ansible's module library with it, which takes the host as long to load as the work itself takes;
for hundreds of hosts, and for one VM, that is what the operator waits for.
"""

from __future__ import annotations

import json
import shlex
import zlib
from pathlib import Path
from typing import Any

from ansible_collections.zctl.cloud.plugins.module_utils import zctl_guests

Json = dict[str, Any]
PYTHON = "/usr/bin/python3"
ALONE = ("-I", "-c")  # it finds no module in the login user's home
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
__import__(args["begin"]).main(args)
"""


def packed(value: Any) -> bytes:
    """A value as the other side reads it."""
    return zlib.compress(json.dumps(value).encode(), 1)


def packed_code() -> bytes:
    """All that the concerns are made of."""
    folder = Path(zctl_guests.__file__).parent
    code = packed({path.stem: path.read_text(encoding="utf-8") for path in folder.glob("zctl_*.py")})
    return f"{len(code)}\n".encode() + code


CODE = packed_code()  # once, before Ansible forks for the hosts


def ask(action: Any, begin: str, arguments: Json, task_vars: Json | None) -> Json:
    """What `main(arguments)` of the module_utils named `begin` prints on the host of an action plugin."""
    python = str((task_vars or {}).get("ansible_python_interpreter") or "")
    command = [python if python.startswith("/") else PYTHON, *ALONE, f"exec({START!r})"]  # csh takes one line only
    data = CODE + packed({**arguments, "begin": begin})
    return read_answer(action._low_level_execute_command(shlex.join(command), in_data=data))


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
        "msg": "Python on the host did not get to an answer",
        "module_stdout": "" if answer["stderr"].strip() else answer["stdout"],
        "module_stderr": answer["stderr"],
        "rc": answer["rc"],
    }
