#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of adoption; the work is in module_utils/zctl_adopt.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_adopt, zctl_module

try:
    import libvirt
except ImportError:
    libvirt = None

DOCUMENTATION = r"""
module: zctl_adopt
short_description: Reads foreign libvirt domains of a host, or takes them over in place
version_added: 0.2.0
author: The zctl authors (@zctl)
description:
  - Without VMs it reports every domain of the host and changes nothing.
  - With VMs it sets zctl's mark in the metadata of their domains, and nothing else. A domain that is not exactly what
    the VM says is refused, and so is one that has changed since it was read.
options:
  inventory:
    description: UUID of the zctl inventory; part of every domain's mark.
    type: str
    required: true
  vms:
    description: The VMs to take over, as in the vm part of the host state.
    type: list
    elements: dict
    default: []
  digests:
    description: Digest of each domain's configuration as it was read, by UUID.
    type: dict
    default: {}
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
    description: Nothing but the mark changes; there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Read what runs on the host
  zctl.cloud.zctl_adopt:
    inventory: 0b6c1b1e-5a0e-4b70-9a54-1f4a5a0a2f11
"""

RETURN = r"""
results:
  description: One entry for each domain read (its facts are in observed), or for each VM to take over.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "inventory": {"type": "str", "required": True},
            "vms": {"type": "list", "elements": "dict", "default": []},
            "digests": {"type": "dict", "default": {}},
            "fail": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    zctl_module.take_turns()
    if libvirt is None:
        module.fail_json(msg=missing_required_lib("libvirt") + " Run the role kvm_host, or install python3-libvirt.")
    args = module.params
    try:
        outcome = zctl_adopt.adopt(args["inventory"], args["vms"], args["digests"], module.check_mode, libvirt)
    except libvirt.libvirtError as error:
        module.fail_json(msg=f"libvirt does not answer: {error}")
    zctl_module.finish(module, outcome)


if __name__ == "__main__":
    main()
