#!/usr/bin/python
"""Bring a host's DHCP and DNS services to their desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_l3
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import argument_spec, run_concern

DOCUMENTATION = r"""
---
module: zctl_l3_services
short_description: Brings a host's DHCP and DNS services to their desired state
description:
  - One network namespace with dnsmasq for each l3-network.
  - One small file for each NIC and name, which come and go without a restart.
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: Serve one network
  zctl.cloud.zctl_l3_services:
    inventory: 0f1e2d3c-0000-4000-8000-000000000000
    state:
      l3_networks:
        - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: private
          l2: 5a1b0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          bridge: zbr-5a1b0f5c3c
          uplink: zvx-5a1b0f5c3c
          namespace: zl3-7d0f0f5c3c
          veth: zv-7d0f0f5c3c
          cidr: 10.20.0.0/24
          dhcp_ip: 10.20.0.200
          leases: []
"""

RETURN = r"""
results:
  description:
    - One entry for each network, lease and name with C(uuid), C(kind), C(name), C(result) and C(reason).
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
    run_concern(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), zctl_l3.converge)


if __name__ == "__main__":
    main()
