#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of the kvm_host concern; the work is in module_utils/zctl_kvm_host.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_kvm_host, zctl_module

DOCUMENTATION = r"""
module: zctl_kvm_host
short_description: Probes a machine and makes it ready to run VMs
version_added: 0.1.0
author: The zctl authors (@zctl)
description:
  - Reports what the machine is and, in plain words, what is missing for running VMs on it.
  - Sets the kernel settings that VM networks need and starts libvirt. Packages are named, not installed.
  - Whether hardware virtualization works is found out by starting a machine, once for each kernel and QEMU.
  - Needs nothing on the host but Python.
options:
  inventory:
    description: UUID of the zctl inventory.
    type: str
    required: true
  state:
    description: The kvm_host part of the host state, with virt_type (auto, kvm or qemu).
    type: dict
    required: true
  scope:
    description:
      - UUIDs of the resources to change. Unless it is not given, or has the host's UUID, the host is only probed.
    type: list
    elements: str
  fail:
    description: Whether the task fails when something is missing.
    type: bool
    default: true
  host:
    description: UUID and name of the host in the inventory.
    type: dict
    default: {}
  require_packages:
    description: Whether missing packages are a failure. The role asks first without, then installs them.
    type: bool
    default: true
attributes:
  check_mode:
    description: Reports what it would do.
    support: full
  diff_mode:
    description: Shows what the host lacks.
    support: full
"""

EXAMPLES = r"""
- name: Probe this machine
  zctl.cloud.zctl_kvm_host:
    inventory: 0b6c1b1e-5a0e-4b70-9a54-1f4a5a0a2f11
    state: {virt_type: auto}
    scope: []
"""

RETURN = r"""
results:
  description:
    - One entry for the host; what was observed has cpus, memory_bytes, virt_type, disks, nics and problems.
    - C(differences) of an entry has C(field), C(actual) and C(desired) of what was not as wanted, also in check mode.
  returned: always
  type: list
  elements: dict
missing_packages:
  description: Names of the packages to install.
  returned: always
  type: list
  elements: str
family:
  description: Family of the distribution, debian or redhat, or empty.
  returned: always
  type: str
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=zctl_module.argument_spec(
            host={"type": "dict", "default": {}}, require_packages={"type": "bool", "default": True}
        ),
        supports_check_mode=True,
    )
    zctl_module.take_turns()
    args = module.params
    host = {"uuid": "", "name": "", **args["host"]}
    read_only = args["scope"] is not None and host["uuid"] not in args["scope"]
    outcome = zctl_kvm_host.converge(args["state"], host, read_only, module.check_mode, args["require_packages"])
    zctl_module.finish(module, outcome)


if __name__ == "__main__":
    main()
