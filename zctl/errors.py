"""The few kinds of error that zctl raises: what happened, to which resource, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZctlError(Exception):
    """Base of all errors meant for the user.

    `what` says what happened, `resource` names the thing it happened to ("vm web-1"), `remedy` what to do next,
    `field` which of its fields is meant, by the name that users write.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, what: str, *, resource: str = "", remedy: str = "", field: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.resource = resource
        self.remedy = remedy
        self.field = field

    def __str__(self) -> str:
        head = f"{self.resource}: {self.what}" if self.resource else self.what
        return f"{head} ({self.remedy})" if self.remedy else head

    def as_dict(self) -> dict[str, str]:
        """The error as plain values, for JSON output and job records."""
        return {"code": self.code, "resource": self.resource, "what": self.what, "remedy": self.remedy}


class Misuse(ZctlError):
    """The command itself is wrong: nothing was tried."""

    code = "misuse"
    exit_code = 2


class Invalid(ZctlError):
    """A value given by the user is not legal."""

    code = "invalid"
    exit_code = 2


class NotFound(ZctlError):
    """A name or UUID leads to nothing (or to more than one thing)."""

    code = "not-found"


class Refused(ZctlError):
    """The request is well formed, but a rule or the present state forbids it."""

    code = "refused"


class NotYet(Refused):
    """It cannot be decided before hosts that are new, or do not answer, have been looked at."""

    code = "not-yet"


class Conflict(ZctlError):
    """Somebody else changed or holds the thing: trying again may succeed."""

    code = "conflict"


class DatabaseError(ZctlError):
    """The inventory cannot be read or written."""

    code = "database"


class HostError(ZctlError):
    """A host could not be reached, or what was to be done on it failed."""

    code = "host"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'did you mean x?' for a mistyped word, or an empty string when nothing comes close."""
    near = difflib.get_close_matches(word, sorted(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
