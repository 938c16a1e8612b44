#!/usr/bin/python
"""Bring a host's bridges and tunnels to their desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_boot as _shipped_with_the_module  # noqa: F401
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_network
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import argument_spec, finish, take_turns
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble

DOCUMENTATION = r"""
---
module: zctl_network
short_description: Brings a host's bridges and tunnels to their desired state
description:
  - Makes bridges over physical NICs and VXLAN tunnels, and removes those of the same inventory that are not wanted.
  - Taking over a NIC that holds addresses is a try. A timer on the host undoes it unless the module is called
    again with O(confirm=true) in time.
options:
  confirm:
    description: Keep what is being tried, do nothing else; what was undone meanwhile has failed.
    type: bool
    default: false
  patience:
    description: Seconds until a try is undone.
    type: int
    default: 30
extends_documentation_fragment: [zctl.cloud.concern]
author: The zctl authors
"""

EXAMPLES = r"""
- name: One bridge over eth1
  zctl.cloud.zctl_network:
    inventory: 0f1e2d3c-0000-4000-8000-000000000000
    state:
      l2_networks:
        - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
          name: wire
          kind: no-vlan
          bridge: zbr-7d0f0f5c3c
          interface: eth1
"""

RETURN = r"""
results:
  description:
    - One entry for each network with C(uuid), C(kind), C(name), C(result), C(reason) and C(observed).
    - C(differences) of an entry has C(field), C(actual) and C(desired) of what was not as wanted, also in check mode.
  returned: always
  type: list
  elements: dict
foreign_things:
  description: What is not this inventory's but concerns it, with C(kind), C(name) and C(owner). It is never touched.
  returned: when everything is looked at
  type: list
  elements: dict
try_pending:
  description: Whether a change waits for O(confirm=true).
  returned: always
  type: bool
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=argument_spec(
            confirm={"type": "bool", "default": False}, patience={"type": "int", "default": 30}
        ),
        supports_check_mode=True,
    )
    take_turns()
    values = module.params
    try:
        if values["confirm"]:
            answer = zctl_network.confirm(values["inventory"], values["state"], values["scope"])
        else:
            answer = zctl_network.converge(
                values["inventory"], values["state"], values["scope"], module.check_mode, values["patience"]
            )
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error), results=[])
    finish(module, answer)


if __name__ == "__main__":
    main()
