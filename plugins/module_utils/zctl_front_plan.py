# SPDX-License-Identifier: Apache-2.0
"""The TLS reverse proxy before the API, as values: its settings checked, nginx's file made of them. Pure.

What comes from variables is checked against what may stand in nginx's file as it is: no blanks, quotes or braces.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, fields
from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils.zctl_system import Trouble
except ImportError:
    from zctl_system import Trouble  # type: ignore[assignment]

FOLDER = "/etc/zctl/front"
CONFIG = f"{FOLDER}/nginx.conf"
SELF_MADE = f"{FOLDER}/self-made.pem"  # key and certificate in one file, so that they always fit
UNIT = "zctl-front.service"
LOGS = "/var/log/zctl-front"
CACHE = "/var/cache/zctl-front"
RUN = "/run/zctl-front"
HEADER = "# Put here by zctl (role front), which writes it anew.\n"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
PATH = re.compile(r"/[A-Za-z0-9._@+/-]+")
SIZE = re.compile(r"[0-9]{1,6}[kmg]?", re.IGNORECASE)
# Mozilla's "intermediate" list of 2024 without finite-field Diffie-Hellman.
CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)
UNIT_TEXT = f"""\
{HEADER}[Unit]
Description=zctl: TLS reverse proxy before the API
Documentation=file:{CONFIG}
After=network-online.target nss-lookup.target
Wants=network-online.target

[Service]
Type=forking
PIDFile={RUN}/nginx.pid
ExecStartPre=/usr/sbin/nginx -e stderr -t -q -c {CONFIG}
ExecStart=/usr/sbin/nginx -e stderr -c {CONFIG}
ExecStartPost=/bin/sh -c 'sha256sum <{CONFIG} >{RUN}/loaded'
ExecReload=/usr/sbin/nginx -e stderr -t -q -c {CONFIG}
ExecReload=/bin/kill -HUP $MAINPID
ExecReload=/bin/sh -c 'sha256sum <{CONFIG} >{RUN}/loaded'
Restart=on-failure
RestartSec=1
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=10
RuntimeDirectory=zctl-front
LogsDirectory=zctl-front
CacheDirectory=zctl-front
LimitNOFILE=65536
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077

[Install]
WantedBy=multi-user.target
"""
LOGROTATE = f"""\
{HEADER}{LOGS}/*.log {{
    daily
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
    sharedscripts
    postrotate
        systemctl kill --signal=USR1 {UNIT} 2>/dev/null || true
    endscript
}}
"""
# Of a request only the path is logged: what follows the question mark may be a token.
TEMPLATE = """\
user @USER@;
worker_processes auto;
pid @RUN@/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
    server_tokens off;
    default_type text/plain;
    client_body_temp_path @CACHE@/body;
    proxy_temp_path @CACHE@/proxy;
    fastcgi_temp_path @CACHE@/fastcgi;
    uwsgi_temp_path @CACHE@/uwsgi;
    scgi_temp_path @CACHE@/scgi;
    log_format zctl '$remote_addr [$time_iso8601] "$request_method $uri $server_protocol" $status $body_bytes_sent'
                    ' $request_time "$http_user_agent" "$upstream_addr" $upstream_status';
    access_log @LOGS@/access.log zctl;
    client_header_timeout 10s;
    client_body_timeout 60s;
    send_timeout 60s;
    keepalive_timeout 65s;
    reset_timedout_connection on;
    client_max_body_size @BODY_SIZE@;
    ssl_certificate @CERTIFICATE@;
    ssl_certificate_key @KEY@;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers @CIPHERS@;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:zctl_front:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
    map $http_upgrade $zctl_connection {
        default upgrade;
        "" "";
    }
    upstream zctl_api {
        server @UPSTREAM@;
        keepalive 16;
    }
    server {
@LISTEN_HTTP@
        server_name _;
@ACME@        location / { return 308 https://@AUTHORITY@$request_uri; }
    }
    server {
@LISTEN_DEFAULT@
        server_name _;
        return 421 "this server is called @NAME@\\n";
    }
    server {
@LISTEN_HTTPS@
        server_name @NAMES@;
@HSTS@        add_header X-Content-Type-Options nosniff always;
        add_header X-Frame-Options DENY always;
        add_header Referrer-Policy no-referrer always;
        location / {
            proxy_pass http://zctl_api;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header Forwarded "";
            proxy_set_header Proxy "";
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $zctl_connection;
            proxy_hide_header X-Content-Type-Options;
            proxy_hide_header X-Frame-Options;
            proxy_hide_header Referrer-Policy;
            proxy_hide_header Strict-Transport-Security;
            proxy_connect_timeout 5s;
            proxy_send_timeout @READ_TIMEOUT@s;
            proxy_read_timeout @READ_TIMEOUT@s;
            proxy_request_buffering off;
            error_page 502 =502 @absent;
            error_page 504 =504 @late;
        }
        location @absent { return 502 "the API does not answer: it is not there, or does not run\\n"; }
        location @late { return 504 "the API did not answer in time\\n"; }
    }
}
"""


@dataclass(frozen=True)
class Front:
    """The variables of the role front, without their prefix; README.md there says what they mean."""

    server_name: str
    aliases: tuple[str, ...] = ()
    upstream: str = "http://127.0.0.1:8080"
    certificate: str = ""
    key: str = ""
    http_port: int = 80
    https_port: int = 443
    addresses: tuple[str, ...] = ()
    hsts_seconds: int = 0
    body_size: str = "16m"
    read_timeout: int = 300
    acme_folder: str = ""

    @property
    def is_self_made(self) -> bool:
        """Whether the certificate is made on the host."""
        return not self.certificate

    @property
    def pair(self) -> tuple[str, str]:
        """Paths of certificate and key."""
        return (SELF_MADE, SELF_MADE) if self.is_self_made else (self.certificate, self.key)


def parse_front(values: dict[str, Any]) -> Front:
    """The settings of variables. Raises Trouble that names the variable."""
    known = {field.name for field in fields(Front)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    front = Front(**{name: value for name, value in given.items() if name in known and value is not None})
    for problem in problems(front):
        raise Trouble(f"front_{problem}")
    return front


def problems(front: Front) -> list[str]:
    """What is wrong with settings, each beginning with the variable's name."""
    found = []
    for word, name in [("server_name", front.server_name), *(("aliases", name) for name in front.aliases)]:
        if not is_name(name):
            found.append(f"{word}: {name!r} is neither a DNS name nor an IP address")
    if server_of(front.upstream) is None:
        found.append(
            f"upstream: {front.upstream!r} is not such as http://127.0.0.1:8080 or unix:/run/zctl/api.sock"
            " (to the API goes plain HTTP: let it listen on this machine only)"
        )
    if bool(front.certificate) != bool(front.key):
        found.append("certificate and front_key are given together, or neither: then a certificate is made")
    for word in ("certificate", "key", "acme_folder"):
        path = getattr(front, word)
        if path and (not PATH.fullmatch(path) or ".." in path.split("/")):
            found.append(f"{word}: {path!r} is not an absolute path of letters, digits and ._@+-")
    for word in ("http_port", "https_port"):
        if not 1 <= getattr(front, word) <= 65535:
            found.append(f"{word}: {getattr(front, word)} is not within 1 to 65535")
    if front.http_port == front.https_port:
        found.append("https_port: is front_http_port too")
    found += [f"addresses: {text!r} is not an IP address" for text in front.addresses if version_of(text) is None]
    if not 0 <= front.hsts_seconds <= 10**9:
        found.append(f"hsts_seconds: {front.hsts_seconds} is not within 0 (off) to 1000000000")
    if not 1 <= front.read_timeout <= 86400:
        found.append(f"read_timeout: {front.read_timeout} is not within 1 to 86400 seconds")
    if not SIZE.fullmatch(front.body_size):
        found.append(f"body_size: {front.body_size!r} is not such as 16m")
    return found


def is_name(text: str) -> bool:
    """Whether a text can be the name of a server."""
    return version_of(text) is not None or (len(text) <= 253 and NAME.fullmatch(text) is not None)


def version_of(text: str) -> int | None:
    """4 or 6 for an IP address."""
    try:
        return ipaddress.ip_address(text).version if "%" not in text else None
    except ValueError:
        return None


def bracketed(text: str) -> str:
    """A name or address as it stands in a URL."""
    return f"[{text}]" if version_of(text) == 6 else text


def server_of(upstream: str) -> str | None:
    """What nginx's upstream block names, or None for what is no upstream."""
    if upstream.startswith("unix:"):
        path = upstream[len("unix:") :]
        return upstream if PATH.fullmatch(path) else None
    found = re.fullmatch(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?/?", upstream)
    if (
        found is None
        or not (version_of(found[1][1:-1]) == 6 if found[1][0] == "[" else is_name(found[1]))
        or not 1 <= int(found[2] or 80) <= 65535
    ):
        return None
    return f"{found[1]}:{found[2] or 80}"


def listens(front: Front, port: int, has_ipv6: bool) -> list[str]:
    """Addresses with a port, as nginx and URLs write them."""
    addresses = front.addresses or (("0.0.0.0", "::") if has_ipv6 else ("0.0.0.0",))
    return [f"{bracketed(address)}:{port}" for address in addresses]


def render(front: Front, user: str, has_ipv6: bool, version: tuple[int, ...]) -> str:
    """nginx's file. `user` is whom its workers run as; the word for HTTP/2 changed in version 1.25.1."""
    old, new = (" http2", "") if version < (1, 25, 1) else ("", "        http2 on;\n")
    http = [f"        listen {at} default_server;" for at in listens(front, front.http_port, has_ipv6)]
    https = listens(front, front.https_port, has_ipv6)
    certificate, key = front.pair
    port = "" if front.https_port == 443 else f":{front.https_port}"
    acme = f"        location /.well-known/acme-challenge/ {{ root {front.acme_folder}; }}\n"
    hsts = f'        add_header Strict-Transport-Security "max-age={front.hsts_seconds}" always;\n'
    values = {
        "USER": user,
        "RUN": RUN,
        "CACHE": CACHE,
        "LOGS": LOGS,
        "BODY_SIZE": front.body_size,
        "CERTIFICATE": certificate,
        "KEY": key,
        "CIPHERS": CIPHERS,
        "UPSTREAM": server_of(front.upstream),
        "LISTEN_HTTP": "\n".join(http),
        "LISTEN_DEFAULT": "\n".join(f"        listen {at} ssl{old} default_server;" for at in https),
        "LISTEN_HTTPS": "\n".join(f"        listen {at} ssl{old};" for at in https) + f"\n{new}".rstrip("\n"),
        "ACME": acme if front.acme_folder else "",
        "AUTHORITY": bracketed(front.server_name) + port,
        "NAME": bracketed(front.server_name),
        "NAMES": " ".join(bracketed(name) for name in (front.server_name, *front.aliases)),
        "HSTS": hsts if front.hsts_seconds else "",
        "READ_TIMEOUT": front.read_timeout,
    }
    # In one pass: what is put in is not looked at again. The two locations that begin with @ are no values.
    return HEADER + re.sub(r"@([A-Z0-9_]+)@", lambda found: str(values[found[1]]), TEMPLATE)


def listen_lines(config: str) -> list[str]:
    """Where a file of nginx's listens: a change of that needs a restart."""
    return sorted(re.findall(r"^\s*listen (\S+)", config, re.MULTILINE))


def subject_names(front: Front) -> str:
    """The names of a self-made certificate, as openssl takes them."""
    names = dict.fromkeys((front.server_name, *front.aliases))
    return ",".join(f"{'IP' if version_of(name) else 'DNS'}:{name}" for name in names)


def parse_version(said: str) -> tuple[int, ...]:
    """1.22.1 as numbers, from what `nginx -v` says."""
    found = re.search(r"nginx/([0-9.]+)", said)
    if found is None:
        raise Trouble(f"nginx does not tell its version: {said.strip()[:80]!r}")
    return tuple(int(part) for part in found[1].split("."))


def holders(listing: str, front: Front, ours: int) -> list[str]:
    """Who listens where the front is to, from `ss -Hltnp`, but for the process `ours` and what belongs to it."""
    found = []
    for text in listing.splitlines():
        words = text.split(None, 5)
        if len(words) < 5:
            continue
        address, _, port = words[3].rpartition(":")
        if int(port) not in (front.http_port, front.https_port) or not meets(front, address):
            continue
        users = re.findall(r'"([^"]+)",pid=(\d+)', words[5] if len(words) > 5 else "")
        if ours and any(int(pid) == ours for _, pid in users):
            continue
        who = ", ".join(f"{name} (process {pid})" for name, pid in dict(users).items()) or "somebody"
        found.append(f"{words[3]} by {who}")
    return sorted(set(found))


def meets(front: Front, address: str) -> bool:
    """Whether somebody at an address, as ss writes it, is in the front's way. `*` is all of IPv4 and IPv6."""
    plain = address.partition("%")[0].strip("[]")
    for own in front.addresses:
        everything = {4: "0.0.0.0", 6: "::"}[version_of(own) or 4]
        if plain in ("*", own, everything) or own in (everything, "::"):
            return True
    return not front.addresses
