"""Makes a machine ready to run VMs, as far as that needs no packages, and says in plain words what is missing."""

from __future__ import annotations

import os
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_daemon as daemon
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_facts as facts
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_packages as packages
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host_virt as virt
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_results as results
except ImportError:
    import zctl_kvm_host_daemon as daemon  # type: ignore[no-redef]
    import zctl_kvm_host_facts as facts  # type: ignore[no-redef]
    import zctl_kvm_host_packages as packages  # type: ignore[no-redef]
    import zctl_kvm_host_virt as virt  # type: ignore[no-redef]
    import zctl_results as results  # type: ignore[no-redef]

Json = dict[str, Any]
SYSCTL_FILE = "/etc/sysctl.d/90-zctl.conf"
SYSCTL = {"net.ipv4.ip_forward": "1"}
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
    missing = packages.missing_packages(observed["os"]["family"], state)
    problems = _basic_problems(observed)
    done: list[str] = []
    differences = [results.difference(f"package {name}", None, "installed") for name in missing]
    if observed["root"]:
        wrong = sysctl_differences()
        differences += wrong
        done = _mend_sysctl(wrong, change)
    versions, trouble = read_libvirt()
    if not missing and observed["root"]:
        wrong = daemon.differences(trouble)
        differences += wrong
        started, problem = daemon.start(change, bool(trouble)) if wrong else ([], "")
        done += started
        if trouble and change:
            versions, trouble = read_libvirt()
        if problem or (trouble and (change or read_only)):  # a check tells of it as of something to mend
            problems.append(problem or trouble)
    verdict = virt.read_verdict(store=change)
    wanted = state.get("virt_type", "auto")
    if verdict.virt_type is None and "qemu-img" not in " ".join(missing) and not missing:
        problems.append(f"no VM can run on this host: {verdict.reason}")
    if wanted == "kvm" and verdict.virt_type == "qemu":
        differences.append(results.difference("virt_type", "qemu", "kvm"))
        problems.append(
            f"the host is to use hardware virtualization, which does not work here ({verdict.reason}); set its"
            " virtualization type to auto or qemu, or enable VT-x/AMD-V in the firmware"
        )
    observed.update(
        versions,
        virt_type=verdict.virt_type if wanted == "auto" else wanted,
        virt_reason=verdict.reason,
        unkept=not verdict.kept,
        python_libvirt="python3-libvirt" not in missing,
        missing_packages=missing,
        family=observed["os"]["family"],
    )
    if missing and (read_only or (require_packages and not check)):
        problems.append(f"packages are missing: {', '.join(missing)}; the role kvm_host installs them")
    observed["problems"] = problems
    result, reason = _outcome(problems, done, missing, read_only)
    words = "" if read_only else "".join(f"{text}\n" for text in [*_package_words(missing), *done])
    return {
        "diff": [{"before_header": "host", "after_header": "host", "before": "", "after": words}] if words else [],
        "changed": result == "changed" or (bool(done) and change),
        "results": [results.result("host", host, result, reason, differences, **observed)],
        "foreign_things": [],
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


def sysctl_differences() -> list[Json]:
    """Where the settings file, and what is set now, are not as wanted."""
    try:
        with open(SYSCTL_FILE, encoding="utf-8") as source:
            current = source.read()
    except OSError:
        current = None
    found: list[Json] = results.text_differences(SYSCTL_FILE, current, render_sysctl(SYSCTL))
    for key, value in SYSCTL.items():
        try:
            with open(_sysctl_path(key), encoding="ascii") as source:
                now = source.read().strip()
        except OSError:
            continue  # not in this kernel: whoever needs it says so
        if now != value:
            found.append(results.difference(key, now, value))
    return found


def _sysctl_path(key: str) -> str:
    return "/proc/sys/" + key.replace(".", "/")


def _mend_sysctl(differences: list[Json], change: bool) -> list[str]:
    """Make the settings as wanted, now and for the next boot; returns what was (or would be) done."""
    done = []
    for name in [entry["field"] for entry in differences]:
        done.append(f"{name} written" if name == SYSCTL_FILE else f"{name} set to {SYSCTL[name]}")
        if change and name == SYSCTL_FILE:
            os.makedirs(os.path.dirname(SYSCTL_FILE), exist_ok=True)
            with open(f"{SYSCTL_FILE}.new", "w", encoding="utf-8") as out:
                out.write(render_sysctl(SYSCTL))
            os.rename(f"{SYSCTL_FILE}.new", SYSCTL_FILE)
        elif change:
            try:
                with open(_sysctl_path(name), "w", encoding="ascii") as out:
                    out.write(SYSCTL[name])
            except OSError:
                continue  # in a container that may not: whoever needs it says so
    return done
