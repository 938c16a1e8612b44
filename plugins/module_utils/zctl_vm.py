"""Brings the domains of this host to the desired state and reports each VM's outcome.

The story: read all domains, look at the whole list dry, act, read the states again, report.
"""

from __future__ import annotations

import contextlib
import json
import os
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_results
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_apply as vm_apply
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_diff as vm_diff
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_differences as vm_differences
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_errors as vm_errors
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_host as vm_host
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_owner as vm_owner
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_vm_adopted import follow, lost_device
except ImportError:
    import zctl_results  # type: ignore[no-redef]
    import zctl_vm_apply as vm_apply  # type: ignore[no-redef]
    import zctl_vm_diff as vm_diff  # type: ignore[no-redef]
    import zctl_vm_differences as vm_differences  # type: ignore[no-redef]
    import zctl_vm_errors as vm_errors  # type: ignore[no-redef]
    import zctl_vm_host as vm_host  # type: ignore[no-redef]
    import zctl_vm_owner as vm_owner  # type: ignore[no-redef]
    from zctl_vm_adopted import follow, lost_device  # type: ignore[no-redef]

URI = "qemu:///system"
Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What is asked for: the VMs to look at, those to remove, and whether anything may be changed."""

    inventory: str
    vms: list[Json]
    purges: list[Json]
    read_only: bool
    check: bool
    known: frozenset[str] | None = None  # every VM of this host, when all of them were named


def converge(
    inventory: str, state: Json, scope: list[str] | None = None, check: bool = False, libvirt: Any = None
) -> Json:
    """Apply a `VmState`; returns changed, results, observed, foreign_things and diffs.

    `scope` limits the work to these VMs, an empty list only reads. Raises nothing for a VM's own failure; when
    libvirt cannot be reached every VM that was to be looked at fails with that reason.
    """
    if libvirt is None:
        import libvirt  # type: ignore[no-redef]
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else libvirt prints to stderr too
    vms = [vm for vm in state.get("vms") or [] if not scope or vm["uuid"] in scope]
    purges = [vm for vm in state.get("purge") or [] if scope is None or vm["uuid"] in scope]
    try:
        connection = libvirt.open(URI)
        found = vm_host.read_domains(connection, libvirt)
    except libvirt.libvirtError as error:
        reason = vm_errors.explain(error.get_error_message() or str(error))
        results = [_result(vm, "failed", reason, {"state": "Unknown"}) for vm in [*vms, *purges]]
        return {"changed": False, "results": results, "observed": None, "foreign_things": [], "diff": []}
    try:
        known = frozenset(vm["uuid"].lower() for vm in [*vms, *purges]) if scope is None else None
        request = Request(inventory, vms, purges, read_only=scope == [], check=check, known=known)
        return _converge(vm_apply.Host(connection, libvirt), request, found)
    finally:
        connection.close()


def _converge(host: vm_apply.Host, request: Request, found: dict[str, vm_host.Found]) -> Json:
    names = {domain.domain: domain.uuid for domain in found.values()}
    works = [(vm, _plan_vm(request, vm, found, names)) for vm in request.vms]
    removals = [(vm, _plan_purge(request.inventory, vm, found)) for vm in request.purges]
    after = found
    if not (request.check or request.read_only):
        ready = [work for _vm, work in works if not work.error and work.plan.steps]
        going = [work for _vm, work in removals if work.handle and not work.error]
        if ready or going:
            vm_apply.apply_all(host, ready, going)
            _announce(works)
            after = vm_host.read_domains(host.connection, host.libvirt)
    results = [_vm_result(vm, work, after, request.read_only) for vm, work in works]
    results += [_purge_result(vm, work, request.check) for vm, work in removals]
    inventory = request.inventory
    ours = [domain for domain in after.values() if domain.mark and domain.mark.get("inventory") == inventory]
    return {
        "changed": any(result["result"] in ("changed", "removed") for result in results)
        or any(work.done for _vm, work in [*works, *removals]),
        "results": results,
        "observed": [_domain_words(domain) for domain in ours],
        "foreign_things": foreign_things(request, after),
        "diff": [_diff_words(work) for _vm, work in works if work.plan.steps and not work.error]
        + [_diff_words(work) for _vm, work in removals if work.handle and not work.error],
    }


def _announce(works: list[tuple[Json, vm_apply.Work]]) -> None:
    """Tell the neighbours of the cards that are new on the wire where their addresses are now.

    They may still hold the MAC of the VM that had the address before, and would ask that in vain for up to a minute.
    """
    new = [vm for vm, work in works if any(step.op in ("start", "attach-nic") for step in work.done)]
    cards = [nic for vm in new for nic in vm.get("nics") or [] if nic.get("tap") and nic.get("ip")]
    if not cards:
        return
    try:
        from ansible_collections.zctl.cloud.plugins.module_utils.zctl_eip_arp import announce
    except ImportError:
        from zctl_eip_arp import announce  # type: ignore[no-redef]
    for nic in cards:
        with contextlib.suppress(OSError):  # it is a courtesy: neighbours find out by themselves, later
            announce(nic["bridge"], nic["mac"], [nic["ip"]])


def foreign_things(request: Request, domains: dict[str, vm_host.Found]) -> list[Json]:
    """The domains that are not this inventory's, and those of it that it has forgotten, with who seems to own them."""
    found = []
    for domain in domains.values():
        if domain.mark is None or domain.mark.get("inventory") != request.inventory:
            words = vm_owner.owner_words(ET.fromstring(domain.config_xml))
        elif request.known is not None and domain.uuid not in request.known:
            words = "this zctl inventory, which does not know it any more"
        else:
            continue
        found.append({"kind": "domain", "name": domain.domain, "uuid": domain.uuid, "owner": words})
    return found


def _plan_vm(request: Request, vm: Json, found: dict[str, vm_host.Found], names: dict[str, str]) -> vm_apply.Work:
    """Look at one VM dry: its conflicts, its steps, and whether its disks are there."""
    desired = vm_diff.desired_of(request.inventory, vm)
    current = found.get(desired.spec.uuid)
    work = vm_apply.Work(vm["name"], desired, current, handle=current.handle if current else None)
    clash = vm_diff.conflict(desired.spec, current.mark if current else {}, names.get(desired.spec.domain))
    if clash:
        work.error, work.clash = clash.reason, True
        return work
    if desired.spec.adopted and current is None:
        work.error = (
            "the adopted domain is gone from this host and zctl cannot make it anew; define it again from its XML"
            " with 'virsh define', or delete the VM"
        )
        return work
    lost = lost_device(desired.spec, current.actual.spec if current else None)
    if lost and not request.read_only:
        work.error = lost
        return work
    work.plan = vm_diff.Plan() if request.read_only else vm_diff.diff(current.actual if current else None, desired)
    needed = {"start", "attach-disk"} & {step.op for step in work.plan.steps} or current is None
    disks = follow(desired.spec, current.actual.spec if current else None).disks
    files = [disk.path for disk in disks if disk.path.startswith("/") or not disk.adopted]
    missing = [path for path in files if needed and not os.path.exists(path)]
    # In check mode the storage's role has not made the files either.
    if missing and not (request.check or request.read_only):
        work.error = (
            f"the disk file {missing[0]} does not exist on this host; restore it, or is its storage not mounted?"
        )
    return work


def _plan_purge(inventory: str, vm: Json, found: dict[str, vm_host.Found]) -> vm_apply.Work:
    current = found.get(vm["uuid"].lower())
    work = vm_apply.Work(vm["name"], None, current, handle=current.handle if current else None)
    if current and (current.mark or {}).get("inventory") != inventory:
        work.error = (
            f"the domain {current.domain} (UUID {current.uuid}) does not carry this inventory's mark; it is not removed"
        )
    return work


def _result(vm: Json, result: str, reason: str, observed: Json, differences: list[Json] | None = None) -> Json:
    answer: Json = zctl_results.result("vm", vm, result, reason, **observed)
    return {**answer, "differences": differences or []}


def _differences(work: vm_apply.Work) -> list[Json]:
    """The fields in which the domain was found unlike the wanted one; a domain that is not ours has none."""
    if work.desired is None or work.clash:
        return []
    return vm_differences.differences(work.found.actual if work.found else None, work.desired)


def _vm_result(vm: Json, work: vm_apply.Work, after: dict[str, vm_host.Found], read_only: bool) -> Json:
    current = after.get(vm["uuid"].lower())
    observed: Json = {"present": current is not None, "state": "Unknown", "pending": []}
    if current:
        spec = current.actual.live or current.actual.spec
        observed.update(_domain_words(current), vcpus=spec.vcpus, memory=spec.memory * 1024)
        observed["pending"] = _pending(work, current)
    plan = vm_diff.Plan(tuple(step for step in work.plan.steps if step not in work.declined))
    words = vm_diff.describe(work.found.actual if work.found else None, plan)
    if work.error:
        done = f" (done before that: {', '.join(step.op for step in work.done)})" if work.done else ""
        return _result(vm, "failed", work.error + done, observed, _differences(work))
    if read_only:
        why = current.why if current else "the domain does not exist on this host"
        return _result(vm, "unchanged", why or "only read", observed, _differences(work))
    if plan.steps:
        forced = (
            f"; it did not shut down within {vm.get('stop_timeout', 60)} s and was forced off" if work.forced else ""
        )
        return _result(vm, "changed", words + forced + _pending_words(observed), observed, _differences(work))
    return _result(vm, "unchanged", "already as wanted" + _pending_words(observed), observed, _differences(work))


def _pending(work: vm_apply.Work, current: vm_host.Found) -> list[str]:
    """What waits for the next start: as forecast while nothing is done yet, else as the running guest is now."""
    if current.actual.live is None or work.desired is None or work.clash:
        return []
    if work.plan.steps and current is work.found and not work.done:
        return [*work.plan.pending, *work.pending]
    return [*vm_diff.pending_of(current.actual, work.desired.spec), *work.pending]


def _pending_words(observed: Json) -> str:
    return f"; waits for the next start: {', '.join(observed['pending'])}" if observed["pending"] else ""


def _purge_result(vm: Json, work: vm_apply.Work, check: bool) -> Json:
    if work.error:
        return _result(vm, "failed", work.error, {"present": True})
    if work.handle is None:
        return _result(vm, "unchanged", "the domain does not exist on this host", {})
    gone = [vm_differences.difference("domain", work.found.domain, None)] if work.found else []
    return _result(vm, "removed", "domain removed", {"present": check}, gone)


def _domain_words(domain: vm_host.Found) -> Json:
    """One of our domains as the inventory reads it."""
    return {
        "uuid": domain.uuid,
        "name": (domain.mark or {}).get("name", domain.domain),
        "domain": domain.domain,
        "state": vm_differences.field_state(domain.actual.state),
        "why": domain.why,
    }


def _diff_words(work: vm_apply.Work) -> Json:
    """Before and after of one VM, for --diff; there is no after for one that is removed."""
    before, after = {}, {}
    actual = work.found.actual if work.found else None
    if actual:
        before = {**asdict(actual.spec), "state": actual.state, "autostart": actual.autostart}
    if work.desired:
        after = {**asdict(work.desired.spec), "state": work.desired.state, "autostart": work.desired.autostart}
        if work.found:
            after["domain"] = work.found.domain
    words = vm_diff.describe(actual, work.plan) if work.desired else "domain removed"
    texts = [json.dumps(entry, indent=1, sort_keys=True) + "\n" if entry else "" for entry in (before, after)]
    return {
        "before_header": f"vm {work.name}",
        "after_header": f"vm {work.name}: {words}",
        "before": texts[0],
        "after": texts[1],
    }
