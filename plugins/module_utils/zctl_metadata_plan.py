"""What the metadata service of an l3-network consists of. Pure: values in, texts and files out.

The tree is EC2's (docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html): a leaf is a file
without a line end, and `.list` in each folder is what EC2 answers for that folder.
"""

from __future__ import annotations

import base64
from typing import Any

Json = dict[str, Any]
Tree = dict[str, bytes]

ADDRESS = "169.254.169.254"
USER = "zctl-metadata"
CONFIG = "/etc/zctl/metadata"
DATA = "/var/lib/zctl/metadata"
LIST = ".list"
OPEN = "token/is/none"  # there unless a token is required; see zctl_metadata_nginx
MADE = "# Made by zctl; zctl converge writes it anew.\n"
# What clients ask for; all of them get the same tree.
VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "latest",
)
UNIT = "zctl-metadata@.service"
UNIT_TEXT = (
    MADE
    + f"""[Unit]
Description=zctl: metadata of l3-network %i
Documentation=file:{CONFIG}/%i/network.json
Wants=zctl-net.service
After=zctl-net.service
StartLimitIntervalSec=0

[Service]
User={USER}
Group={USER}
NetworkNamespacePath={CONFIG}/%i/netns
RuntimeDirectory=zctl-metadata-%i
RuntimeDirectoryMode=0700
ExecStart=/usr/sbin/nginx -e stderr -p /run/zctl-metadata-%i -c {CONFIG}/%i/nginx.conf
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec=5
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
TemporaryFileSystem={DATA}:ro
BindReadOnlyPaths={DATA}/%i
RestrictAddressFamilies=AF_INET AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""
)


def tree(nic: Json) -> Tree:
    """What the VM behind a network card is told: path below `latest` to content."""
    leaves = {f"meta-data/{path}": str(value).encode() for path, value in items(nic).items() if value}
    if nic.get("user_data"):
        leaves["user-data"] = base64.b64decode(nic["user_data"])
    return leaves | {path: text.encode() for path, text in listings(leaves, nic).items()}


def items(nic: Json) -> Json:
    """The leaves of meta-data; what has no value is not there at all."""
    groups = "\n".join(nic.get("security_groups") or [])
    found: Json = {
        "ami-id": nic.get("image"),
        "hostname": nic["hostname"],
        "instance-id": nic["instance_id"],
        "instance-type": nic["instance_type"],
        "ipv6": nic.get("ip6"),
        "local-hostname": nic["hostname"],
        "local-ipv4": nic["ip"],
        "mac": nic["mac"],
        "placement/availability-zone": nic["zone"],
        "public-hostname": nic["hostname"] if nic.get("public_ipv4") else None,
        "public-ipv4": nic.get("public_ipv4"),
        "security-groups": groups,
    }
    for number, key in enumerate(nic.get("keys") or []):
        found[f"public-keys/{number}/openssh-key"] = key["public_key"]
    for card in nic["cards"]:
        own = f"network/interfaces/macs/{card['mac']}"
        found |= {
            f"{own}/device-number": str(card["device"]),
            f"{own}/interface-id": f"eni-{card['uuid'].replace('-', '')[:17]}",
            f"{own}/ipv6s": card.get("ip6"),
            f"{own}/local-hostname": nic["hostname"],
            f"{own}/local-ipv4s": card["ip"],
            f"{own}/mac": card["mac"],
            f"{own}/public-hostname": nic["hostname"] if card.get("public_ipv4") else None,
            f"{own}/public-ipv4s": card.get("public_ipv4"),
            f"{own}/security-groups": "\n".join(card.get("security_groups") or []),
            f"{own}/subnet-ipv4-cidr-block": card["cidr"],
            f"{own}/subnet-ipv6-cidr-blocks": card.get("cidr6"),
        }
        if card.get("public_ipv4"):
            found[f"{own}/ipv4-associations/{card['public_ipv4']}"] = card["ip"]
    return found


def listings(leaves: Tree, nic: Json) -> dict[str, str]:
    """What EC2 answers for each folder: its entries, folders with a slash; keys by number and name."""
    folders: dict[str, set[str]] = {}
    for path in leaves:
        words = path.split("/")
        for depth, word in enumerate(words):
            # The uppermost folder lists its own without slashes, as EC2 does.
            slash = "/" if depth and depth < len(words) - 1 else ""
            folders.setdefault("/".join(words[:depth]), set()).add(word + slash)
    found = {f"{folder}/{LIST}".lstrip("/"): "\n".join(sorted(entries)) for folder, entries in folders.items()}
    if nic.get("keys"):
        names = "\n".join(f"{number}={key['name']}" for number, key in enumerate(nic["keys"]))
        found[f"meta-data/public-keys/{LIST}"] = names
    return found


def differs(actual: Tree, desired: Tree) -> list[str]:
    """The paths whose content is not as wanted, in order."""
    return sorted(path for path in {*actual, *desired} if actual.get(path) != desired.get(path))


def shown(path: str, content: bytes | None) -> str | None:
    """A content for people: never user data."""
    if content is None:
        return None
    if path == "user-data":
        import hashlib

        return f"{len(content)} bytes, sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    return content.decode("utf-8", "replace").replace("\n", " ")
