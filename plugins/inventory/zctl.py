"""Ansible's inventory out of zctl's: hosts with their desired state, zones and clusters as groups."""

from __future__ import annotations

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.utils.unsafe_proxy import wrap_var

DOCUMENTATION = r"""
---
name: zctl
short_description: Hosts, zones and clusters of a zctl inventory
description:
  - Reads the inventory that the C(zctl) command uses; needs the zctl package in Ansible's Python.
  - Every host carries its desired state in C(zctl_state), which the roles of this collection apply.
options:
  plugin:
    description: The name of this plugin.
    required: true
    choices: [zctl.cloud.zctl]
  db:
    description: File or URL of the inventory; the configured one when not given.
    type: str
    default: ""
    env:
      - name: ZCTL_DB
author: The zctl authors
"""

EXAMPLES = r"""
plugin: zctl.cloud.zctl
"""


class InventoryModule(BaseInventoryPlugin):
    """The plugin."""

    NAME = "zctl.cloud.zctl"

    def verify_file(self, path: str) -> bool:
        """Whether a file is meant for this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("zctl.yml", "zctl.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Fill Ansible's inventory. Raises AnsibleParserError with zctl's own words."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            from zctl.actions.ansible_inventory import read
            from zctl.errors import ZctlError
        except ImportError as error:
            raise AnsibleParserError(f"the zctl package is not in Ansible's Python: {error}") from error
        try:
            hosts = read(self.get_option("db"))
        except ZctlError as error:
            raise AnsibleParserError(str(error)) from error
        for group in ("zctl", "kvm", "qemu"):
            self.inventory.add_group(group)  # there also without hosts, so that patterns with them are known
        for host in hosts:
            self.add(host)

    def add(self, host: dict) -> None:
        """Add one host to its groups; zctl has made their names legal."""
        self.inventory.add_host(host["name"], group="zctl")
        for group in host["groups"]:
            self.inventory.add_group(group)
            self.inventory.add_child(group, host["name"])
        for name, value in host["variables"].items():
            self.inventory.set_variable(host["name"], name, wrap_var(value))
