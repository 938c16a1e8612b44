"""The front role on a real host: TLS from outside to a small API behind it, certificates, and what it leaves alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.management_play import Done, Json, play
from zctl.lab import Lab

API = """
import http.server, json
class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            while line := self.rfile.readline():
                self.wfile.write(line)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = json.dumps([self.command, self.path, len(body), dict(self.headers)]).encode()
        self.send_response(200)
        self.send_header("X-Frame-Options", "ALLOW")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_GET
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 18080), Api).serve_forever()
"""
OURS = "ls -d /etc/zctl/front /etc/systemd/system/zctl-front.service /etc/logrotate.d/zctl-front 2>/dev/null; true"
MAKE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 90 -subj /CN=zt2"
    " -addext subjectAltName=DNS:cloud.example.org -keyout /root/zt2-{0}.key -out /root/zt2-{0}.pem 2>/dev/null"
)


class Front:
    """The role on h1, seen from the machine that carries the lab."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder, self.address = lab, folder, str(lab.host("h1").address)

    def __call__(self, *, check: bool = False, **variables: Any) -> Done:
        names = {"front_server_name": "cloud.example.org", "front_aliases": [self.address, "2001:db8::1"]}
        values = {**names, "front_upstream": "http://127.0.0.1:18080", **variables}
        return play(self.lab, self.folder, "front", check=check, **values)

    def ssh(self, command: str) -> str:
        return self.lab.ssh("h1", command)

    def context(self, path: str = "/etc/zctl/front/self-made.crt") -> ssl.SSLContext:
        """A client that trusts a certificate of the host, and checks names."""
        return ssl.create_default_context(cadata=self.ssh(f"cat {path}"))

    def wrap(self, context: ssl.SSLContext, name: str = "cloud.example.org") -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, 443), timeout=5)
        return context.wrap_socket(plain, server_hostname=name)

    def get(self, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, Json, bytes]:
        """Status, headers and body of an answer over HTTPS."""
        connection = http.client.HTTPSConnection(self.address, timeout=5, context=self.context())
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()


@pytest.fixture(scope="module")
def front(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(lab, tmp_path_factory.mktemp("front"))
    before = made.ssh("systemctl is-enabled nginx; ls -l /etc/nginx /etc/nginx/*; true")
    begin(made)
    yield made
    assert made(front_state="absent").changed
    assert made.ssh(OURS) == "" and made.ssh("ss -Hltn sport = :443") == ""
    assert made.ssh("systemctl is-enabled nginx; ls -l /etc/nginx /etc/nginx/*; true") == before
    made.ssh("systemctl stop zt2-api.service; rm -rf /root/zt2-* /var/log/zctl-front")


def begin(front: Front) -> None:
    """Set up the front, which says so while there is no API; then start one."""
    forecast = front(check=True)
    assert forecast.changed and "listen 0.0.0.0:443 ssl" in forecast.first["diff"]["after"]
    assert front.ssh(OURS) == ""
    done = front()
    assert done.code == 0, done.said
    status, headers, body = front.get("/")
    assert status == 502 and b"the API does not answer" in body and headers["content-type"] == "text/plain"
    assert headers["x-content-type-options"] == "nosniff" and "strict-transport-security" not in headers
    front.lab.ssh("h1", "cat >/root/zt2-api.py", stdin=API)
    front.ssh("systemd-run --quiet --unit=zt2-api.service python3 /root/zt2-api.py")
    front.ssh("until ss -Hltn sport = :18080 | grep -q .; do sleep 0.1; done")


def test_https_to_the_api(front: Front) -> None:
    assert not front().changed
    status, headers, body = front.get(
        "/v1/vms?token=zt2secret", method="POST", body=b"x" * 5000, **{"X-Forwarded-For": "192.0.2.1", "Proxy": "evil"}
    )
    command, path, length, seen = json.loads(body)
    assert (status, command, path, length) == (200, "POST", "/v1/vms?token=zt2secret", 5000)
    assert seen["X-Forwarded-For"] == str(front.lab.plan.machine) and "Proxy" not in seen
    assert seen["X-Forwarded-Proto"] == "https" and seen["Host"] == front.address
    assert headers["x-frame-options"] == "DENY"
    log = front.ssh("cat /var/log/zctl-front/access.log; journalctl -u zctl-front --no-pager")
    assert "POST /v1/vms " in log and "zt2secret" not in log
    assert front.get("/", **{"Host": "evil.example.org"})[0] == 421
    assert front.get("/", method="POST", **{"Content-Length": str(17 << 20)})[0] == 413


def test_http_is_sent_on_and_old_tls_refused(front: Front) -> None:
    plain = http.client.HTTPConnection(front.address, timeout=5)
    plain.request("POST", "/v1/vms?a=b", b"{}", {"Host": "evil.example.org"})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, "https://cloud.example.org/v1/vms?a=b")
    old = front.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        front.wrap(old)
    assert front.ssh("stat -c '%a %U' /etc/zctl/front/self-made.pem").split() == ["600", "root"]
    assert front.ssh("systemctl is-active nginx.service; true").strip() == "inactive"


def test_a_certificate_of_ones_own(front: Front) -> None:
    """A wrong key is refused and all runs on; a renewed certificate is loaded without cutting a connection."""
    front.ssh(f"{MAKE.format(1)}; {MAKE.format(2)}; cd /root; cp zt2-1.pem zt2-own.pem; cp zt2-1.key zt2-own.key")
    own = {"front_certificate": "/root/zt2-own.pem", "front_key": "/root/zt2-own.key", "front_hsts_seconds": 600}
    before = front.ssh("cat /etc/zctl/front/nginx.conf")
    wrong = {
        "does not belong to the certificate": {"key": "/root/zt2-2.key"},
        "is not on this host": {"key": "/root/zt2-none.key"},
        "are given together": {"key": ""},
        "nginx refuses its settings: bind() to 192.0.2.77:80 failed": {"addresses": ["192.0.2.77"]},
        "taken: 0.0.0.0:22 by sshd": {"http_port": 22},
    }
    right = {"server_name": "cloud.example.org", "certificate": "/root/zt2-own.pem", "key": "/root/zt2-own.key"}
    done = play(front.lab, front.folder, "", tasks=[{"zctl.cloud.zctl_front": right | it} for it in wrong.values()])
    for words, answer in zip(wrong, done.answers, strict=True):
        assert words in answer.get("msg", "")
    assert front.ssh("cat /etc/zctl/front/nginx.conf") == before and front.get("/")[0] == 200
    assert front(**own).code == 0
    with front.wrap(front.context("/root/zt2-1.pem")) as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: cloud.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        front.ssh("cp /root/zt2-2.pem /root/zt2-own.pem; cp /root/zt2-2.key /root/zt2-own.key")
        done = front(**own)
        assert done.first["differences"] == ["certificate that nginx has read"]
        with front.wrap(front.context("/root/zt2-2.pem")) as second:
            second.sendall(b"GET / HTTP/1.0\r\nHost: cloud.example.org\r\n\r\n")
            assert b"Strict-Transport-Security: max-age=600" in second.recv(4096)
        connection.sendall(b"still there\n")
        assert connection.recv(4096) == b"still there\n"


def test_it_is_there_again(front: Front) -> None:
    """After nginx was killed, and after somebody edited and stopped it; back with a certificate made here."""
    front.ssh("systemctl stop zctl-front; echo '# mine' >>/etc/zctl/front/nginx.conf; rm /etc/logrotate.d/zctl-front")
    done = front()
    assert {"nginx.conf", "zctl-front.service.active", "/etc/logrotate.d/zctl-front"} <= set(done.first["differences"])
    assert done.code == 0 and front.get("/")[0] == 200
    front.ssh("systemctl kill --signal=KILL zctl-front")
    front.ssh("until systemctl is-active --quiet zctl-front; do sleep 0.2; done")
    assert front.get("/")[0] == 200
    front.ssh("logrotate -f /etc/logrotate.d/zctl-front 2>/dev/null || systemctl kill --signal=USR1 zctl-front")
    assert front.get("/after")[0] == 200
    assert "GET /after " in front.ssh("cat /var/log/zctl-front/access.log")
