#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action zctl_look, which calls no module: see plugins/action/zctl_look.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zctl_look
short_description: Compares everything on a host with what it should be, in one call
description:
  - Does in one process what the concerns' modules do in check mode. It never changes anything, with or without check
    mode. The C(zctl) command calls it to find drift, and to leave hosts alone that are as they should be.
  - It is an action that hands the concerns' code straight to the host's Python. Nothing is written there.
options:
  state:
    description: What is wanted on the host, all concerns, as in schemas/v1/hoststate.json; or that as text.
    type: dict
    required: true
  steps:
    description: What to look at, in the order given.
    type: list
    elements: str
    choices: [vm_removal, kvm_host, network, storage, l3_services, metadata, security, vm, eip, rows]
    required: true
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: How the host differs
  zctl.cloud.zctl_look:
    inventory: "{{ zctl_state.inventory }}"
    state: "{{ zctl_state }}"
    steps: [kvm_host, network, storage, l3_services, metadata, security, vm, eip]
"""

RETURN = r"""
results:
  description:
    - One entry for each resource, with the concern that looked after it.
    - C(differences) of an entry has C(field), C(actual) and C(desired) of what is not as wanted.
  returned: always
  type: list
  elements: dict
foreign_things:
  description:
    - What is on the host and not this inventory's, each with kind, name, uuid and owner. The owner is in words.
  returned: always
  type: list
  elements: dict
steps:
  description: The concerns that were looked at.
  returned: always
  type: list
  elements: str
observed:
  description: UUID, name and state of every domain of this inventory, when VMs were looked at.
  returned: when VMs were looked at
  type: list
  elements: dict
"""
