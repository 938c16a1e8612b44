#!/usr/bin/python
"""Bring a host's firewall to its desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_firewall
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import take_turns
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble

DOCUMENTATION = r"""
---
module: zctl_firewall
short_description: Brings a host's firewall to its desired state
description:
  - One nftables table, C(inet zctl_firewall), that lets in what the rules name and refuses the rest. Forwarded packets
    and other tables are not touched.
  - Loading rules is a try. A timer on the host undoes it unless the module is called again with O(confirm) by a
    new connection in time.
options:
  rules:
    description: What to let in. Each has C(port) or C(ports), and may have C(protocol), C(from) and C(comment).
    type: list
    elements: raw
    default: []
  state:
    description: Whether there is a firewall.
    type: str
    choices: [present, absent]
    default: present
  patience:
    description: Seconds until a try is undone.
    type: int
    default: 30
  allow_lockout:
    description: Whether rules may cut the present SSH connection, or tunnels of VMs.
    type: bool
    default: false
  confirm:
    description: Keep what is being tried, do nothing else. It is what the first call returned as RV(attempt).
    type: str
    default: ""
  local:
    description: Whether Ansible runs on the host itself, so that there is no new connection to confirm by.
    type: bool
    default: false
author: The zctl authors
"""

EXAMPLES = r"""
- name: Let in SSH from the office, and HTTPS
  zctl.cloud.zctl_firewall:
    rules:
      - port: 22
        from: [192.0.2.0/24, "2001:db8::/32"]
        comment: SSH
      - ports: [443, 8000-8010]
"""

RETURN = r"""
differences:
  description: What was not as wanted.
  returned: always
  type: list
  elements: str
missing_packages:
  description: What has to be installed first; nothing was done then.
  returned: when something is missing
  type: list
  elements: str
others:
  description: What else filters what comes in, in words; also given as warnings.
  returned: when the state is present
  type: list
  elements: str
attempt:
  description: What the confirmation has to name.
  returned: when a change waits for it
  type: str
try_pending:
  description: Whether a change waits for O(confirm).
  returned: always
  type: bool
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "rules": {"type": "list", "elements": "raw", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "patience": {"type": "int", "default": 30},
            "allow_lockout": {"type": "bool", "default": False},
            "confirm": {"type": "str", "default": ""},
            "local": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    values = module.params
    if not 2 <= values["patience"] <= 3600:
        module.fail_json(msg=f"patience is {values['patience']} seconds: 2 to 3600 are possible")
    take_turns()
    try:
        if values["confirm"]:
            answer = zctl_firewall.confirm(values["confirm"], values["local"])
        elif values["state"] == "absent":
            answer = zctl_firewall.remove(module.check_mode)
        else:
            answer = zctl_firewall.converge(
                values["rules"], module.check_mode, values["patience"], values["allow_lockout"]
            )
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error))
    for words in answer.get("others", []):
        module.warn(words)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
