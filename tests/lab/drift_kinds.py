"""What tests of drift do to a host: commands, what is to be told of each, and which of them do not hide each other."""

from __future__ import annotations

from zctl_l3_filter import RULES
from zctl_results import difference

from tests.lab.role_runner import INVENTORY
from tests.lab.wire import flat, l3, lease, tunnel

FLAT, TUNNEL = flat(mtu=1500), tunnel()
BRIDGE, DEVICE = TUNNEL["bridge"], TUNNEL["device"]
SERVED = l3(TUNNEL, 1, lease(11), lease(12))
L3, FOLDER, VETH = SERVED["uuid"], f"/etc/zctl/l3/{SERVED['uuid']}", SERVED["veth"]
NAMESPACE, SERVICE = SERVED["namespace"], f"zctl-l3@{SERVED['uuid']}.service"
TABLE = f"bridge zctl_l3_{INVENTORY[:8]}"

NETWORK = {
    "bridge deleted": (
        f"ip link del {BRIDGE}",
        {"tunnel-1 bridge": (None, BRIDGE), "tunnel-1 tunnel.bridge": (None, BRIDGE)},
    ),
    "bridge down": (f"ip link set {BRIDGE} down", {"tunnel-1 bridge.state": ("down", "up")}),
    "bridge mtu": (f"ip link set {BRIDGE} mtu 1300", {"tunnel-1 bridge.mtu": (1300, 1450)}),
    "stp": (
        f"ip link set {BRIDGE} type bridge stp_state 1",
        {"tunnel-1 bridge.stp_state": (1, 0), "tunnel-1 bridge.forward_delay": (200, 0)},
    ),
    "addresses of its own": (
        f"ip link set {BRIDGE} addrgenmode eui64",
        {"tunnel-1 bridge.addrgenmode": ("eui64", "none")},
    ),
    "nic taken out": ("ip link set data0 nomaster", {"flat-1 port": (None, "data0")}),
    "nic down": ("ip link set data0 down", {"flat-1 port.state": ("down", "up")}),
    "nic mtu": ("ip link set data0 mtu 1400", {"flat-1 port.mtu": (1400, 1500)}),
    "tunnel taken out": (f"ip link set {DEVICE} nomaster", {"tunnel-1 tunnel.bridge": (None, BRIDGE)}),
    "tunnel down": (f"ip link set {DEVICE} down", {"tunnel-1 tunnel.state": ("down", "up")}),
    "tunnel mtu": (f"ip link set {DEVICE} mtu 1400", {"tunnel-1 tunnel.mtu": (1400, 1450)}),
    "tunnel deleted": (f"ip link del {DEVICE}", {"tunnel-1 tunnel": (None, DEVICE)}),
    "another tunnel": (
        f"A=$(ip -d link show {DEVICE} | sed -n 's/.*alias //p'); ip link del {DEVICE};"
        f" ip link add {DEVICE} type vxlan id 7099 group 239.192.27.99 dev host0"
        f" local $(ip -4 -br addr show host0 | awk '{{print $3}}' | cut -d/ -f1) dstport 4789 ttl 8;"
        f' ip link set {DEVICE} master {BRIDGE} alias "$A" addrgenmode none mtu 1450 up',
        {"tunnel-1 tunnel.vni": (7099, 7001), "tunnel-1 tunnel.group": ("239.192.27.99", "239.192.27.1")},
    ),
    "record removed": (
        f"rm /etc/zctl/l2/{TUNNEL['uuid']}.json",
        {"tunnel-1 record": (None, f"/etc/zctl/l2/{TUNNEL['uuid']}.json")},
    ),
    "record edited": (
        f"sed -i s/7001/7055/ /etc/zctl/l2/{TUNNEL['uuid']}.json",
        {"tunnel-1 record.vni": (7055, 7001)},
    ),
    "unit edited": (
        "sed -i s/RemainAfterExit=yes/RemainAfterExit=no/ /etc/systemd/system/zctl-net.service",
        {"flat-1 zctl-net.service": ("RemainAfterExit=no", "RemainAfterExit=yes")},
    ),
    "unit disabled": (
        "systemctl disable --quiet zctl-net.service",
        {"flat-1 zctl-net.service.enabled": ("disabled", "enabled")},
    ),
    "unit removed": (
        "rm /etc/systemd/system/zctl-net.service",
        {"flat-1 zctl-net.service": (None, "as zctl writes it")},
    ),
    "code edited": (
        "echo 'raise SystemExit' >> /usr/local/lib/zctl/zctl_boot.py",
        {"flat-1 /usr/local/lib/zctl/zctl_boot.py": ("another text", "as this version has it")},
    ),
    "settings file removed": (
        "rm /etc/sysctl.d/90-zctl-bridge.conf",
        {"flat-1 /etc/sysctl.d/90-zctl-bridge.conf": (None, "as zctl writes it")},
    ),
}  # fmt: skip
NETWORKS = (
    "bridge down, bridge mtu, stp, addresses of its own, nic down, tunnel down, record removed, unit edited",
    "nic mtu, tunnel taken out, settings file removed, unit disabled, code edited",
    "nic taken out, tunnel mtu, record edited",
    "bridge deleted, unit removed",
    "tunnel deleted",
    "another tunnel",
)
SERVICES = {
    "namespace deleted": (
        f"systemctl stop {SERVICE}; ip netns del {NAMESPACE}; sleep 0.5",
        {"l3-1 namespace": (None, NAMESPACE), "l3-1 port": (None, VETH), "l3-1 service": ("inactive", "active")},
    ),
    "port deleted": (f"ip link del {VETH}", {"l3-1 port": (None, VETH)}),
    "port down": (f"ip link set {VETH} down", {"l3-1 port.state": ("down", "up")}),
    "port taken out": (f"ip link set {VETH} nomaster", {"l3-1 port.bridge": (None, BRIDGE)}),
    "port mtu": (f"ip link set {VETH} mtu 1300", {"l3-1 port.mtu": (1300, 1450)}),
    "address removed": (
        f"ip -n {NAMESPACE} addr del 198.19.1.250/24 dev eth0",
        {"l3-1 namespace.address": (None, "198.19.1.250/24")},
    ),
    "address changed": (
        f"ip -n {NAMESPACE} addr flush dev eth0; ip -n {NAMESPACE} addr add 198.19.1.251/24 dev eth0",
        {"l3-1 namespace.address": ("198.19.1.251/24", "198.19.1.250/24")},
    ),
    "inside down": (f"ip -n {NAMESPACE} link set eth0 down", {"l3-1 namespace.state": ("down", "up")}),
    "service stopped": (f"systemctl stop {SERVICE}", {"l3-1 service": ("inactive", "active")}),
    "dnsmasq killed for good": (
        f"systemctl kill -s KILL {SERVICE}; systemctl stop {SERVICE}; systemctl reset-failed {SERVICE}; true",
        {"l3-1 service": ("inactive", "active")},
    ),
    "service disabled": (
        f"systemctl disable --quiet {SERVICE}",
        {"l3-1 service.enabled": ("disabled", "enabled")},
    ),
    "settings edited": (
        f"sed -i 's/^dhcp-authoritative/log-dhcp/' {FOLDER}/dnsmasq.conf",
        {"l3-1 dnsmasq.conf": ("log-dhcp", "dhcp-authoritative")},
    ),
    "record removed": (f"rm {FOLDER}/network.json", {"l3-1 record": (None, f"{FOLDER}/network.json")}),
    "unit edited": (
        "sed -i s/Restart=always/Restart=no/ /etc/systemd/system/zctl-l3@.service",
        {"l3-1 zctl-l3@.service": ("Restart=no", "Restart=always")},
    ),
    "lease removed": (
        f"rm {FOLDER}/hosts/{lease(11)['uuid']}",
        {"vm-1-11 lease": (None, "52:54:00:27:01:0b,198.19.1.11,vm-1-11")},
    ),
    "lease edited": (
        f"sed -i s/198.19.1.11/198.19.1.99/ {FOLDER}/hosts/{lease(11)['uuid']}",
        {"vm-1-11 lease.ip": ("198.19.1.99", "198.19.1.11")},
    ),
    "stray lease": (
        f"echo 52:54:00:00:00:01,198.19.1.77,ghost > {FOLDER}/hosts/ghost-1",
        {"ghost lease": ("52:54:00:00:00:01,198.19.1.77,ghost", None)},
    ),
    "filter removed": (f"nft delete table {TABLE}", {"l3-1 filter": (None, TABLE.split()[1])}),
    "rule removed": (
        f"nft flush chain {TABLE} from_outside",
        {"l3-1 filter.from_outside": (None, difference("", None, "; ".join(RULES["from_outside"]))["desired"])},
    ),
    "rule edited": (
        f"H=$(nft -a list chain {TABLE} to_outside | sed -n 's/.*@uplinks udp dport.*handle //p');"
        f" nft replace rule {TABLE} to_outside handle $H oifname @uplinks udp dport '{{ 67, 69 }}' drop",
        {"l3-1 filter.to_outside": ("oifname @uplinks udp dport { 67, 69 } drop",
            "oifname @uplinks udp dport { 67, 68 } drop")},
    ),
    "element removed": (
        f"nft delete element {TABLE} uplinks '{{ {DEVICE} }}'",
        {"l3-1 filter.uplinks": (None, DEVICE)},
    ),
    "element added": (
        f"nft add element {TABLE} uplinks '{{ \"eth77\" }}'",
        {"l3-1 filter.uplinks": ("eth77", None)},
    ),
}  # fmt: skip
SERVED_ONES = (
    "namespace deleted, filter removed",
    "port deleted, stray lease, rule removed",
    "port down, address removed, lease removed, rule edited",
    "port taken out, port mtu, address changed, lease edited, element removed",
    "inside down, service stopped, record removed",
    "dnsmasq killed for good, settings edited, element added",
    "service disabled, unit edited",
)
SOCKETS = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service"
MACHINE = {
    "setting changed": ("sysctl -q net.ipv4.ip_forward=0", {"net.ipv4.ip_forward": ("0", "1")}),
    "settings file edited": (
        "sed -i 's/= 1/= 0/' /etc/sysctl.d/90-zctl.conf",
        {"/etc/sysctl.d/90-zctl.conf": ("net.ipv4.ip_forward = 0", "net.ipv4.ip_forward = 1")},
    ),
    "settings file removed": (
        "rm /etc/sysctl.d/90-zctl.conf",
        {"/etc/sysctl.d/90-zctl.conf": (None, "as zctl writes it")},
    ),
    "libvirt stopped": (f"systemctl stop {SOCKETS}", {"libvirt": ("does not answer", "answers")}),
    "libvirt disabled": (
        "systemctl disable --quiet libvirtd.service",
        {"libvirtd.service.enabled": ("disabled", "enabled")},
    ),
    "libvirt stopped and disabled": (
        f"systemctl disable --quiet libvirtd.service; systemctl stop {SOCKETS}",
        {"libvirt": ("does not answer", "answers"), "libvirtd.service.enabled": ("disabled", "enabled")},
    ),
    "package removed": ("dpkg --remove iputils-arping", {"package iputils-arping": (None, "installed")}),
}  # fmt: skip
MACHINES = (
    "setting changed, libvirt stopped",
    "settings file edited, libvirt disabled",
    "settings file removed, libvirt stopped and disabled",
    "package removed",
)
