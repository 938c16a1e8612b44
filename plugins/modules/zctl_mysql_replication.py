#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of orders to a database server; the work is in module_utils/zctl_mysql_replication.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_mysql_replication
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_results import result
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble

DOCUMENTATION = r"""
module: zctl_mysql_replication
short_description: Carries out an order on a database server of zctl
version_added: 0.1.0
author: The zctl authors (@zctl)
description:
  - One step of replication or failover on one server. Each step may be repeated. Which steps make a failover without
    loss, and in which order, is decided by C(zctl db failover).
options:
  order:
    description: What to do. C(look) only reads.
    type: str
    choices: [look, drain, stop_receiving, promote, follow, stand_down, record, write_role, seed_begin, seed_end]
    default: look
  uuid:
    description: The server's UUID, for the report.
    type: str
    required: true
  name:
    description: The server's name, for the report.
    type: str
    required: true
  values:
    description:
      - What the order needs. C(record) with C(role), C(term) and the like is written down; C(source) with C(host) and
        C(port) is whom to follow; C(wait_for) a GTID position, C(patience) seconds, C(database) its name,
        C(binlog_state) that of the server from which a copy was taken.
    type: dict
    default: {}
  secrets:
    description: The password of C(zctl_repl), for C(follow).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Only reads.
    support: full
  diff_mode:
    description: There is none.
    support: none
"""

EXAMPLES = r"""
- name: Read what the server is
  zctl.cloud.zctl_mysql_replication:
    uuid: 0b6c1b1e-5a0e-4b70-9a54-1f4a5a0a2f11
    name: db-1
"""

RETURN = r"""
results:
  description: One entry; C(observed) has C(role), C(writable), GTID positions and C(source), as they are afterwards.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "order": {"type": "str", "choices": list(zctl_mysql_replication.CHOICES), "default": "look"},
            "uuid": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "values": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    args = module.params
    try:
        changed, seen = zctl_mysql_replication.carry_out(
            args["order"], args["values"], args["secrets"], module.check_mode
        )
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error), results=[])
    entry = {"uuid": args["uuid"], "name": args["name"]}
    answer = result("database-server", entry, "changed" if changed else "unchanged", "", observed={})
    module.exit_json(changed=changed, results=[answer | {"observed": seen}])


if __name__ == "__main__":
    main()
