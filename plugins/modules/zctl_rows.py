#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of reading an inventory back from hosts; the work is in module_utils/zctl_rows_read.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_module, zctl_rows_read

try:
    import libvirt
except ImportError:
    libvirt = None

DOCUMENTATION = r"""
module: zctl_rows
short_description: Reads what a host keeps of zctl inventories
version_added: 0.2.0
author: The zctl authors (@zctl)
description:
  - Returns the records of inventory rows in C(/etc/zctl/inventory), and which libvirt domains carry which inventory's
    mark. Nothing is changed. The files themselves are written by M(zctl.cloud.zctl_guests).
options:
  inventory:
    description: UUID of the only inventory to read. When it is empty, all that have something here are read.
    type: str
    default: ""
attributes:
  check_mode:
    description: It only reads.
    support: full
  diff_mode:
    description: There is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Read the records
  zctl.cloud.zctl_rows:
"""

RETURN = r"""
results:
  description:
    - One entry for each inventory. C(observed.files) holds the files as base64 of zlib of JSON, C(observed.domains) the
      names of VMs by UUID, or nothing when libvirt could not be asked.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"inventory": {"type": "str", "default": ""}}, supports_check_mode=True)
    zctl_module.take_turns()
    try:
        found = zctl_rows_read.read(module.params["inventory"], libvirt)
    except OSError as error:
        module.fail_json(msg=f"the records cannot be read: {error}", results=[])
    except Exception as error:
        if libvirt is None or not isinstance(error, libvirt.libvirtError):
            raise
        found = zctl_rows_read.read(
            module.params["inventory"], None
        )  # the records are worth having without the domains
    module.exit_json(changed=False, results=found)


if __name__ == "__main__":
    main()
