#!/usr/bin/python
"""Prove by real packets that a host's l2-networks reach the other hosts."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_netcheck import check

DOCUMENTATION = r"""
---
module: zctl_net_check
short_description: Sends and hears probes on a host's l2-networks
description:
  - All hosts of a network run it at the same time. Each sends broadcasts of two sizes on the way out of each network
    and tells whom it has heard; it asks for addresses by ARP and tells who has answered.
  - It changes nothing and leaves nothing behind.
options:
  checks:
    description:
      - The networks, each with C(uuid), C(name), C(device), C(inventory), C(run), C(host), the UUIDs of the other
        C(hosts) and the addresses to C(ask) for.
    type: list
    elements: dict
    required: true
  wait:
    description: Seconds to wait for hosts that are not heard.
    type: float
    default: 6
author: The zctl authors
"""

EXAMPLES = r"""
- name: Prove one network
  zctl.cloud.zctl_net_check:
    checks:
      - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
        name: wire
        device: eth1
        inventory: 0f1e2d3c-0000-4000-8000-000000000000
        run: 5a1b0f5c-0000-4000-8000-000000000001
        host: 11111111-0000-4000-8000-000000000001
        hosts: [11111111-0000-4000-8000-000000000002]
        ask: [10.0.0.1]
"""

RETURN = r"""
results:
  description:
    - One entry for each network. C(observed) has C(heard) (host to sizes), C(strangers) (inventory, network and host
      of probes that do not belong here), C(answers) (address to MACs) and C(mtu).
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    arguments = {
        "checks": {"type": "list", "elements": "dict", "required": True},
        "wait": {"type": "float", "default": 6},
    }
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    module.exit_json(changed=False, results=check(module.params["checks"], module.params["wait"]))


if __name__ == "__main__":
    main()
