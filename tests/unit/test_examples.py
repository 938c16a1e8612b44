"""The examples are manifests that zctl takes, and that change nothing the second time."""

from __future__ import annotations

from pathlib import Path

from tests.unit.conftest import Zctl

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_examples_apply(zctl: Zctl, tmp_path: Path) -> None:
    """Both together, written as they are but for the image's path."""
    image = tmp_path / "guest.qcow2"
    image.write_bytes(bytes(2**20))
    texts = [path.read_text() for path in sorted(EXAMPLES.glob("*.yaml"))]
    pinned = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKCjR8Wv9FWYWRwGqJ8rSW0qI1yWLKvYdT9vMYR1zqkN"
    text = "\n---\n".join(texts).replace("guest.qcow2 #", f"{image} #")
    for address in ("198.18.0.11", "198.18.0.12"):
        text = text.replace(f"  address: {address}\n", f"  address: {address}\n  host_key: {pinned}\n")
    zctl.ok("init")
    zctl.ok("apply", "-f", "-", stdin=text)
    assert {row["name"] for row in zctl.rows("load-balancer")} == {"site"}
    assert "created 0, updated 0" in zctl.ok("apply", "-f", "-", stdin=text)
