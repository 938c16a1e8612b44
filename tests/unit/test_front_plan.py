"""The front's settings as values: what is refused, and that no text gets out of its place in nginx's file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zctl_front import openssl_names
from zctl_front_plan import (
    SELF_MADE,
    Front,
    holders,
    listen_lines,
    listens,
    parse_front,
    parse_version,
    render,
    server_of,
    subject_names,
)
from zctl_system import Trouble

LISTENING = """\
LISTEN 0 511          0.0.0.0:80        0.0.0.0:*    users:(("nginx",pid=275,fd=6),("nginx",pid=274,fd=6))
LISTEN 0 511             [::]:443          [::]:*    users:(("apache2",pid=9,fd=4))
LISTEN 0 4096   127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=5,fd=15))
LISTEN 0 64           0.0.0.0:2049      0.0.0.0:*
"""


def config(**values: Any) -> str:
    return render(parse_front({"server_name": "cloud.example.org", **values}), "www-data", True, (1, 22, 1))


def test_a_plain_front() -> None:
    text = config()
    for words in (
        "return 308 https://cloud.example.org$request_uri;",
        "listen 0.0.0.0:443 ssl http2 default_server;",
        "listen [::]:80 default_server;",
        "server 127.0.0.1:8080;",
        f"ssl_certificate_key {SELF_MADE};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    ):
        assert words in text
    assert "Strict-Transport" not in text.replace("proxy_hide_header Strict-Transport", "")
    assert "acme" not in text and "@absent" in text
    assert "@" not in text.replace("@absent", "").replace("@late", "")


def test_every_setting_shows() -> None:
    own = {"certificate": "/etc/ssl/a.pem", "key": "/etc/ssl/a.key", "acme_folder": "/srv/acme", "hsts_seconds": 600}
    ports = {"http_port": 8080, "https_port": 8443, "addresses": ["192.0.2.1", "2001:db8::1"]}
    more = {
        "upstream": "unix:/run/zctl/api.sock",
        "body_size": "2g",
        "read_timeout": 77,
        "aliases": ["2001:db8::1", "b"],
    }
    text = config(**own, **ports, **more)
    for words in (
        "ssl_certificate /etc/ssl/a.pem;",
        "ssl_certificate_key /etc/ssl/a.key;",
        "root /srv/acme;",
        '"max-age=600" always;',
        "listen 192.0.2.1:8080 default_server;",
        "listen [2001:db8::1]:8443 ssl http2;",
        "https://cloud.example.org:8443$request_uri",
        "server unix:/run/zctl/api.sock;",
        "client_max_body_size 2g;",
        "proxy_read_timeout 77s;",
        "server_name cloud.example.org [2001:db8::1] b;",
    ):
        assert words in text
    assert set(Front.__dataclass_fields__) == {"server_name", *own, *ports, *more}


def test_newer_nginx_and_hosts_without_ipv6() -> None:
    text = render(Front("a"), "nginx", False, (1, 26, 0))
    assert "http2 on;" in text and "ssl http2" not in text and "[::]" not in text
    assert parse_version("nginx version: nginx/1.22.1 (Debian)\n") == (1, 22, 1)
    with pytest.raises(Trouble):
        parse_version("")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"server_name": "a b"}, "front_server_name: 'a b' is neither"),
        ({"server_name": ""}, "front_server_name"),
        ({"server_name": "_"}, "front_server_name"),
        ({"server_name": "$host"}, "front_server_name"),
        ({"aliases": ["ok", "a;b"]}, "front_aliases: 'a;b'"),
        ({"upstream": "https://127.0.0.1"}, "front_upstream: 'https://127.0.0.1' is not such as"),
        ({"upstream": "http://127.0.0.1:99999"}, "front_upstream"),
        ({"upstream": "http://127.0.0.1/path"}, "front_upstream"),
        ({"upstream": "unix:/run/a b"}, "front_upstream"),
        ({"certificate": "/a.pem"}, "front_certificate and front_key are given together"),
        ({"certificate": "/a.pem", "key": "a.key"}, "front_key: 'a.key' is not an absolute path"),
        ({"certificate": "/a.pem", "key": "/a/../key"}, "front_key"),
        ({"acme_folder": "/srv/{a}"}, "front_acme_folder"),
        ({"http_port": 0}, "front_http_port: 0 is not within 1 to 65535"),
        ({"https_port": 80}, "front_https_port: is front_http_port too"),
        ({"addresses": ["eth0"]}, "front_addresses: 'eth0' is not an IP address"),
        ({"hsts_seconds": -1}, "front_hsts_seconds"),
        ({"read_timeout": 0}, "front_read_timeout"),
        ({"body_size": "16m; deny all"}, "front_body_size"),
    ],
)
def test_what_cannot_be_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(Trouble) as told:
        config(**values)
    assert words in str(told.value)


@given(
    st.sampled_from(["server_name", "upstream", "key", "acme_folder", "body_size", "aliases", "addresses"]), st.text()
)
def test_no_text_gets_out_of_its_place(name: str, text: str) -> None:
    is_list = name in ("aliases", "addresses")
    values: dict[str, Any] = {"certificate": "/c", "key": "/k", name: [text] if is_list else text}
    if not values["key"]:
        del values["certificate"]
    try:
        made = config(**values)
    except Trouble:
        return
    usual = config()
    assert [made.count(sign) for sign in '{}"'] == [
        usual.count(sign) + (name == "acme_folder" and bool(text)) * (sign != '"') for sign in '{}"'
    ]


def test_names_of_certificates() -> None:
    front = Front("cloud.example.org", ("192.0.2.1", "2001:db8::a", "cloud.example.org"))
    assert subject_names(front) == "DNS:cloud.example.org,IP:192.0.2.1,IP:2001:db8::a"
    assert "IP:2001:DB8:0:0:0:0:0:A" in openssl_names(front)


def test_where_the_api_is() -> None:
    assert server_of("http://[::1]:81/") == "[::1]:81"
    assert server_of("http://api.internal") == "api.internal:80"
    assert server_of("http://[abc]") is server_of("http://[192.0.2.1]") is None


def test_who_holds_a_port() -> None:
    assert holders(LISTENING, Front("a"), 274) == ["[::]:443 by apache2 (process 9)"]
    assert holders(LISTENING, Front("a", https_port=444), 0) == ["0.0.0.0:80 by nginx (process 274)"]
    assert holders(LISTENING, Front("a", http_port=53, https_port=2049), 0) == [
        "0.0.0.0:2049 by somebody",
        "127.0.0.53%lo:53 by systemd-resolve (process 5)",
    ]


def test_addresses_of_ones_own_are_in_nobodys_way() -> None:
    def taken(*addresses: str, **ports: int) -> bool:
        return bool(holders(LISTENING, Front("a", addresses=addresses, **ports), 0))

    assert taken("192.0.2.1") and not taken("192.0.2.1", http_port=81), "0.0.0.0 is all of IPv4 only"
    assert taken("2001:db8::1") and not taken("2001:db8::1", https_port=444)
    assert not taken("192.0.2.1", http_port=53, https_port=54) and taken("127.0.0.53", http_port=53)
    assert taken("0.0.0.0", http_port=53, https_port=54)


def test_a_change_of_ports_is_seen() -> None:
    assert listen_lines(config()) == sorted([*listens(Front("a"), 80, True), *listens(Front("a"), 443, True) * 2])
    assert listen_lines(config()) != listen_lines(config(https_port=8443))
