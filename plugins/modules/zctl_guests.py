#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action zctl_guests, which calls no module: see plugins/action/zctl_guests.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zctl_guests
short_description: Brings disks, DHCP leases and VMs of a host to their desired state in one call
description:
  - Does in one process what M(zctl.cloud.zctl_storage), M(zctl.cloud.zctl_l3_services), M(zctl.cloud.zctl_security)
    and M(zctl.cloud.zctl_vm) do in four. A task costs more than making a VM, so this is what the C(zctl) command
    itself calls.
options:
  state:
    description: What is wanted on the host, all concerns, as in schemas/v1/hoststate.json.
    type: dict
    required: true
  steps:
    description: What to do, in the order given.
    type: list
    elements: str
    choices: [vm_removal, storage, l3_services, metadata, security, vm, eip, rows]
    required: true
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: One VM with its disk and lease
  zctl.cloud.zctl_guests:
    inventory: "{{ zctl_state.inventory }}"
    state: "{{ zctl_state }}"
    steps: [storage, l3_services, security, vm]
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
