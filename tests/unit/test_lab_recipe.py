"""The base trees' recipe: its hash, and the mirrors read from apt's sources."""

from __future__ import annotations

from dataclasses import replace

from zctl.lab.guest_image import guest_key
from zctl.lab.recipe import debian_mirrors, recipe, sources_list

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


def test_the_same_recipe_has_the_same_key() -> None:
    assert recipe(bare=True).key == recipe(bare=True).key
    assert recipe(bare=True).key != recipe(bare=False).key


def test_any_change_of_the_recipe_changes_the_key() -> None:
    before = recipe(bare=False)
    assert replace(before, extra=(*before.extra, "jq")).key != before.key
    assert replace(before, suite="trixie").key != before.key
    assert replace(before, files={**before.files, "etc/motd": "hello\n"}).key != before.key


def test_a_bare_host_has_python_and_ssh_but_no_libvirt() -> None:
    bare = recipe(bare=True)
    names = {*bare.bootstrap, *bare.packages, *bare.extra}
    assert {"python3", "openssh-server"} <= names
    assert not [name for name in names if "libvirt" in name or "qemu" in name]


def test_the_guest_has_a_key_of_its_own() -> None:
    assert guest_key() == guest_key()
    assert len(guest_key()) == 12


def test_mirrors_from_deb822() -> None:
    assert debian_mirrors([DEB822]) == ("http://mirror.example/debian", "http://mirror.example/security")


def test_mirrors_from_one_line_sources() -> None:
    text = (
        "# deb http://no.example/debian bookworm main\n"
        "deb-src http://src.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/x.gpg] https://one.example/debian bookworm main contrib\n"
        "deb http://one.example/security bookworm-security main\n"
    )
    assert debian_mirrors([text]) == ("https://one.example/debian", "http://one.example/security")


def test_other_suites_and_disabled_sources_do_not_count() -> None:
    ubuntu = "deb http://ubuntu.example/ubuntu noble main\n"
    disabled = "Enabled: no\n" + DEB822.split("\n\n", maxsplit=1)[0]
    assert debian_mirrors([ubuntu, disabled]) == ("", "")
    assert debian_mirrors([]) == ("", "")


def test_sources_of_a_host() -> None:
    assert sources_list("http://a", "http://b").splitlines() == [
        "deb http://a bookworm main",
        "deb http://a bookworm-updates main",
        "deb http://b bookworm-security main",
    ]
