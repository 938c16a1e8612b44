"""One run of ansible-runner over all hosts concerned."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zctl.errors import HostError
from zctl.run.connection import forget_connection
from zctl.run.content import CONTENT
from zctl.run.explain import explain_result, explain_text
from zctl.run.render import write_private, write_run
from zctl.run.values import HostResult, HostRun, Result

ATTEMPTS = 3
LASTING = ("login is refused", "not the pinned one", "cannot be resolved", "private key", "sudo", "python3")
KEPT_FOLDERS = 10
OWNER_VARIABLE = "ZCTL_OWNER"
# What a kept run's inventory must not show; `look_state` is a whole state, `packed` are rows, as one text each.
SECRET_VARIABLES = {"user_data", "ansible_become_password", "look_state", "packed", "packed_shared"}
OWNER_FILE = "owner"
"""In a run's folder: who works in it. Gone when the folder is kept for people to look at."""
Watcher = Callable[[str, str], None]


@dataclass(frozen=True)
class Settings:
    """How to run: the folder for private files, who runs it (all its processes carry that), hosts at a time, check
    mode, whether to keep everything for a look.
    """

    folder: Path
    owner: str = ""
    forks: int = 20
    check: bool = False
    keep: bool = False


def execute(runs: list[HostRun], settings: Settings, watch: Watcher) -> dict[str, HostResult]:
    """Bring hosts to their states; returns a result for each host id. Never raises for what goes wrong on a host.

    A host that cannot be reached is tried again, over a new connection: one missed call is not a dead host.
    """
    found = attempt(runs, settings, watch)
    for _ in range(ATTEMPTS - 1):
        missed = [
            run for run in runs if found[run.connection.uuid].unreachable and may_pass(found[run.connection.uuid])
        ]
        if not missed:
            break
        for run in missed:
            forget_connection(run.connection)
        found |= attempt(missed, settings, watch)
    return found


def may_pass(result: HostResult) -> bool:
    """Whether trying again can help: not against a refused login or a wrong key."""
    return not any(words in result.unreachable for words in LASTING)


def attempt(runs: list[HostRun], settings: Settings, watch: Watcher) -> dict[str, HostResult]:
    """One run of ansible-runner."""
    import ansible_runner

    folder = settings.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    write_run(folder, runs)
    write_private(folder / OWNER_FILE, settings.owner)
    collector = Collector(runs, watch)
    command = ["--forks", str(settings.forks)] + (["--check", "--diff"] if settings.check else [])
    runner = ansible_runner.run(
        private_data_dir=str(folder),
        playbook="converge.yml",
        cmdline=" ".join(command),
        quiet=True,
        envvars=environment(folder, settings.owner),
        event_handler=collector.take,
        settings={"suppress_env_files": True},
    )
    collector.finish(runner.status, folder)
    tidy(settings, folder, keep=settings.keep or not all(result.ok for result in collector.hosts.values()))
    return collector.hosts


def environment(folder: Path, owner: str) -> dict[str, str]:
    """Ansible's settings for the run; a user's own ansible.cfg does not count."""
    own = str(Path(sys.executable).parent)
    config = folder / "ansible.cfg"
    config.write_text("[defaults]\n")
    return {
        "PATH": f"{own}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        OWNER_VARIABLE: owner,
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": str(CONTENT),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "ANSIBLE_VARS_ENABLED": "",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s",
        "ANSIBLE_SSH_RETRIES": "0",
        "ANSIBLE_TIMEOUT": "8",
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_NO_TARGET_SYSLOG": "true",  # a module's arguments are the host's whole state
        "LC_ALL": "C.UTF-8",
    }


class Collector:
    """Listens to a run's events and sorts the results by host."""

    def __init__(self, runs: list[HostRun], watch: Watcher) -> None:
        self.hosts = {run.connection.uuid: HostResult(run.connection.name) for run in runs}
        self.watch = watch
        self.said: list[str] = []

    def take(self, event: dict[str, Any]) -> bool:
        """Handle one event; False tells ansible-runner not to store it on disk."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        host = self.hosts.get(data.get("host", ""))
        if host is None:
            if kind in ("error", "verbose", "warning", "") and event.get("stdout"):
                self.said.append(str(event["stdout"]))
            return False
        answer = data.get("res") or {}
        if kind == "runner_on_unreachable":
            host.unreachable = explain_result(answer)
            self.watch(host.host, "unreachable")
        elif kind == "runner_on_failed" and not data.get("ignore_errors"):
            before = len(host.results)
            self.absorb(host, str(data.get("role") or ""), answer)
            if answer.get("trouble"):
                host.failure = str(answer["trouble"])[:1000]
            elif not any(entry.result == "failed" for entry in host.results[before:]):
                host.failure = explain_result(answer)
        elif kind == "runner_on_ok":
            self.absorb(host, str(data.get("role") or ""), answer)
        elif kind == "runner_on_start" and data.get("role"):
            self.watch(host.host, str(data["role"]).rpartition(".")[2])
        return False

    def absorb(self, host: HostResult, role: str, answer: dict[str, Any]) -> None:
        """Take the per-resource results out of a module's answer."""
        concern = role.rpartition(".")[2]
        entries = answer.get("results")
        if not isinstance(entries, list):
            return
        for entry in entries:
            if isinstance(entry, dict) and "uuid" in entry:
                host.results.append(
                    Result(
                        entry["uuid"],
                        entry.get("kind", ""),
                        entry.get("name", ""),
                        entry["result"],
                        entry.get("reason") or "",
                        entry.get("observed") or {},
                        entry.get("concern") or concern,
                        entry.get("differences") or [],
                    )
                )
        host.foreign += answer.get("foreign_things") or []
        if isinstance(answer.get("observed"), list):
            host.observed["vm"] = answer["observed"]
        if answer.get("diff"):
            host.diffs += answer["diff"] if isinstance(answer["diff"], list) else [answer["diff"]]
        host.done |= set(answer.get("steps") or [concern])

    def finish(self, status: str, folder: Path) -> None:
        """A run that ended without a word from a host is a failure of that host, with the cause that Ansible gave."""
        if status == "successful":
            return
        output = "\n".join(self.said)
        for stdout in folder.glob("artifacts/*/stdout"):
            output += stdout.read_text(errors="replace")
        for host in self.hosts.values():
            if host.ok and not host.done:
                host.failure = f"the run ended early: {explain_text(output)}"


def tidy(settings: Settings, folder: Path, *, keep: bool) -> None:
    """Remove the run's folder, or keep it and the last few others. What is kept holds no secrets."""
    if keep:
        forget_secrets(folder)
        (folder / OWNER_FILE).unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    kept = sorted(path for path in settings.folder.iterdir() if path.is_dir())
    for old in kept[:-KEPT_FOLDERS]:
        shutil.rmtree(old, ignore_errors=True)


def forget_secrets(folder: Path) -> None:
    """Take passwords, and user data, which often hold some, out of the files of a run."""
    path = folder / "inventory" / "hosts.json"
    if path.is_file():
        write_private(path, json.dumps(without_secrets(json.loads(path.read_text()))))


def is_secret(name: str) -> bool:
    """Whether a variable of that name holds what must not be kept."""
    return name in SECRET_VARIABLES or name.endswith("_secrets")


def without_secrets(value: Any) -> Any:
    """A value with the secret variables in it left out, at any depth."""
    if isinstance(value, dict):
        return {
            key: "(left out)" if entry and is_secret(key) else without_secrets(entry) for key, entry in value.items()
        }
    return [without_secrets(entry) for entry in value] if isinstance(value, list) else value


def require_ansible() -> None:
    """Raise HostError when ansible-playbook is not where zctl is."""
    if shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") is None:
        raise HostError(
            "ansible-playbook is not installed", remedy="pip install zctl installs it; check the environment"
        )


def end_leftovers(owner: str) -> int:
    """Kill what a dead zctl process left running here, so that it cannot go on with a state of yesterday.

    Returns how many processes that were. They are known by the owner in their environment.
    """
    return end_processes(lambda found: found == owner)


def end_processes(choose: Callable[[str], bool]) -> int:
    """Kill the processes here that carry an owner for which `choose` says yes; returns how many that were."""
    mark = f"{OWNER_VARIABLE}="
    count = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = path.read_text(errors="replace").split("\0")
            owners = [word.removeprefix(mark) for word in words if word.startswith(mark)]
            if any(map(choose, owners)):
                os.kill(int(path.parent.name), signal.SIGKILL)
                count += 1
        except (OSError, ValueError):
            continue  # it has ended meanwhile, or is not ours
    return count
