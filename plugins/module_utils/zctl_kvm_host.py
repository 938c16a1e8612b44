"""Makes a machine ready to run VMs, as far as that needs no packages, and says in plain words what is missing."""

from __future__ import annotations

import os
import subprocess
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_facts as facts
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_packages as packages
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_virt as virt
except ImportError:
    import zctl_kvm_host_facts as facts  # type: ignore[no-redef]
    import zctl_kvm_host_packages as packages  # type: ignore[no-redef]
    import zctl_kvm_host_virt as virt  # type: ignore[no-redef]

Json = dict[str, Any]
SYSCTL_FILE = "/etc/sysctl.d/90-zctl.conf"
SYSCTL = {"net.ipv4.ip_forward": "1"}
# Monolithic first: where both are installed, the distribution has left that one enabled.
_DAEMONS = (("libvirtd", ("libvirtd.service",)), ("virtqemud", ("virtqemud.socket", "virtlogd.socket")))
LIBVIRT_URI = "qemu:///system"


def render_sysctl(values: dict[str, str]) -> str:
    """The file for sysctl.d."""
    lines = [f"{key} = {value}" for key, value in sorted(values.items())]
    return "\n".join(["# Made by zctl: routing for the networks of its VMs.", *lines, ""])


def converge(state: Json, host: Json, read_only: bool, check: bool, require_packages: bool) -> Json:
    """Probe the host and, unless `read_only` or in check mode, set what it needs.

    Returns changed, results (one), missing_packages and family. Missing packages make the result fail only with
    `require_packages`: before that, the role installs them.
    """
    change = not (read_only or check)
    observed = facts.read_machine()
    missing = packages.missing_packages(observed["os"]["family"])
    problems = _basic_problems(observed)
    done: list[str] = []
    if observed["root"]:
        done += _apply_sysctl(change)
    versions, trouble = read_libvirt()
    if trouble and not missing and observed["root"]:
        started, problem = _start_libvirt(change)
        done += started
        if change:
            versions, trouble = read_libvirt()
        if trouble:
            problems.append(problem or trouble)
    verdict = virt.read_verdict(store=change)
    wanted = state.get("virt_type", "auto")
    if verdict.virt_type is None and "qemu-img" not in " ".join(missing) and not missing:
        problems.append(f"no VM can run on this host: {verdict.reason}")
    if wanted == "kvm" and verdict.virt_type == "qemu":
        problems.append(
            f"the host is to use hardware virtualization, which does not work here ({verdict.reason}); set its"
            " virtualization type to auto or qemu, or enable VT-x/AMD-V in the firmware"
        )
    observed.update(
        versions,
        virt_type=verdict.virt_type if wanted == "auto" else wanted,
        virt_reason=verdict.reason,
        python_libvirt="python3-libvirt" not in missing,
        missing_packages=missing,
        family=observed["os"]["family"],
    )
    if missing and (read_only or (require_packages and not check)):
        problems.append(f"packages are missing: {', '.join(missing)}; the role kvm_host installs them")
    observed["problems"] = problems
    result, reason = _outcome(problems, done, missing, read_only)
    entry = {"uuid": host["uuid"], "kind": "host", "name": host["name"], "result": result, "reason": reason}
    words = "" if read_only else "".join(f"{text}\n" for text in [*_package_words(missing), *done])
    return {
        "diff": [{"before_header": "host", "after_header": "host", "before": "", "after": words}] if words else [],
        "changed": result == "changed" or (bool(done) and change),
        "results": [{**entry, "observed": observed}],
        "missing_packages": missing,
        "family": observed["os"]["family"],
    }


def _package_words(missing: list[str]) -> list[str]:
    return [f"packages to install: {', '.join(missing)}"] if missing else []


def _outcome(problems: list[str], done: list[str], missing: list[str], read_only: bool) -> tuple[str, str]:
    if problems:
        return "unchanged" if read_only else "failed", "; ".join(problems)
    if read_only:
        return "unchanged", f"only read; would do: {', '.join(done)}" if done else "only read"
    if missing:
        return "changed", _package_words(missing)[0]
    if done:
        return "changed", ", ".join(done)
    return "unchanged", "already as wanted"


def _basic_problems(observed: Json) -> list[str]:
    problems = []
    if not observed["root"]:
        problems.append(
            f"the user {observed['user']} is not root and sudo was not used; connect as root, or let him use sudo"
            " without a password ('NOPASSWD' in /etc/sudoers.d)"
        )
    if observed["arch"] != "x86_64":
        problems.append(f"the machine is {observed['arch']}; zctl runs VMs on x86_64 only so far")
    if not observed["os"]["family"]:
        problems.append(
            f"{observed['os']['name'] or 'this system'} is neither of the Debian nor of the Red Hat family; its"
            " packages must be installed by hand"
        )
    if observed["nics"] is None and os.path.exists("/usr/sbin/ip"):
        problems.append("the NICs cannot be read: 'ip -j address' failed; a newer iproute2 is needed")
    return problems


def read_libvirt() -> tuple[Json, str]:
    """libvirt's and QEMU's versions as libvirt answers, and why it does not (an empty text when it does)."""
    none: Json = {"libvirt_version": None, "qemu_version": None}
    try:
        import libvirt
    except ImportError:
        return none, "python3-libvirt is not installed"
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open(LIBVIRT_URI)
    except libvirt.libvirtError as error:
        return none, f"libvirt does not answer: {error}"
    try:
        return {
            "libvirt_version": _version(connection.getLibVersion()),
            "qemu_version": _version(connection.getVersion()),
        }, ""
    except libvirt.libvirtError as error:
        return none, f"libvirt cannot use QEMU: {error}"
    finally:
        connection.close()


def _version(number: int) -> str:
    """libvirt's version number (major * 1,000,000 + minor * 1,000 + release) as text."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


def _apply_sysctl(change: bool) -> list[str]:
    """Write the settings now and for the next boot; returns what was (or would be) changed."""
    done = []
    text = render_sysctl(SYSCTL)
    try:
        with open(SYSCTL_FILE, encoding="utf-8") as source:
            current = source.read()
    except OSError:
        current = ""
    if current != text:
        done.append(f"{SYSCTL_FILE} written")
        if change:
            os.makedirs(os.path.dirname(SYSCTL_FILE), exist_ok=True)
            with open(f"{SYSCTL_FILE}.new", "w", encoding="utf-8") as out:
                out.write(text)
            os.rename(f"{SYSCTL_FILE}.new", SYSCTL_FILE)
    for key, value in SYSCTL.items():
        path = "/proc/sys/" + key.replace(".", "/")
        try:
            with open(path, encoding="ascii") as source:
                now = source.read().strip()
            if now != value:
                done.append(f"{key} set to {value}")
                if change:
                    with open(path, "w", encoding="ascii") as out:
                        out.write(value)
        except OSError:
            continue  # not in this kernel: whoever needs it says so
    return done


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)


def _start_libvirt(change: bool) -> tuple[list[str], str]:
    """Enable and start the libvirt that is installed; returns what was done and what went wrong."""
    if not os.path.isdir("/run/systemd/system"):
        return [], "libvirt does not answer and systemd does not run here; start libvirtd yourself"
    for program, units in _DAEMONS:
        if not os.access(f"/usr/sbin/{program}", os.X_OK):
            continue
        if not change:
            return [f"{program} started"], ""
        done = _systemctl("enable", "--now", *units)
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            return [], f"{program} does not start: {why[0]}; see 'journalctl -u {program}'"
        return [f"{program} enabled and started"], ""
    return [], "neither libvirtd nor virtqemud is installed"
