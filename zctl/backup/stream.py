"""A dump's bytes on their way: compressed, encrypted when asked, summed up; and the same way back."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from zctl.errors import Invalid, Misuse, ZctlError

CHUNK = 1 << 20
LEVEL = 3


class Sink(Protocol):
    """What takes a dump's contents, in pieces."""

    def write(self, data: bytes, /) -> int:
        """Take a piece."""
        ...


class Counted:
    """Passes pieces on and keeps their size and SHA-256."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._sum = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass a piece on."""
        self._sum.update(data)
        self.size += len(data)
        return self._sink.write(data)

    @property
    def sha256(self) -> str:
        """Of everything so far, in hexadecimal."""
        return self._sum.hexdigest()


def child_environment() -> dict[str, str]:
    """The environment for programs that zctl starts for dumps: nothing of zctl's own settings, which hold passwords."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"}


@contextmanager
def packed(file: IO[bytes], recipients: tuple[str, ...] = ()) -> Iterator[Counted]:
    """Takes contents, writes them to a file compressed, and encrypted for these age recipients."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with encrypted(file, recipients) as inner, compressor.stream_writer(inner, closefd=False) as writer:
        yield Counted(writer)


@contextmanager
def encrypted(file: IO[bytes], recipients: tuple[str, ...]) -> Iterator[IO[bytes]]:
    """The file itself, or a pipe into it through age."""
    if not recipients:
        yield file
        return
    argv = [age(), "--encrypt", *(word for key in recipients for word in ("--recipient", key))]
    # A file for its words: a pipe that nobody reads could fill up and stop it.
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=file, stderr=words, env=child_environment()) as process,
    ):
        with fed(process) as stdin:
            yield stdin
        if process.wait() != 0:
            raise age_failed(words)


@contextmanager
def fed(process: subprocess.Popen[bytes]) -> Iterator[IO[bytes]]:
    """The input of a program, closed at the end. That it ended early is no error here: its exit code and words tell."""
    assert process.stdin is not None
    try:
        yield process.stdin
        process.stdin.close()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            process.stdin.close()
    except BaseException:
        process.kill()
        with suppress(OSError):
            process.stdin.close()
        raise


def age_failed(words: IO[bytes]) -> ZctlError:
    """The error for an age that did not do its work."""
    words.seek(0)
    said = words.read(2000).decode(errors="replace").replace("age: ", "").strip().splitlines()
    return ZctlError(
        f"age failed: {said[0] if said else 'without a word'}",
        remedy="check the recipients (age1..., ssh-ed25519 ...), the file with the identity, and free space",
    )


def age() -> str:
    """The program that encrypts. Raises Misuse when it is not installed."""
    found = shutil.which("age")
    if found is None:
        raise Misuse("encrypted dumps need the program age", remedy="apt install age")
    return found


@contextmanager
def unpacked(path: Path, identity: str = "", is_encrypted: bool = False) -> Iterator[IO[bytes]]:
    """The contents of a dump, to be read in pieces. Raises Invalid for what is cut off or no dump."""
    import zstandard

    with path.open("rb") as file, decrypted(file, identity, is_encrypted, path.name) as inner:
        try:
            with zstandard.ZstdDecompressor().stream_reader(inner, closefd=False) as reader:
                yield reader
        except zstandard.ZstdError as error:
            raise Invalid(f"it cannot be unpacked: {error}", resource=path.name, remedy="take another dump") from None


@contextmanager
def decrypted(file: IO[bytes], identity: str, is_encrypted: bool, name: str) -> Iterator[IO[bytes]]:
    """The file itself, or a pipe out of it through age."""
    if not is_encrypted:
        yield file
        return
    if not identity:
        raise Misuse(
            "it is encrypted",
            resource=name,
            remedy="give --identity FILE with age's private key, or set dump_identity in the configuration",
        )
    argv = [age(), "--decrypt", "--identity", identity]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=words, env=child_environment()) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
        except BaseException:
            if process.poll() in (None, 0):
                process.kill()
                raise
        process.stdout.close()
        if process.wait() != 0:
            raise age_failed(words)


def pieces(reader: IO[bytes]) -> Iterator[bytes]:
    """What a reader gives, piece by piece."""
    while piece := reader.read(CHUNK):
        yield piece


def file_sum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
