"""What a management node has: its folders and files. Pure but for reading the templates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

USER = "zctl"
HOME = Path("/var/lib/zctl")
LOGS = Path("/var/log/zctl")
SETTINGS = Path("/etc/zctl")
CONFIG_FILE = SETTINGS / "config.toml"
# Below /usr/local, so that an administrator's masks and drop-ins in /etc go first.
UNITS = Path("/usr/local/lib/systemd/system")
CRON_FILE = Path("/etc/cron.d/zctl")
LOGROTATE_FILE = Path("/etc/logrotate.d/zctl")
COMPLETIONS = {
    "bash": Path("/usr/share/bash-completion/completions/zctl"),
    "zsh": Path("/usr/share/zsh/vendor-completions/_zctl"),
    "fish": Path("/usr/share/fish/vendor_completions.d/zctl.fish"),
}
MARK = "# Made by zctl install, which writes it anew and removes it. Changes belong elsewhere."


@dataclass(frozen=True)
class Task:
    """Something done at set times: zctl's words, and when, for systemd (systemd.time(7)) and for cron."""

    name: str
    about: str
    words: str
    calendar: str
    cron: str
    accuracy: str = "1min"
    persistent: bool = True

    @property
    def timer(self) -> str:
        """The name of its timer."""
        return f"zctl-{self.name}.timer"

    @property
    def service(self) -> str:
        """The name of its service."""
        return f"zctl-{self.name}.service"


TASKS = (
    Task(
        "dump", "dump the inventory", "dump_mysql --keep-amount 14", "*-*-* 00,12:30:00", "30 0,12 * * *", accuracy="1s"
    ),
    Task(
        "drift",
        "compare the hosts with the inventory; fails when they differ",
        "plan --detailed-exitcode",
        "*-*-* 05:10:00",
        "10 5 * * *",
    ),
    Task("gc", "remove old jobs, events and files of runs", "gc", "*-*-* 04:40:00", "40 4 * * *"),
    Task(
        "watch",
        "give a sign of life, take over jobs of dead nodes",
        "management-node watch",
        "minutely",
        "* * * * *",
        accuracy="1s",
        persistent=False,
    ),
)


@dataclass(frozen=True)
class Folder:
    """A folder with its owner and mode."""

    path: Path
    mode: int
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class File:
    """A file with its text, owner and mode. One that is `theirs` is made when it is missing and then never changed."""

    path: Path
    text: str
    mode: int = 0o644
    group: str = "root"
    theirs: bool = False


@dataclass(frozen=True)
class Choice:
    """How the node is wanted: where zctl lies, by cron or by systemd, and what the services may use."""

    program: Path
    cron: bool = False
    credential: str = ""
    home: Path = HOME
    writable: tuple[Path, ...] = ()
    completions: tuple[tuple[str, str], ...] = ()


def wanted_folders(choice: Choice) -> list[Folder]:
    """The folders, outer ones first.

    Others may pass through the first two, but not look into them: on a machine that is a host too, its disks and the
    files of its networks' services lie below them.
    """
    return [
        Folder(SETTINGS, 0o751, group=USER),
        Folder(choice.home, 0o711, USER, USER),
        Folder(LOGS, 0o750, USER, USER),
    ]


def wanted_files(choice: Choice) -> list[File]:
    """The files, in the order they are written."""
    files = [
        File(CONFIG_FILE, rendered("config.toml", home=choice.home, user=USER), 0o640, USER, theirs=True),
        File(LOGROTATE_FILE, rendered("logrotate", logs=LOGS, user=USER)),
    ]
    files += [File(COMPLETIONS[shell], marked(text)) for shell, text in choice.completions]
    if choice.cron:
        return [*files, File(CRON_FILE, rendered("cron", tasks=TASKS, user=USER, program=choice.program))]
    for task in TASKS:
        service = rendered(
            "task.service",
            task=task,
            program=choice.program,
            user=USER,
            credential=choice.credential,
            writable=[str(choice.home), str(LOGS), *(f"-{path}" for path in choice.writable)],
        )
        files += [File(UNITS / task.service, service), File(UNITS / task.timer, rendered("task.timer", task=task))]
    return files


def all_paths() -> list[Path]:
    """Every path that `wanted_files` may name for some choice."""
    units = [UNITS / name for task in TASKS for name in (task.service, task.timer)]
    return [CONFIG_FILE, LOGROTATE_FILE, *COMPLETIONS.values(), CRON_FILE, *units]


def marked(text: str) -> str:
    """The text with the mark on top; below the line by which zsh knows its completions."""
    first, _, rest = text.strip().partition("\n")
    if first.startswith("#compdef"):
        return f"{first}\n{MARK}\n{rest}\n"
    return f"{MARK}\n{text.strip()}\n"


def is_ours(text: str) -> bool:
    """Whether a file was made by zctl."""
    return MARK in text.splitlines()[:2]


@cache
def templates() -> Environment:
    """The texts of the files."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the texts are no HTML
    )


def rendered(name: str, **values: Any) -> str:
    """The text of one file."""
    return templates().get_template(f"{name}.j2").render(mark=MARK, **values)
