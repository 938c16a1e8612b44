#!/usr/bin/python
"""Bring the public addresses of a host's VMs to their desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_eip
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import argument_spec, run_concern

DOCUMENTATION = r"""
---
module: zctl_eip
short_description: Brings the public addresses of a host's VMs to their desired state
description:
  - In the network namespace of a private l3-network, each eip answers on a port of its public network, and is
    translated to the address of its card and back. The VM is not changed.
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: One public address
  zctl.cloud.zctl_eip:
    inventory: 0f1e2d3c-0000-4000-8000-000000000000
    state:
      routers:
        - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: private
          namespace: zl3-7d0f0f5c3c
          bridge: zbr-5a1b0f5c3c
          cidr: 10.20.0.0/24
          gateway_here: true
          publics:
            - uuid: 2c1b0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
              name: internet
              bridge: zbr-11aa0f5c3c
              uplink: eth1
              veth: zp-33bb0f5c3c
              port: p-2c1b0f5c3c
              mac: "7a:0f:1e:44:55:66"
              cidr: 198.51.100.0/24
              gateway: 198.51.100.1
              mark: 314572800
          eips:
            - uuid: 6e0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
              name: web
              ip: 198.51.100.7
              public: 2c1b0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
              private_ip: 10.20.0.11
              mac: "52:54:00:12:34:56"
              tap: zt-77cc0f5c3c
"""

RETURN = r"""
results:
  description:
    - One entry for each eip with C(uuid), C(kind), C(name), C(result) and C(reason).
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
    run_concern(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), zctl_eip.converge)


if __name__ == "__main__":
    main()
