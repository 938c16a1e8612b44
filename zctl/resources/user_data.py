"""User data as users write them, and as they are stored. Not a noun."""

from __future__ import annotations

import base64
import binascii
import hashlib

from zctl.errors import Invalid

MAX_BYTES = 16 * 1024
MARK = "base64:"


def read_user_data(text: str | None) -> str | None:
    """Text, or `base64:` and the bytes in base64, as it is stored: base64 without line ends. Nothing is None."""
    if not text:
        return None
    if not text.startswith(MARK):
        return base64.b64encode(text.encode()).decode()
    try:
        raw = base64.b64decode("".join(text[len(MARK) :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            "user_data begins with base64: but is not base64 behind it", resource="vm", field="user_data"
        ) from None
    return base64.b64encode(raw).decode() or None


def written(stored: str) -> str:
    """Stored user data as a manifest says them: as text where they are some."""
    raw = base64.b64decode(stored)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return MARK + stored
    is_plain = all(sign.isprintable() or sign in "\n\t" for sign in text) and not text.startswith(MARK)
    return text if is_plain else MARK + stored


def words_of(stored: str) -> str:
    """What may be shown of user data."""
    raw = base64.b64decode(stored)
    return f"{len(raw)} bytes, sha256:{hashlib.sha256(raw).hexdigest()[:16]}"


def require_fit(label: str, stored: str | None) -> None:
    """Raise Invalid for user data that no EC2 would take."""
    size = len(base64.b64decode(stored)) if stored else 0
    if size > MAX_BYTES:
        raise Invalid(
            f"its user data have {size} bytes, and {MAX_BYTES} is the most",
            resource=label,
            remedy="compress them with gzip, or let a small script fetch the rest",
            field="user_data",
        )
