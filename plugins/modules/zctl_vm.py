#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of the vm concern; the work is in module_utils/zctl_vm.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_module, zctl_vm

try:
    import libvirt
except ImportError:
    libvirt = None

DOCUMENTATION = r"""
module: zctl_vm
short_description: Brings the libvirt domains of a host to the desired state
version_added: 0.1.0
author: The zctl authors (@zctl)
description:
  - Defines, changes, starts, stops and reboots any number of VMs in one call, and reports each one's state.
  - Removes only the domains that are named in the list purge of the state, and only those with this inventory's mark.
  - Elements of a domain that zctl does not know are kept when the domain is changed.
options:
  inventory:
    description: UUID of the zctl inventory; part of every domain's mark.
    type: str
    required: true
  state:
    description: The vm part of the host state, with the lists vms and purge.
    type: dict
    required: true
  scope:
    description:
      - UUIDs of the VMs to look at. Not given means all, an empty list means to read and report only.
    type: list
    elements: str
  fail:
    description: Whether the task fails when one of the VMs does.
    type: bool
    default: true
requirements:
  - python3-libvirt on the host
attributes:
  check_mode:
    description: Reports what it would do.
    support: full
  diff_mode:
    description: Shows each changed VM before and after.
    support: full
"""

EXAMPLES = r"""
- name: One running VM
  zctl.cloud.zctl_vm:
    inventory: 0b6c1b1e-5a0e-4b70-9a54-1f4a5a0a2f11
    state:
      vms:
        - uuid: 3f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e03
          name: web-1
          domain: z-web-1
          vcpus: 1
          memory: 268435456
          virt_type: kvm
          state: Running
          disks:
            - uuid: 4f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e04
              path: /var/lib/zctl/fast/volumes/4f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e04.qcow2
              format: qcow2
              dev: vda
          nics: []
"""

RETURN = r"""
results:
  description:
    - One entry for each VM with its uuid, kind, name, result, reason, what was observed, and the differences between
      the domain as found and as wanted, each with field, actual and desired.
  returned: always
  type: list
  elements: dict
observed:
  description: UUID, name and state of every domain of this inventory on the host.
  returned: always
  type: list
  elements: dict
foreign_things:
  description:
    - Domains on the host that do not carry this inventory's mark, or that it does not know any more, each with kind,
      name, uuid and owner. The owner is in words, by what tools leave in the metadata.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=zctl_module.argument_spec(), supports_check_mode=True)
    zctl_module.take_turns()
    if libvirt is None:
        module.fail_json(msg=missing_required_lib("libvirt") + " Run the role kvm_host, or install python3-libvirt.")
    args = module.params
    zctl_module.finish(
        module, zctl_vm.converge(args["inventory"], args["state"], args["scope"], module.check_mode, libvirt)
    )


if __name__ == "__main__":
    main()
