"""Public SSH keys: told from what is none, and made."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import subprocess

from zctl.errors import Invalid, ZctlError
from zctl.temporary import private_folder

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
PARTS = {"ssh-ed25519": 2, "ssh-rsa": 3, "sk-ssh-ed25519@openssh.com": 3, "sk-ecdsa-sha2-nistp256@openssh.com": 4}
ED25519_BYTES = 32
LEAST_RSA_BITS = 1024
LONGEST = 8192  # an RSA key of 16384 bits has 2800


def normal_key(text: str, label: str) -> str:
    """The key on one line: type, key, comment. Raises Invalid for what is no public key (RFC 4253, section 6.6)."""
    words = text.strip().split(None, 2)
    if len(text) > LONGEST:
        raise invalid(label, f"it has more than {LONGEST} characters", "give one public key")
    if "PRIVATE KEY" in text:
        raise invalid(label, "this is a private key", "give the file that ends in .pub")
    if len(text.strip().splitlines()) != 1 or len(words) < 2:
        raise invalid(label, "this is not one public key in OpenSSH's format", "such as ssh-ed25519 AAAA... me@there")
    kind, body = words[0], words[1]
    if kind not in TYPES:
        raise invalid(label, "its type is not known", "types: " + ", ".join(TYPES))
    try:
        blob = base64.b64decode(body, validate=True)
        parts = split_blob(blob)
    except (binascii.Error, ValueError, struct.error):
        raise invalid(label, "the key is damaged", "copy the whole line of the .pub file") from None
    if parts[0] != kind.encode() or len(parts) != PARTS.get(kind, 3) or not fits(kind, parts):
        raise invalid(label, f"the key is not a {kind} one, or damaged", "copy the whole line of the .pub file")
    comment = words[2].strip() if len(words) > 2 else ""
    if not comment.isprintable():
        raise invalid(label, "its comment holds control characters", "leave the comment out")
    return " ".join(filter(None, (kind, body, comment)))


def split_blob(blob: bytes) -> list[bytes]:
    """The strings that a key's blob consists of. Raises ValueError when they do not add up."""
    parts = []
    while blob:
        size = struct.unpack(">I", blob[:4])[0]
        if len(blob) < 4 + size:
            raise ValueError("it ends early")
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    if not parts:
        raise ValueError("it is empty")
    return parts


def fits(kind: str, parts: list[bytes]) -> bool:
    """Whether the numbers have the lengths that the type asks for."""
    if kind.endswith("ssh-ed25519") or kind.startswith("sk-ssh-ed25519"):
        return len(parts[1]) == ED25519_BYTES
    if kind == "ssh-rsa":
        return int.from_bytes(parts[2], "big").bit_length() >= LEAST_RSA_BITS
    return parts[1].startswith(b"nistp") and parts[2][:1] == b"\x04"


def invalid(label: str, what: str, remedy: str) -> Invalid:
    """The error for what is no key."""
    return Invalid(what, resource=label, remedy=remedy, field="public_key")


def fingerprint(key: str) -> str:
    """SHA256 fingerprint, as ssh-keygen -l prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def generate(comment: str) -> tuple[str, str]:
    """A new ed25519 pair: (private key, public key). It passes through a private folder that is gone afterwards."""
    with private_folder() as folder:
        path = folder / "key"
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        try:
            subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        except (FileNotFoundError, subprocess.CalledProcessError):
            raise ZctlError("ssh-keygen is not installed here", remedy="apt install openssh-client") from None
        return path.read_text(), path.with_suffix(".pub").read_text().strip()
