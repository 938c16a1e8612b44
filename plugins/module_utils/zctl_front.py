# SPDX-License-Identifier: Apache-2.0
"""The TLS reverse proxy before the API: an nginx of its own, with its own file and unit.

The distribution's nginx.service and its sites are not touched, nor are the nginx that tell VMs their metadata. Nothing
is put in the place of what runs before nginx itself has read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_front_plan as plan
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import (
        Trouble,
        answers,
        read_text,
        run,
        succeeds,
        write_text,
    )
except ImportError:
    import zctl_front_plan as plan  # type: ignore[no-redef]
    from zctl_system import (  # type: ignore[no-redef]
        Trouble,
        answers,
        read_text,
        run,
        succeeds,
        write_text,
    )

Json = dict[str, Any]
CONFIG, FOLDER, SELF_MADE = Path(plan.CONFIG), Path(plan.FOLDER), Path(plan.SELF_MADE)
TO_TRUST = FOLDER / "self-made.crt"  # the certificate alone, for those who are to trust it
UNIT = Path("/etc/systemd/system") / plan.UNIT
WANTED = Path("/etc/systemd/system/multi-user.target.wants") / plan.UNIT
LOGROTATE = Path("/etc/logrotate.d/zctl-front")
LOADED = Path(plan.RUN) / "loaded"  # the digest of the file that nginx has read; its unit writes it
NGINX = Path("/usr/sbin/nginx")
HAS_IPV6 = Path("/proc/net/if_inet6")
WORKERS = ("www-data", "nginx", "nobody")  # the first that there is
PATIENCE = 10.0  # seconds until a start or reload shows
DAYS = 825  # the longest that browsers take
RENEW = 30 * 86400  # seconds before its end in which a self-made certificate is made anew
WARN = 14 * 86400


@dataclass(frozen=True)
class Wanted:
    """What is to be: settings, and nginx's file made of them."""

    front: plan.Front
    config: str


def missing_packages() -> list[str]:
    """What has to be installed first."""
    return [name for name, path in (("nginx", str(NGINX)), ("openssl", "openssl")) if shutil.which(path) is None]


def converge(values: Json, check: bool) -> Json:
    """Make the proxy as the variables say. Raises Trouble; what runs then runs on as it was."""
    front = plan.parse_front(values)
    missing = missing_packages()
    if missing:
        return {"changed": check, "differences": ["packages"], "missing_packages": missing, "family": family()}
    said = subprocess.run([str(NGINX), "-v"], capture_output=True, text=True, check=False).stderr
    wanted = Wanted(front, plan.render(front, worker(), HAS_IPV6.exists(), plan.parse_version(said)))
    if not front.is_self_made:
        load_pair(*front.pair)
    refuse_taken_ports(front)
    before = read_text(CONFIG) or ""
    found = differences(wanted)
    headers = {"before_header": str(CONFIG), "after_header": str(CONFIG)}
    answer: Json = {"changed": bool(found), "differences": found, "warnings": aging(front)}
    answer["diff"] = {"before": before, "after": wanted.config, **headers}
    if found and not check:
        apply(wanted, before)
    return answer


def family() -> str:
    """Whose package manager the host has."""
    return "debian" if Path("/etc/debian_version").exists() else "redhat"


def worker() -> str:
    """Whom nginx's workers run as, by the distribution."""
    for name in WORKERS:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Trouble(f"there is none of the users {', '.join(WORKERS)}: install nginx anew")


def differences(wanted: Wanted) -> list[str]:
    """What is not as wanted, in words."""
    found = []
    if wanted.front.is_self_made and not fits(wanted.front):
        found.append("certificate")
    if not wanted.front.is_self_made and SELF_MADE.exists():
        found.append("self-made certificate, which is not needed")
    if read_text(CONFIG) != wanted.config:
        found.append(CONFIG.name)
    elif is_active():
        if (read_text(LOADED) or "").split(" ")[0] != digest(wanted.config):
            found.append("settings that nginx has read")
        if served(wanted.front) != certificate_of(wanted.front):
            found.append("certificate that nginx has read")
    if read_text(UNIT) != plan.UNIT_TEXT:
        found.append(UNIT.name)
    if not WANTED.is_symlink():
        found.append(f"{UNIT.name}.enabled")
    if not is_active():
        found.append(f"{UNIT.name}.active")
    if LOGROTATE.parent.is_dir() and read_text(LOGROTATE) != plan.LOGROTATE:
        found.append(str(LOGROTATE))
    return found


def is_active() -> bool:
    """Whether our nginx runs."""
    return answers(["systemctl", "is-active", UNIT.name]) == ["active"]


def digest(text: str) -> str:
    """As sha256sum prints it."""
    return hashlib.sha256(text.encode()).hexdigest()


# --- ports ------------------------------------------------------------------------------------------------------------
def refuse_taken_ports(front: plan.Front) -> None:
    """Raises Trouble when somebody else listens where we are to."""
    if shutil.which("ss") is None:
        return
    main = answers(["systemctl", "show", "--property=MainPID", "--value", UNIT.name])
    ours = int(main[0]) if main and main[0].isdigit() else 0
    taken = plan.holders(run(["ss", "-Hltnp"]), front, ours)
    if taken:
        raise Trouble(
            f"taken: {'; '.join(taken)} (stop that, or set front_addresses or front_http_port, front_https_port;"
            " Debian's own site goes with: systemctl disable --now nginx)"
        )


# --- certificates -----------------------------------------------------------------------------------------------------
def load_pair(certificate: str, key: str) -> None:
    """Raises Trouble when a certificate and a key cannot be read or do not belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except FileNotFoundError:
        gone = next((path for path in (certificate, key) if not Path(path).exists()), certificate)
        raise Trouble(f"{gone} is not on this host: put certificate and key there first") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Trouble(f"the key {key} does not belong to the certificate {certificate}") from None
        raise Trouble(f"{certificate} and {key} cannot be used (PEM, key without a password): {error}") from None
    mode = os.stat(key).st_mode & 0o777
    if mode & 0o007:  # a group may, as Debian's ssl-cert does
        raise Trouble(f"the key {key} can be read by everybody (mode {mode:04o}): chmod 600 {key}")


def certificate_of(front: plan.Front) -> bytes:
    """The host's certificate in its file; nothing when there is none."""
    text = read_text(Path(front.pair[0])) or ""
    begin, end = text.find("-----BEGIN CERTIFICATE-----"), text.find("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len("-----END CERTIFICATE-----")]) if begin >= 0 else b""


def served(front: plan.Front) -> bytes:
    """The certificate that a client is shown; nothing when nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = front.addresses[0] if front.addresses else "127.0.0.1"
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    try:
        with (
            socket.create_connection((address, front.https_port), timeout=5) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def fits(front: plan.Front) -> bool:
    """Whether the self-made certificate is there, is for exactly these names, and lasts a while."""
    try:
        load_pair(str(SELF_MADE), str(SELF_MADE))
    except (Trouble, OSError):
        return False
    shown = answers(["openssl", "x509", "-in", str(SELF_MADE), "-noout", "-ext", "subjectAltName"])
    names = {name.strip().replace("IP Address:", "IP:") for text in shown[1:] for name in text.split(",")}
    return names == openssl_names(front) and lasts(str(SELF_MADE), RENEW)


def openssl_names(front: plan.Front) -> set[str]:
    """The names as openssl shows them: IPv6 addresses in eight groups without leading zeros, in capitals."""
    found = set()
    for text in plan.subject_names(front).split(","):
        kind, _, name = text.partition(":")
        if plan.version_of(name) == 6:
            packed = socket.inet_pton(socket.AF_INET6, name)
            name = ":".join(f"{packed[at] << 8 | packed[at + 1]:X}" for at in range(0, 16, 2))
        found.add(f"{kind}:{name}")
    return found


def lasts(certificate: str, seconds: int) -> bool:
    """Whether a certificate is still valid then."""
    return succeeds(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(seconds)])


def aging(front: plan.Front) -> list[str]:
    """A given certificate that ends soon, in words."""
    if front.is_self_made or lasts(front.certificate, WARN):
        return []
    return [f"the certificate {front.certificate} ends within {WARN // 86400} days, or has ended: renew it"]


def make_certificate(front: plan.Front) -> None:
    """A key and a certificate signed by it, in one file that is private from its first byte."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER, prefix=".new-"))  # 0700
    try:
        key, certificate = folder / "key", folder / "certificate"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
             "-days", str(DAYS), "-subj", "/CN=zctl front", "-addext", f"subjectAltName={plan.subject_names(front)}",
             "-addext", "extendedKeyUsage=serverAuth", "-keyout", str(key), "-out", str(certificate)])  # fmt: skip
        load_pair(str(certificate), str(key))  # openssl does not notice a full disk
        public = read_text(certificate) or ""
        write_text(SELF_MADE, (read_text(key) or "") + public, 0o600)
        write_text(TO_TRUST, public)
    finally:
        shutil.rmtree(folder)


# --- making it so -----------------------------------------------------------------------------------------------------
def apply(wanted: Wanted, before: str) -> None:
    """Write what is wanted, and let nginx have it; it is started anew only where it has to be."""
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o755)
    if wanted.front.is_self_made and not fits(wanted.front):
        make_certificate(wanted.front)
    test(wanted.config)
    write_text(CONFIG, wanted.config)
    if not wanted.front.is_self_made:
        SELF_MADE.unlink(missing_ok=True)
        TO_TRUST.unlink(missing_ok=True)
    if LOGROTATE.parent.is_dir():
        write_text(LOGROTATE, plan.LOGROTATE)
    has_new_unit = write_text(UNIT, plan.UNIT_TEXT)
    if has_new_unit:
        run(["systemctl", "daemon-reload"])
    if not WANTED.is_symlink():
        run(["systemctl", "enable", "--quiet", UNIT.name])
    runs = is_active()
    if not runs:
        succeeds(["systemctl", "reset-failed", UNIT.name])  # it may have failed too often to be started
    moves = plan.listen_lines(before) != plan.listen_lines(wanted.config)
    run(["systemctl", "reload" if runs and not has_new_unit and not moves else "restart", UNIT.name])
    until = time.monotonic() + PATIENCE
    while served(wanted.front) != certificate_of(wanted.front):
        if time.monotonic() > until:
            raise Trouble(f"nginx does not answer with its certificate: journalctl -u {UNIT.name} says why")
        time.sleep(0.1)


def test(config: str) -> None:
    """Let nginx read a file before it takes the place of the one that runs. Raises Trouble with nginx's words."""
    for folder in (plan.RUN, plan.LOGS, plan.CACHE):
        Path(folder).mkdir(exist_ok=True, mode=0o755)
    candidate = FOLDER / ".nginx.conf.new"
    # Another pid file: reading alone already empties the one that is named.
    write_text(candidate, config.replace(f"{plan.RUN}/nginx.pid", f"{plan.RUN}/test.pid"))
    argv = [str(NGINX), "-e", "stderr", "-t", "-q", "-c", str(candidate)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, umask=0o077)  # it makes the log
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip() and "test failed" not in line]
            words = [re.sub(r"^.*?\[\w+\] (\d+#\d+: )?", "", line) for line in lines]  # without time and process
            raise Trouble(f"nginx refuses its settings: {'; '.join(words[-2:])}")
    finally:
        candidate.unlink(missing_ok=True)
        Path(f"{plan.RUN}/test.pid").unlink(missing_ok=True)


def remove(check: bool) -> Json:
    """Take away what this made; packages, given certificates and the logs stay."""
    paths = [path for path in (UNIT, CONFIG, SELF_MADE, TO_TRUST, LOGROTATE) if path.exists()]
    before = read_text(CONFIG) or ""
    found = [str(path) for path in paths] + ([f"{UNIT.name}.active"] if is_active() else [])
    headers = {"before_header": str(CONFIG), "after_header": str(CONFIG)}
    answer: Json = {"changed": bool(found), "differences": found, "diff": {"before": before, "after": "", **headers}}
    if check or not found:
        return answer
    if UNIT.exists() or is_active():
        run(["systemctl", "disable", "--quiet", "--now", UNIT.name])
    for path in paths:
        path.unlink(missing_ok=True)
    shutil.rmtree(plan.CACHE, ignore_errors=True)
    with contextlib.suppress(OSError):  # what somebody put there stays
        FOLDER.rmdir()
    run(["systemctl", "daemon-reload"])
    return answer
