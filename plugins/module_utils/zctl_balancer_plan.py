# SPDX-License-Identifier: Apache-2.0
"""What the load balancers of an l3-network consist of: haproxy's settings and its unit. Pure: values in, texts out."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
USER = "zctl-balancer"
CONFIG = "/etc/zctl/balancer"
MADE = "# Made by zctl; zctl converge writes it anew.\n"
ALGORITHMS = {"round_robin": "roundrobin", "least_connections": "leastconn", "source": "source"}
UNIT = "zctl-balancer@.service"
# A reload starts a new worker; the one before ends with its last connection (haproxy's master-worker mode).
UNIT_TEXT = (
    MADE
    + f"""[Unit]
Description=zctl: load balancers of l3-network %i
Documentation=file:{CONFIG}/%i/haproxy.cfg
Wants=zctl-net.service
After=zctl-net.service
StartLimitIntervalSec=0

[Service]
Type=notify
User={USER}
Group={USER}
NetworkNamespacePath={CONFIG}/%i/netns
RuntimeDirectory=zctl-balancer-%i
RuntimeDirectoryMode=0700
ExecStartPre=/bin/sh -c 'echo 1 >/run/zctl-balancer-%i/state'
ExecStart=/usr/sbin/haproxy -Ws -f {CONFIG}/%i/haproxy.cfg -p /run/zctl-balancer-%i/pid
ExecReload=/bin/kill -USR2 $MAINPID
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec=5
SuccessExitStatus=143
LimitNOFILE=65536
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""
)
# Each network has a haproxy of its own, so none may take all of the host's CPUs; a file for a server's state carries
# over a reload what health checks have found. Old workers end at the latest when hard-stop-after says so.
HEAD = """\
global
    log stderr format raw daemon notice
    nbthread 4
    hard-stop-after 12h
    stats socket @RUN@/stats.sock mode 600 level operator
    server-state-file @RUN@/state

defaults
    log global
    mode tcp
    option dontlog-normal
    option redispatch
    retries 3
    timeout connect 5s
    timeout queue 30s
    load-server-state-from-file global
"""


def unit(uuid: str) -> str:
    """The unit of a network's load balancers."""
    return f"zctl-balancer@{uuid}.service"


def run_folder(uuid: str) -> str:
    """Where the socket and the state file of a network's haproxy are."""
    return f"/run/zctl-balancer-{uuid}"


def server_name(target: Json) -> str:
    """What haproxy calls a target; with its port, so that a state that it has kept is of the same service."""
    return f"{target['ip']}:{target['port']}"


def haproxy_config(router: Json) -> str:
    """haproxy's settings for the load balancers of one network. Names of people's do not get into it."""
    parts = [section(entry) for entry in sorted(router["balancers"], key=lambda entry: entry["uuid"])]
    return MADE + HEAD.replace("@RUN@", run_folder(router["uuid"])) + "".join(parts)


def section(balancer: Json) -> str:
    """The part of one load balancer."""
    seconds = {name: f"{int(balancer[name])}s" for name in ("idle_timeout", "interval", "timeout")}
    checks = f"inter {seconds['interval']} rise {int(balancer['rise'])} fall {int(balancer['fall'])}"
    proxy = " send-proxy-v2" if balancer.get("proxy_protocol") else ""
    lines = [
        f"listen {balancer['uuid']}",
        f"    bind {balancer['ip']}:{int(balancer['port'])}",
        f"    balance {ALGORITHMS[balancer['algorithm']]}",
        "    hash-type consistent",
        f"    timeout client {seconds['idle_timeout']}",
        f"    timeout server {seconds['idle_timeout']}",
        f"    timeout check {seconds['timeout']}",
        f"    source {balancer['source']}",
        f"    default-server check {checks}",
        *(f"    server {server_name(entry)} {server_name(entry)}{proxy}" for entry in balancer["targets"]),
    ]
    return "\n" + "\n".join(lines) + "\n"


def allowing_rules(balancer: Json) -> list[str]:
    """What of the namespace's input chain lets clients in, and nobody else."""
    port = f"ip daddr {balancer['ip']} tcp dport {int(balancer['port'])}"
    if not balancer.get("allowed"):
        return [f"{port} accept"]
    return [f"{port} ip saddr {{ {', '.join(sorted(balancer['allowed']))} }} accept", f"{port} drop"]


def parse_health(text: str) -> dict[str, dict[str, Json]]:
    """What haproxy's `show stat` tells: load balancer -> server -> state, its reason, and connections at present."""
    lines = text.lstrip("# ").splitlines()
    found: dict[str, dict[str, Json]] = {}
    if not lines:
        return found
    columns = lines[0].split(",")
    for line in lines[1:]:
        row = dict(zip(columns, line.split(",")))  # noqa: B905 - Python 3.9
        if row.get("svname") in (None, "", "FRONTEND", "BACKEND"):
            continue
        status = row.get("status", "")
        found.setdefault(row["pxname"], {})[row["svname"]] = {
            "state": status.split(" ")[0].upper() or "UNKNOWN",
            "check": row.get("check_status", "").lstrip("* "),
            "connections": int(row.get("scur") or 0),
            "since": int(row.get("lastchg") or 0),
        }
    return found
