#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of the database server; the work is in module_utils/zctl_mysql_server.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_module, zctl_mysql_server
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble

DOCUMENTATION = r"""
module: zctl_mysql_server
short_description: Makes a machine a MariaDB server for zctl's inventory
version_added: 0.1.0
author: The zctl authors (@zctl)
description:
  - Writes the server's settings, certificate and key, makes the database and its users, and takes away what makes a
    fresh server unsafe. It restarts the server only where a setting needs that.
  - Every server starts read-only; a unit makes it writable when it is the primary.
  - Databases and users of others are left alone. Packages are named, not installed.
options:
  state:
    description:
      - The server. C(uuid), C(name), C(port), C(server_id), C(database), C(semi_sync), C(tls) with C(ca) and
        C(certificate), and C(record), which is written down on the server. That has C(name), C(host), C(semi_sync),
        C(peers) with C(name), C(host) and C(port) of the others, and, for the first time, C(term) and C(role)
        (C(standalone), C(primary) or C(replica)).
    type: dict
    required: true
  secrets:
    description: The passwords of C(zctl), C(zctl_reader) and C(zctl_repl), and C(key), the certificate's private key.
    type: dict
    required: true
  fail:
    description: Whether the task fails when something is missing.
    type: bool
    default: true
  require_packages:
    description: Whether missing packages are a failure. The role asks first without, then installs them.
    type: bool
    default: true
attributes:
  check_mode:
    description: Reports what it would do.
    support: full
  diff_mode:
    description: Each difference is in the results.
    support: none
"""

EXAMPLES = r"""
- name: Make this machine a database server
  zctl.cloud.zctl_mysql_server:
    state: "{{ mysql_server_state }}"
    secrets: "{{ mysql_server_secrets }}"
"""

RETURN = r"""
results:
  description:
    - One entry for the server. C(differences) has C(field), C(actual) and C(desired) of what was not as wanted.
  returned: always
  type: list
  elements: dict
missing_packages:
  description: Names of the packages to install.
  returned: always
  type: list
  elements: str
"""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "dict", "required": True},
            "secrets": {"type": "dict", "required": True, "no_log": True},
            "fail": {"type": "bool", "default": True},
            "require_packages": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    zctl_module.take_turns()
    args = module.params
    try:
        outcome = zctl_mysql_server.converge(
            args["state"], args["secrets"], module.check_mode, args["require_packages"]
        )
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error), results=[])
    zctl_module.finish(module, outcome)


if __name__ == "__main__":
    main()
