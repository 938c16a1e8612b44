"""From what Ansible and ssh say to what is the matter: cause and remedy. Pure."""

from __future__ import annotations

import re
from typing import Any

CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "its SSH host key is not the pinned one: either the machine was reinstalled or somebody stands between"
        " (compare the key at the machine's console, then zctl host update NAME --host-key KEY)",
    ),
    (
        r"Permission denied \(([a-z0-9,-]*)\)",
        "the login is refused: user or key is wrong (check --user and --key, and authorized_keys on the host)",
    ),
    (r"Permission denied, please try again", "the login is refused: user or key is wrong (check --user and --key)"),
    (r"Identity file .* not accessible|no such identity", "the private key file cannot be read (check --key)"),
    (
        r"bad permissions|UNPROTECTED PRIVATE KEY",
        "ssh refuses the private key because others can read it (chmod 600 it)",
    ),
    (r"Connection refused", "nothing listens on its SSH port (is sshd running, is --port right?)"),
    (
        r"Connection timed out|Operation timed out|timed out",
        "it does not answer (is it up, is the network between them up?)",
    ),
    (r"No route to host|Network is unreachable", "there is no way to it (is it up, is the address right?)"),
    (r"Could not resolve hostname", "its name cannot be resolved (check --address)"),
    (
        r"Missing sudo password|a password is required|sudo: a terminal is required|no tty present|sudo.*incorrect",
        "sudo asks its user for a password (allow it in /etc/sudoers.d: USER ALL=(ALL) NOPASSWD: ALL)",
    ),
    (
        r"is not in the sudoers file|may not run sudo",
        "its user may not use sudo (add it to sudoers, or use --user root)",
    ),
    (r"sudo: (command )?not found|sudo.*No such file", "sudo is not installed there (install it, or use --user root)"),
    (
        r"/usr/bin/python3: (not found|No such file)|python3: not found|interpreter.*not found",
        "there is no /usr/bin/python3 on it (install python3)",
    ),
    (r"No space left on device", "its disk is full (free some space, see df -h)"),
    (r"Read-only file system", "its file system is read-only (see dmesg for disk errors, then remount)"),
    (
        r"the role '([^']*)' was not found|couldn't resolve module",
        "zctl's roles are not where they should be (install zctl again)",
    ),
    (
        r"Connection (reset|closed)|Broken pipe|kex_exchange_identification",
        "it closed the connection (is it restarting? see its sshd log)",
    ),
)


UNAVAILABLE = "(traceback unavailable)"


def explain_text(text: str) -> str:
    """The cause behind a message, or its last meaningful line when it is an unknown one."""
    for pattern, words in CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return words
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("Warning:", "debug"))]
    return lines[-1][:500] if lines else "it failed without a word"


def explain_result(result: dict[str, Any]) -> str:
    """The cause in a failed task's result: module errors carry theirs in msg, crashes in module_stderr."""
    parts = [str(result.get(key) or "") for key in ("msg", "module_stderr", "stderr", "module_stdout", "exception")]
    parts = [part for part in parts if part != UNAVAILABLE]
    whole = "\n".join(part for part in parts if part)
    for pattern, words in CAUSES:
        if re.search(pattern, whole, re.IGNORECASE) and "module_stderr" in result:
            return words
    return (
        explain_text(whole)
        if "module_stderr" in result or "exception" in result
        else explain_msg((parts or [""])[0], whole)
    )


def explain_msg(message: str, whole: str) -> str:
    """A module's own message is already plain; only the wrapping of ssh and sudo needs a look."""
    if re.search(r"ssh|sudo|connect|UNREACHABLE|become", message, re.IGNORECASE) or not message:
        return explain_text(whole)
    return message[:1000]
