#!/usr/bin/python
"""Bring a host's metadata services to their desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_metadata
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import argument_spec, run_concern

DOCUMENTATION = r"""
---
module: zctl_metadata
short_description: Brings a host's metadata services to their desired state
description:
  - EC2's metadata service at 169.254.169.254 in the namespace of each l3-network that wants it, by nginx; one folder
    for each NIC, added without a restart.
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: Tell one VM who it is
  zctl.cloud.zctl_metadata:
    inventory: 0f1e2d3c-0000-4000-8000-000000000000
    state:
      l3_networks:
        - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: private
          namespace: zl3-7d0f0f5c3c
      nics:
        - uuid: 5a1b0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: web-1
          l3_network: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          ip: 10.20.0.11
          mac: "52:54:00:12:34:56"
          instance_id: i-0f1e2d3c000040008
          hostname: web-1
          instance_type: small
          zone: z1
          tokens_required: false
          cards: []
"""

RETURN = r"""
results:
  description:
    - One entry for each network and NIC with C(uuid), C(kind), C(name), C(result) and C(reason).
    - C(differences) of an entry has C(field), C(actual) and C(desired) of what was not as wanted, also in check mode.
  returned: always
  type: list
  elements: dict
foreign_things:
  description: What is not this inventory's but concerns it, with C(kind), C(name) and C(owner). It is never touched.
  returned: when everything is looked at
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    run_concern(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), zctl_metadata.converge)


if __name__ == "__main__":
    main()
