#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring disks, DHCP leases and VMs of a host to their desired state in one call."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_guests, zctl_module

try:
    import libvirt
except ImportError:
    libvirt = None

DOCUMENTATION = r"""
---
module: zctl_guests
short_description: Brings disks, DHCP leases and VMs of a host to their desired state in one call
description:
  - Does in one process what M(zctl.cloud.zctl_storage), M(zctl.cloud.zctl_l3_services) and M(zctl.cloud.zctl_vm)
    do in three. A task costs more than making a VM, so this is what the C(zctl) command itself calls.
options:
  inventory:
    description: UUID of the inventory; part of every mark.
    type: str
    required: true
  state:
    description: What is wanted on the host, all concerns, as in schemas/v1/hoststate.json.
    type: dict
    required: true
  steps:
    description: What to do, in the order given.
    type: list
    elements: str
    choices: [vm_removal, storage, l3_services, vm]
    required: true
  scope:
    description: UUIDs to look at; everything when not given.
    type: list
    elements: str
  fail:
    description: Whether a failed resource fails the task.
    type: bool
    default: true
  sources:
    description: What the controller knows of its own image files; filled by the action plugin.
    type: dict
    default: {}
  uploads:
    description: Where uploaded image files lie; filled by the action plugin.
    type: dict
    default: {}
author: The zctl authors
"""

EXAMPLES = r"""
- name: One VM with its disk and lease
  zctl.cloud.zctl_guests:
    inventory: "{{ zctl_state.inventory }}"
    state: "{{ zctl_state }}"
    steps: [storage, l3_services, vm]
"""

RETURN = r"""
results:
  description: One entry for each resource, with the concern that looked after it.
  returned: always
  type: list
  elements: dict
foreign_things:
  description:
    - Domains on the host that do not carry this inventory's mark, or that it does not know any more, each with kind,
      name, uuid and owner. The owner is in words, by what tools leave in the metadata.
  returned: when VMs were looked at
  type: list
  elements: dict
steps:
  description: The steps that were done.
  returned: always
  type: list
  elements: str
observed:
  description: UUID, name and state of every domain of this inventory, when VMs were looked at.
  returned: when VMs were looked at
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=zctl_module.argument_spec(
            steps={"type": "list", "elements": "str", "required": True, "choices": list(zctl_guests.STEPS)},
            sources={"type": "dict", "default": {}},
            uploads={"type": "dict", "default": {}},
        ),
        supports_check_mode=True,
    )
    zctl_module.take_turns()
    args = module.params
    if libvirt is None and {"vm", "vm_removal"} & set(args["steps"]):
        module.fail_json(msg=missing_required_lib("libvirt") + " Run the role kvm_host, or install python3-libvirt.")
    outcome = zctl_guests.converge(args, module.check_mode, libvirt)
    if outcome["trouble"]:
        module.fail_json(msg=outcome["trouble"], **outcome)
    zctl_module.finish(module, outcome)


if __name__ == "__main__":
    main()
