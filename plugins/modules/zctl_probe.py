#!/usr/bin/python
"""Ask guests for a sign of life from the services namespace of their network."""

from __future__ import annotations

import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_probe import (
    answer_of,
    arping_command,
    device_of,
    link_command,
)

DOCUMENTATION = r"""
---
module: zctl_probe
short_description: Asks guests for a sign of life by ARP
description:
  - From the services namespace of each guest's network on this host; changes nothing.
options:
  targets:
    description: The guests' addresses, each with C(uuid), C(namespace) and C(ip).
    type: list
    elements: dict
    required: true
author: The zctl authors
"""

EXAMPLES = r"""
- name: Ask one guest
  zctl.cloud.zctl_probe:
    targets:
      - uuid: 7d0f0f5c-3c38-4f0a-8a35-6a3d3e7f9a11
        namespace: zl3-0123456789
        ip: 10.0.0.5
"""

RETURN = r"""
results:
  description: One entry for each target; C(observed.answers) says whether it answered.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Ask all targets at once."""
    module = AnsibleModule(
        argument_spec={"targets": {"type": "list", "elements": "dict", "required": True}}, supports_check_mode=True
    )
    asked = []
    for target in module.params["targets"]:
        _code, links, _err = module.run_command(link_command(target["namespace"]))
        device = device_of(links)
        asked.append(
            (
                target,
                device
                and subprocess.Popen(
                    arping_command(target["namespace"], device, target["ip"]),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                ),
            )
        )
    results = [answer_of(target, process is not None and process.wait() == 0) for target, process in asked]
    module.exit_json(changed=False, results=results)


if __name__ == "__main__":
    main()
