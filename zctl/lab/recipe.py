"""What the lab's base trees are made of. Pure: the same recipe gives the same hash, and the hash names the cache."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

BOOTSTRAP = ("ca-certificates", "dbus", "iproute2", "python3", "systemd", "systemd-sysv")
# polkit and libvirt's packages need logind to be there first, so debootstrap itself cannot install them.
BARE_PACKAGES = ("kmod", "libpam-systemd", "openssh-server", "procps", "udev")
FULL_PACKAGES = (
    "bindfs",
    "busybox",
    "conntrack",
    "curl",
    "dnsmasq-base",
    "ebtables",
    "haproxy",
    "iputils-arping",
    "iputils-ping",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "nftables",
    "nginx-light",
    "python3-apt",
    "python3-libvirt",
    "python3-lxml",
    "qemu-system-x86",
    "qemu-utils",
    "sudo",
)

# Timers and waits that do nothing for a lab host but cost time at every start.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-networkd-wait-online.service",
    "systemd-udev-settle.service",
)

FILES = {
    "etc/dpkg/dpkg.cfg.d/zctl-lab": "# Throwaway hosts: no fsync for each file; our qemu.conf stays when libvirt is"
    " installed later.\nforce-unsafe-io\nforce-confold\n",
    "etc/apt/apt.conf.d/90zctl-lab": 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n',
    "etc/ssh/sshd_config.d/zctl-lab.conf": "PermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 100:30:200\n"
    "MaxSessions 100\n",
    # Where cgroups are v1, systemd in a container cannot see that a service has ended, and waits this long.
    "etc/systemd/system.conf.d/zctl-lab.conf": "[Manager]\nDefaultTimeoutStopSec=10s\n",
    # Present before libvirt is, so that it also holds where a role installs libvirt on a bare host.
    "etc/libvirt/qemu.conf": "# Cgroups are read-only in a container, so libvirt must not use them.\n"
    "cgroup_controllers = [ ]\n",
    "etc/systemd/system/srv-shared.mount": "[Unit]\nDescription=A folder that all hosts of this lab share\n"
    "ConditionPathExists=/usr/bin/bindfs\nConditionPathExists=/dev/fuse\n\n"
    "[Mount]\nWhat=/run/zctl-lab/shared\nWhere=/srv/shared\nType=fuse.bindfs\nOptions=allow_other\n\n"
    "[Install]\nWantedBy=multi-user.target\n",
}


@dataclass(frozen=True)
class Recipe:
    """A base tree; `bare` has Python and sshd only."""

    bare: bool
    suite: str = SUITE
    bootstrap: tuple[str, ...] = BOOTSTRAP
    packages: tuple[str, ...] = BARE_PACKAGES
    extra: tuple[str, ...] = ()
    masked: tuple[str, ...] = MASKED_UNITS
    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    enabled: tuple[str, ...] = ("srv-shared.mount", "ssh.service", "systemd-networkd.service")

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that change when anything in the recipe does."""
        return digest(asdict(self))


def recipe(*, bare: bool) -> Recipe:
    # nginx and haproxy are there for what zctl runs in namespaces; their own services are for the whole host.
    masked = (*MASKED_UNITS, "nginx.service", "haproxy.service")
    return Recipe(bare=True) if bare else Recipe(bare=False, extra=FULL_PACKAGES, masked=masked)


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def debian_mirrors(texts: list[str], suite: str = SUITE) -> tuple[str, str]:
    """The (main, security) mirrors that apt's source files name for this suite; empty for one they do not name.

    `texts` are the contents of sources.list and sources.list.d/*, in one-line or deb822 format.
    """
    main, security = "", ""
    for text in texts:
        for uri, suites in _one_line(text) + _deb822(text):
            if suite in suites:
                main = main or uri
            if f"{suite}-security" in suites:
                security = security or uri
    return main, security


def _one_line(text: str) -> list[tuple[str, list[str]]]:
    found = re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(http\S+)\s+(\S+)", text, re.MULTILINE)
    return [(uri.rstrip("/"), [suite]) for uri, suite in found]


def _deb822(text: str) -> list[tuple[str, list[str]]]:
    pairs = []
    for stanza in re.split(r"\n\s*\n", text):
        keys = {key.lower(): value.split() for key, value in re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", stanza, re.M)}
        if "deb" not in keys.get("types", []) or keys.get("enabled", ["yes"])[:1] == ["no"]:
            continue
        uris = [uri.rstrip("/") for uri in keys.get("uris", []) if uri.startswith("http")]
        if uris:
            pairs.append((uris[0], keys.get("suites", [])))
    return pairs


def sources_list(main: str, security: str, suite: str = SUITE) -> str:
    """The sources.list of a lab host."""
    return f"deb {main} {suite} main\ndeb {main} {suite}-updates main\ndeb {security} {suite}-security main\n"
