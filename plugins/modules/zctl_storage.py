#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible's side of the storage concern; the work is in module_utils/zctl_storage.py."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_module, zctl_storage

DOCUMENTATION = r"""
module: zctl_storage
short_description: Brings the storages, images and volumes of a host to the desired state
version_added: 0.1.0
author: The zctl authors (@zctl)
description:
  - Makes storage folders ready, caches images, creates and grows volumes, all in one call.
  - Deletes only files that are named in RV(ignore:purge) of the state.
  - Always runs with its action plugin, which uploads image files from the controller when the host lacks them.
options:
  inventory:
    description: UUID of the zctl inventory; part of every mark.
    type: str
    required: true
  state:
    description: The storage part of the host state, with the lists storages, images, volumes and purge.
    type: dict
    required: true
  scope:
    description:
      - UUIDs of the resources to look at. Not given means all, an empty list means to read and report only.
    type: list
    elements: str
  fail:
    description: Whether the task fails when one of the resources does.
    type: bool
    default: true
  sources:
    description: Set by the action plugin; what the controller knows about its own image files.
    type: dict
    default: {}
  uploads:
    description: Set by the action plugin; where on the host the uploaded image files are.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Reports what it would do.
    support: full
  diff_mode:
    description: Shows the resources that change.
    support: full
"""

EXAMPLES = r"""
- name: One local storage with an image and a volume on it
  zctl.cloud.zctl_storage:
    inventory: 0b6c1b1e-5a0e-4b70-9a54-1f4a5a0a2f11
    state:
      storages:
        - {uuid: 6f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e01, name: fast, kind: local, path: /var/lib/zctl/fast}
      images:
        - uuid: 9d1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e02
          name: debian12
          storage: 6f1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e01
          path: /var/lib/zctl/fast/images/9d1c0c9e-7d1b-4a8e-9a7e-0d7c2b1a9e02.qcow2
          source: https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2
          format: qcow2
"""

RETURN = r"""
results:
  description:
    - One entry for each resource with its uuid, kind, name, result, reason and what was observed.
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
    module = AnsibleModule(
        argument_spec=zctl_module.argument_spec(
            sources={"type": "dict", "default": {}},
            uploads={"type": "dict", "default": {}},
        ),
        supports_check_mode=True,
    )
    zctl_module.take_turns()
    args = module.params
    outcome = zctl_storage.converge(
        args["inventory"],
        args["state"],
        args["scope"],
        module.check_mode,
        sources=args["sources"],
        uploads=args["uploads"],
    )
    zctl_module.finish(module, outcome)


if __name__ == "__main__":
    main()
