#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Read facts of a host's networks."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_net_facts import facts

DOCUMENTATION = r"""
---
module: zctl_net_facts
short_description: Reads facts of a host's networks
description:
  - Tells of ports, namespaces, filters and load balancers whether they are as they should be. It changes nothing.
options:
  asks:
    description:
      - The questions, each with a C(uuid), by which its answer is known, and C(what). C(device) with C(device) and
        C(bridge), C(namespace) with C(namespace) and C(address), C(table) with C(family), C(table), C(namespace) and
        the C(words) that it is to hold, or C(health) with the C(network) of load balancers.
    type: list
    elements: dict
    required: true
author: The zctl authors
"""

EXAMPLES = r"""
- name: Ask of a VM's port
  zctl.cloud.zctl_net_facts:
    asks:
      - uuid: "1"
        what: device
        device: zt-5a1b0f5c3c
        bridge: zbr-7d0f0f5c3c
"""

RETURN = r"""
results:
  description:
    - One entry for each question. C(observed) has C(problem), empty when all is as it should be, and for C(health)
      C(balancers), the state of each target.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    arguments = {"asks": {"type": "list", "elements": "dict", "required": True}}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    module.exit_json(changed=False, results=facts(module.params["asks"]))


if __name__ == "__main__":
    main()
