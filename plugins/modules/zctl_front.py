#!/usr/bin/python
"""Bring the TLS reverse proxy before the API to its desired state."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.zctl.cloud.plugins.module_utils import zctl_front
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_module import take_turns
from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble

DOCUMENTATION = r"""
---
module: zctl_front
short_description: Brings the TLS reverse proxy before the API to its desired state
description:
  - An nginx of its own, as C(zctl-front.service). The distribution's C(nginx.service) and its sites are not touched.
  - The file is read by nginx before it takes the place of the one that runs.
options:
  state:
    description: Whether there is a proxy.
    type: str
    choices: [present, absent]
    default: present
  server_name:
    description: DNS name or IP address that clients use.
    type: str
    default: localhost
  aliases:
    description: Other names it answers to.
    type: list
    elements: str
    default: []
  upstream:
    description: Where the API listens, C(http://HOST:PORT) or C(unix:/PATH).
    type: str
    default: http://127.0.0.1:8080
  certificate:
    description: Path on the host of the certificate with its chain, PEM. Without it one is made.
    type: path
    default: ""
  key:
    description: Path on the host of its key.
    type: path
    default: ""
  http_port:
    description: Where requests are sent on to HTTPS.
    type: int
    default: 80
  https_port:
    description: Where the API is answered for.
    type: int
    default: 443
  addresses:
    description: Addresses of the host to listen at; all when empty.
    type: list
    elements: str
    default: []
  hsts_seconds:
    description: How long browsers are to use HTTPS only; 0 does not tell them.
    type: int
    default: 0
  body_size:
    description: The largest request, as nginx writes sizes.
    type: str
    default: 16m
  read_timeout:
    description: Seconds that the API may be silent within a request.
    type: int
    default: 300
  acme_folder:
    description: Folder on the host from which C(/.well-known/acme-challenge/) is answered over HTTP.
    type: path
    default: ""
author: The zctl authors
"""

EXAMPLES = r"""
- name: The front with a certificate of one's own
  zctl.cloud.zctl_front:
    server_name: cloud.example.org
    certificate: /etc/ssl/cloud.pem
    key: /etc/ssl/private/cloud.key
    hsts_seconds: 31536000
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
family:
  description: Whose packages these are, C(debian) or C(redhat).
  returned: when something is missing
  type: str
"""


def main() -> None:
    """Run the module."""
    text, number = {"type": "str"}, {"type": "int"}
    module = AnsibleModule(
        argument_spec={
            "state": {**text, "choices": ["present", "absent"], "default": "present"},
            "server_name": {**text, "default": "localhost"},
            "aliases": {"type": "list", "elements": "str", "default": []},
            "upstream": {**text, "default": "http://127.0.0.1:8080"},
            "certificate": {"type": "path", "default": ""},
            "key": {"type": "path", "default": "", "no_log": False},  # a path, not the key
            "http_port": {**number, "default": 80},
            "https_port": {**number, "default": 443},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "hsts_seconds": {**number, "default": 0},
            "body_size": {**text, "default": "16m"},
            "read_timeout": {**number, "default": 300},
            "acme_folder": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    take_turns()
    try:
        if module.params["state"] == "absent":
            answer = zctl_front.remove(module.check_mode)
        else:
            answer = zctl_front.converge(module.params, module.check_mode)
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error))
    for words in answer.pop("warnings", []):
        module.warn(words)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
