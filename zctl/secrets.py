"""Values encrypted at rest: ENC(...) in configuration files and in the inventory, and the key that opens them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zctl.errors import Conflict, Misuse, Refused
from zctl.files import open_lock
from zctl.ownership import give

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

SEALED = re.compile(r"ENC\(([A-Za-z0-9_=-]*)\)")
SYSTEM_KEY = Path("/etc/zctl/secret.key")
FILE_NAME = "secret.key"
CREDENTIAL = "zctl.secret.key"


def is_sealed(text: str) -> bool:
    """Whether a text holds an encrypted value."""
    return SEALED.search(text) is not None


def key_file(home: Path) -> Path:
    """Where the key lies: systemd's credential, else ZCTL_SECRET_KEY_FILE, else /etc/zctl, else the data folder."""
    if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder) / CREDENTIAL
        if credential.exists():
            return credential
    if given := os.environ.get("ZCTL_SECRET_KEY_FILE"):
        return Path(given)
    return SYSTEM_KEY if os.access(SYSTEM_KEY, os.R_OK) else home / FILE_NAME


@dataclass(frozen=True)
class Keyring:
    """The keys of a file, newest first: the first encrypts, all of them decrypt. It never shows a key."""

    path: Path
    _keys: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Keyring({self.path}, {len(self._keys)} keys)"

    @property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        try:
            return MultiFernet([Fernet(key) for key in self._keys])
        except ValueError:
            raise Refused(
                "it holds no key",
                resource=str(self.path),
                remedy="restore it from your backup; without one remove it, make a new key by zctl secret encrypt and "
                "encrypt all values anew",
            ) from None

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys themselves, for the rotation only."""
        return self._keys

    def require_keys(self) -> None:
        """Raise Refused when there is something in the file that is no key."""
        assert self._fernet

    def reseal(self, text: str) -> str:
        """A text in which every ENC(...) is encrypted anew by the newest key."""
        return SEALED.sub(lambda found: self.seal(self.open(found[0])), text)

    def seal(self, text: str) -> str:
        """ENC(...) of a text."""
        return f"ENC({self._fernet.encrypt(text.encode()).decode()})"

    def open(self, text: str) -> str:
        """The text of one ENC(...). Raises Refused when no key of the file opens it."""
        from cryptography.fernet import InvalidToken

        found = SEALED.fullmatch(text)
        if found is None:
            raise Misuse("it is not an ENC(...) value", remedy="zctl secret encrypt makes one")
        try:
            return self._fernet.decrypt(found[1].encode()).decode()
        except InvalidToken:
            raise Refused(
                "it does not open an encrypted value: that was made with another key, or was changed",
                resource=str(self.path),
                remedy="restore the key it was made with, or encrypt the value anew: zctl secret encrypt",
            ) from None


def make(home: Path) -> Keyring:
    """Make the key file unless there is one, and load it."""
    from cryptography.fernet import Fernet

    path = key_file(home)
    if not path.exists():
        write_keys(path, (Fernet.generate_key(),))
    return load(home)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only one who replaces the keys of a file. Raises Conflict at once while another process does."""
    path = path.resolve()
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = open_lock(lock)
    except BlockingIOError:
        raise Conflict("another process is replacing this key", resource=str(path), remedy="wait for it") from None
    except OSError as error:
        raise Refused(
            f"the key's lock cannot be opened: {error.strerror}",
            resource=str(lock),
            remedy="remove it if it is a link; else check its folder's owner",
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def write_keys(path: Path, keys: tuple[bytes, ...]) -> None:
    """Store keys, newest first: for the owner only, whole or not at all. A link stays; the file it leads to changes."""
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)  # of a killed process that had this number before
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(b"".join(key + b"\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            owner = path.stat()
            os.chown(part, owner.st_uid, owner.st_gid)
            part.rename(path)
        else:
            give(part)
            with suppress(FileExistsError):  # another process was faster: its key counts
                os.link(part, path)
    except OSError as error:
        raise Refused(
            f"the key file cannot be written: {error.strerror}", resource=str(path), remedy="check its folder's owner"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def load(home: Path) -> Keyring:
    """The keys in use. Raises Refused when there is none, or when others could read it."""
    path = key_file(home)
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        raise Refused(
            f"the key for encrypted values cannot be read: {error.strerror}",
            resource=str(path),
            remedy="restore it from your backup; without one zctl secret encrypt makes a new key, "
            "with which all values have to be encrypted anew",
        ) from None
    if stat.S_IMODE(mode) & 0o077 and path.name != CREDENTIAL:
        raise Refused(
            f"others than its owner can read this key (mode {stat.S_IMODE(mode):04o})",
            resource=str(path),
            remedy=f"chmod 600 {path}",
        )
    return Keyring(path, tuple(text.split()))


def opened(text: str, home: Path, quote: Callable[[str], str] = str) -> str:
    """A text with every ENC(...) in it replaced by its value; `quote` writes a value for the place where it stands."""
    if not is_sealed(text):
        return text
    keys = load(home)
    return SEALED.sub(lambda found: quote(keys.open(found[0])), text)
