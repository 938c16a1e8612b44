#!/usr/bin/python
"""Bring the filters of a host's network cards to their desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_security
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import argument_spec, run_concern

DOCUMENTATION = r"""
---
module: zctl_security
short_description: Brings the filters of a host's network cards to their desired state
description:
  - Anti-spoofing and stateful security groups in nftables, loaded in one step. Connections that are not admitted
    any more are cut.
  - When the filter cannot be loaded the module fails as a whole, so that no VM is started without it.
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: One card that lets in HTTP only
  zctl.cloud.zctl_security:
    inventory: 0f1e2d3c-0000-4000-8000-000000000000
    state:
      nics:
        - uuid: 10630ae4-b9f1-4d7b-8a7e-3c1f2d5e6a01
          name: web-1-nic0
          tap: zt-10630ae4b9
          bridge: zbr-5a1b0f5c3c
          private: true
          mac: "52:54:00:12:34:56"
          addresses: [10.20.0.11]
          allowed: []
          anti_spoofing: true
          groups: [7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11]
          ingress_policy: deny
          egress_policy: allow
      groups:
        - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: web
          member_access: true
          members: [10.20.0.11]
          rules:
            - {direction: ingress, protocol: tcp, first: 80, last: 80, allow: true}
"""

RETURN = r"""
results:
  description:
    - One entry for each card and group with C(uuid), C(kind), C(name), C(result) and C(reason).
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
    run_concern(AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True), zctl_security.converge)


if __name__ == "__main__":
    main()
