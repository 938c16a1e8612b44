"""Adoption on the host: reads what runs there, then sets zctl's mark on what the inventory has taken over.

Nothing but the mark is written, and only where the domain with the mark is exactly what the inventory wants: then
no later run finds anything to change.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_adopt_read as adopt_read
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_results
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_diff as vm_diff
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_differences as vm_differences
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_errors as vm_errors
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_host as vm_host
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_vm_spec as vm_spec
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_vm_adopted import without_namespace
except ImportError:
    import zctl_adopt_read as adopt_read  # type: ignore[no-redef]
    import zctl_results  # type: ignore[no-redef]
    import zctl_vm_diff as vm_diff  # type: ignore[no-redef]
    import zctl_vm_differences as vm_differences  # type: ignore[no-redef]
    import zctl_vm_errors as vm_errors  # type: ignore[no-redef]
    import zctl_vm_host as vm_host  # type: ignore[no-redef]
    import zctl_vm_spec as vm_spec  # type: ignore[no-redef]
    from zctl_vm_adopted import without_namespace  # type: ignore[no-redef]

URI = "qemu:///system"
Json = dict[str, Any]


def adopt(inventory: str, vms: list[Json], digests: dict[str, str], check: bool, libvirt: Any) -> Json:
    """Without VMs: report every domain of the host. With them: set their marks, one failure does not stop the others.

    `digests` are those of the domains as they were read, by uuid. Raises libvirtError when libvirt does not answer.
    """
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(URI)
    try:
        if not vms:
            return _outcome([_found(facts) for facts in adopt_read.read_all(connection, libvirt)])
        domains = vm_host.read_domains(connection, libvirt)
        return _outcome([_take(inventory, vm, domains, digests, check, libvirt) for vm in vms])
    finally:
        connection.close()


def _outcome(results: list[Json]) -> Json:
    return {"changed": any(entry["result"] == "changed" for entry in results), "results": results}


def _found(facts: Json) -> Json:
    entry = {"uuid": facts["uuid"], "name": facts["domain"]}
    return zctl_results.result("domain", entry, "unchanged", "only read", **facts)


def _take(
    inventory: str, vm: Json, domains: dict[str, vm_host.Found], digests: dict[str, str], check: bool, libvirt: Any
) -> Json:
    desired = vm_diff.desired_of(inventory, vm)
    found = domains.get(desired.spec.uuid)
    if found is None:
        return _failed(vm, "the domain is gone from the host", {})
    observed = {"present": True, "state": vm_differences.field_state(found.actual.state)}
    if found.mark is not None and found.mark.get("inventory") != inventory:
        other = found.mark.get("inventory", "?")
        return _failed(vm, f"the domain belongs to another zctl inventory ({other}); remove it there first", observed)
    known = digests.get(desired.spec.uuid)
    if found.mark is None and known and adopt_read.digest(found.config_xml) != known:
        return _failed(vm, "the domain was changed after it was read; give the command again", observed)
    try:
        differences = difference(found, desired, None if found.mark is None else found.config_xml, libvirt)
        if differences:
            return _failed(vm, f"the domain is not what the inventory holds of it: {differences}", observed)
        if found.mark is not None:
            return zctl_results.result("vm", vm, "unchanged", "it carries the mark", **observed)
        if not check:
            set_mark(found, desired.spec, libvirt)
    except libvirt.libvirtError as error:
        return _failed(vm, vm_errors.explain(error.get_error_message() or str(error)), observed)
    return zctl_results.result("vm", vm, "changed", "adopted", **observed)


def _failed(vm: Json, reason: str, observed: Json) -> Json:
    return zctl_results.result("vm", vm, "failed", reason, **observed)


def marked(xml: str, spec: vm_spec.DomainSpec) -> vm_spec.DomainSpec:
    """The spec that domain XML would hold if it carried the mark (pure)."""
    root = ET.fromstring(xml)
    metadata = root.find("metadata")
    metadata = ET.SubElement(root, "metadata") if metadata is None else metadata
    for old in metadata.findall(vm_spec.MARK):
        metadata.remove(old)
    metadata.append(vm_spec.render_mark(spec))
    return vm_spec.parse_root(root)


def difference(found: vm_host.Found, desired: vm_diff.Desired, own: str | None, libvirt: Any) -> str:
    """What a converge would change in the domain once it carries the mark; an empty text when nothing.

    `own` is the configuration of a domain that carries the mark already.
    """
    live = found.handle.XMLDesc(0) if found.handle.isActive() else None
    actual = vm_diff.Actual(
        spec=marked(found.config_xml, desired.spec) if own is None else vm_spec.parse(own),
        live=marked(live, desired.spec) if live else None,
        state=found.actual.state,
        autostart=bool(found.handle.autostart()),
    )
    missing = [
        text
        for wanted, has, text in (
            (desired.spec.disks, actual.spec.disks, "a disk is gone"),
            (desired.spec.nics, actual.spec.nics, "a network card is gone"),
        )
        if {device.uuid for device in wanted} - {device.uuid for device in has}
    ]
    wanted = replace(desired, spec=replace(desired.spec, domain=actual.spec.domain))
    plan = vm_diff.diff(actual, wanted)
    return ", ".join(missing) or vm_diff.describe(actual, plan) or ", ".join(step.op for step in plan.steps)


def set_mark(found: vm_host.Found, spec: vm_spec.DomainSpec, libvirt: Any) -> None:
    """Write the mark into the configuration, and into the running guest's description too."""
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if found.handle.isActive():
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    mark = without_namespace(vm_spec.render_mark(spec))
    found.handle.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, "zctl", vm_spec.XMLNS, flags)
