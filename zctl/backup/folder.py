"""The folder of dumps: names, what lies there, one writer at a time, files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from zctl.backup.manifest import SUFFIX, Manifest, parse
from zctl.backup.stream import file_sum
from zctl.errors import Conflict, DatabaseError, Invalid, Misuse, Refused, ZctlError
from zctl.files import open_lock, sync_folder
from zctl.ownership import give

SYSTEM_FOLDER = Path("/var/lib/zctl/mysql-backup")
DEFAULT_PREFIX = "zctl-backup-db"
PREFIX_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PART = re.compile(r"\.(?P<name>.+)\.zctl-part")
LOCK = ".zctl-dump.lock"

Condition = Literal["good", "damaged", "cut off", "missing"]


@dataclass(frozen=True)
class Dump:
    """A dump in a folder: the path of its file, and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def manifest_path(self) -> Path:
        """Where its manifest lies."""
        return self.path.with_name(self.path.name + SUFFIX)

    def condition(self) -> Condition:
        """Whether the file is as it was written; reads all of it."""
        try:
            size = self.path.stat().st_size
            if size != self.manifest.size:
                return "cut off" if size < self.manifest.size else "damaged"
            return "good" if file_sum(self.path) == self.manifest.sha256 else "damaged"
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "damaged"


def default_folder(home: Path, configured: str = "") -> Path:
    """Where dumps go: as configured, else /var/lib/zctl/mysql-backup for root, else within the data folder."""
    if configured:
        return Path(configured)
    if "ZCTL_HOME" not in os.environ and os.geteuid() == 0:
        return SYSTEM_FOLDER
    return home / SYSTEM_FOLDER.name


def check_prefix(prefix: str) -> str:
    """The prefix, when it can be the beginning of a file's name. Raises Misuse."""
    if not PREFIX_RULE.fullmatch(prefix):
        raise Misuse(
            f"--file-name {prefix!r} cannot begin a file's name",
            remedy="letters, digits, '.', '_' and '-', at most 100, without a folder; --file-path names the folder",
        )
    return prefix


def file_name(prefix: str, moment: datetime, server: str, suffix: str, taken: set[str]) -> str:
    """PREFIX-TIME-SERVER with the suffix; two of one second differ by a number. Pure."""
    safe = re.sub(r"[^A-Za-z0-9.-]", "_", server)[:60] or "server"
    stem = f"{prefix}-{moment:%Y%m%dT%H%M%SZ}-{safe}"
    names = (f"{stem}{f'-{n}' if n else ''}{suffix}" for n in range(len(taken) + 1))
    return next(name for name in names if name not in taken)


def make(folder: Path) -> None:
    """Make the folder, private, unless it is there."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            give(folder)
    except OSError as error:
        raise DatabaseError(
            f"the folder for dumps cannot be made: {error.strerror}",
            resource=str(folder),
            remedy="give another one with --file-path, or make it and give it to this user",
        ) from None


def listed(folder: Path) -> tuple[list[Dump], list[str]]:
    """The dumps of a folder in the order of their times, and what is wrong with manifests.

    Others' files are passed over, and so are dumps that are half published or half removed.
    """
    found, problems = [], []
    if not folder.is_dir():
        return [], []
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(SUFFIX) or path.name.startswith(".") or not path.is_file():
            continue
        dump = path.with_name(path.name.removesuffix(SUFFIX))
        try:
            manifest = parse(path.read_bytes(), path.name)
        except OSError as error:
            problems.append(f"{path.name}: {error.strerror}")
            continue
        except Invalid as error:
            # A foreign .json file is nobody's manifest; one beside a file of its name was meant to be.
            problems += [f"{path.name}: {error.what}"] if dump.is_file() else []
            continue
        if manifest.file == dump.name and (dump.exists() or not part_of(folder, dump.name).exists()):
            found.append(Dump(dump, manifest))
    return sorted(found, key=lambda dump: (dump.manifest.started_at, dump.manifest.sequence)), problems


def find(folder: Path, name: str) -> Dump:
    """A dump by its path, or by its name in the folder. Raises Invalid for a file that is no dump with a manifest."""
    path = Path(name) if "/" in name else folder / name
    beside = path.with_name(path.name + SUFFIX)
    if not path.is_file():
        raise Misuse(f"there is no dump {path}", remedy="zctl db list-backups shows those in the folder")
    if not beside.is_file():
        raise Invalid(
            f"its manifest {beside.name} is missing",
            resource=str(path),
            remedy="copy it from where the dump comes from",
        )
    manifest = parse(beside.read_bytes(), beside.name)
    if manifest.file != path.name:
        raise Invalid(f"its manifest is of {manifest.file}", resource=str(path), remedy="keep both names as they were")
    return Dump(path, manifest)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder to ourselves. Raises Conflict at once when another process writes a dump there."""
    try:
        file = open_lock(folder / LOCK)
    except BlockingIOError:
        who = (folder / LOCK).read_bytes()[:20].decode(errors="replace").strip()
        raise Conflict(
            f"another dump is being written{f' by process {who}' if who else ''}",
            resource=str(folder),
            remedy="wait for it",
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(
                f"its lock {LOCK} is not zctl's: {error.strerror}", resource=str(folder), remedy="remove it"
            ) from None
        raise DatabaseError(
            f"the folder for dumps cannot be written: {error.strerror}",
            resource=str(folder),
            remedy="check its owner, mode and free space; --file-path names another one",
        ) from None
    try:
        with suppress(OSError):  # it is only told to people
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        tidy(folder)
        yield
    finally:
        os.close(file)


def tidy(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed. Only while we are alone there.

    A manifest whose file still, or again, has its hidden name is of a dump that was being published or removed.
    """
    for path in list(folder.iterdir()):
        if (found := PART.fullmatch(path.name)) and path.is_file():
            beside = folder / f"{found['name']}{SUFFIX}"
            if not (folder / found["name"]).exists() and is_manifest_of(beside, found["name"]):
                beside.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def is_manifest_of(path: Path, name: str) -> bool:
    """Whether a file is the manifest of the dump of that name."""
    try:
        return parse(path.read_bytes(), path.name).file == name
    except (OSError, Invalid):
        return False


def part_of(folder: Path, name: str) -> Path:
    """What a file is called while it is unfinished."""
    return folder / f".{name}.zctl-part"


@contextmanager
def draft(folder: Path, name: str) -> Iterator[tuple[IO[bytes], Path]]:
    """A private file under a name that says it is unfinished; it is gone at the end unless `publish` named it."""
    path = part_of(folder, name)
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w+b") as file:
            yield file, path
    except BrokenPipeError:
        raise  # a program that takes the contents has ended; who started it knows why
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        path.unlink(missing_ok=True)


def unwritable(folder: Path, error: OSError) -> ZctlError:
    """The error for a file that could not be written."""
    return DatabaseError(
        f"the dump cannot be written: {error.strerror}",
        resource=str(folder),
        remedy="free space there, or give another folder with --file-path; older dumps are untouched",
    )


def publish(folder: Path, path: Path, manifest: Manifest) -> Dump:
    """Give a finished file its name beside its manifest: each is on the disk before it can be seen.

    The manifest is first, so that no dump is ever without one.
    """
    dump = Dump(folder / manifest.file, manifest)
    beside = part_of(folder, dump.manifest_path.name)
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(manifest.text())
            file.flush()
            os.fsync(file.fileno())
        give(path)
        give(beside)
        beside.rename(dump.manifest_path)
        sync_folder(folder)
        path.rename(dump.path)
        sync_folder(folder)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if not dump.path.exists():
            dump.manifest_path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(folder, error) from error
        raise
    return dump


def remove(dump: Dump) -> None:
    """Delete a dump. Its file gets a hidden name first: killed in between, `tidy` takes the rest away."""
    part = part_of(dump.path.parent, dump.path.name)
    with suppress(FileNotFoundError):
        dump.path.rename(part)
    dump.manifest_path.unlink(missing_ok=True)
    part.unlink(missing_ok=True)
