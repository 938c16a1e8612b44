"""The drawing of a cloud: what it shows, and that nothing in it can break out."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.unit.conftest import Zctl
from zctl.plan.graph import Edge, Graph, Node, escaped, mermaid, text
from zctl.plan.graph_svg import svg

WORDS = ("--image", "tiny", "--instance-offering", "small")


@pytest.fixture
def drawn(cloud: Zctl) -> Zctl:
    """A public network, one whose gateway the hosts are, two VMs, and something of all that leads to them."""
    cloud.ok("l2-network", "create", "outer", "--zone", "z1", "--physical-interface", "eth9")
    cloud.ok(
        *("l3-network", "create", "internet", "--l2-network", "outer", "--cidr", "198.51.100.0/24", "--public"),
        *("--gateway", "198.51.100.1", "--range", "198.51.100.10-198.51.100.20"),
    )
    cloud.ok("l2-network", "create", "tunnel", "--zone", "z1", "--kind", "vxlan")
    cloud.ok(
        *("l3-network", "create", "private", "--l2-network", "tunnel", "--cidr", "10.7.0.0/24"),
        *("--gateway", "10.7.0.1", "--gateway-on", "hosts", "--range", "10.7.0.10-10.7.0.50"),
    )
    for name in ("web-1", "web-2"):
        cloud.ok("vm", "create", name, *WORDS, "--network", "private", "--host", "h1")
    cloud.ok("nat-gateway", "create", "way", "--l3-network", "private", "--network", "internet", "--host", "h2")
    cloud.ok("eip", "create", "front", "--network", "internet", "--vm", "web-1")
    cloud.ok(
        *("port-forwarding", "create", "ssh", "--vip", "way", "--ports", "2222", "--nic", "web-2-nic0"),
        *("--private-port", "22"),
    )
    cloud.ok(
        *("load-balancer", "create", "web", "--vip", "way", "--l3-network", "private", "--port", "80"),
        *("--target", "web-1-nic0", "--target", "web-2-nic0:8080"),
    )
    cloud.ok("vip", "create", "spare", "--l3-network", "internet")
    cloud.ok("zone", "create", "z2")
    return cloud


def test_the_tree_says_what_leads_where(drawn: Zctl) -> None:
    """Hosts with their VMs, networks with what is on them, in 80 columns."""
    said = drawn.ok("graph")
    lines = [line.strip(" │├└─") for line in said.splitlines()]
    assert max(map(len, said.splitlines())) <= 80
    for expected in (
        "zone z1",
        "host h1  198.18.0.1 Connected",
        "vm web-1  Running",
        "10.7.0.10 -> l3-network private",
        "10.7.0.10 <- eip front 198.51.100.11",
        "l3-network internet  198.51.100.0/24, public",
        "nat-gateway way  198.51.100.10 on h2",
        "way out of -> l3-network private",
        "port-forwarding ssh  198.51.100.10 tcp 2222",
        "10.7.0.11:22 -> vm web-2",
        "load-balancer web  198.51.100.10 tcp 80",
        "10.7.0.11:8080 -> vm web-2",
        "vip spare  198.51.100.12",
        "zone z2",
    ):
        assert expected in lines, said
    assert said == drawn.ok("graph", "-o", "text")


def test_one_zone(drawn: Zctl) -> None:
    """What is not in it is not drawn; an unknown one is named."""
    assert drawn.ok("graph", "--zone", "z2") == "zone z2\n"
    assert "web-1" in drawn.ok("graph", "--zone", "z1")
    assert "zone z9: does not exist" in drawn.fails("graph", "--zone", "z9")


def test_all_forms_hold_the_same(drawn: Zctl) -> None:
    """Every box and every line, in each form; the same bytes each time."""
    graph = json.loads(drawn.ok("graph", "-o", "json"))
    names = {node["uuid"]: node["name"] for node in graph["nodes"]}
    assert {"front", "way", "ssh", "spare", "web-1", "h2", "z2"} <= set(names.values())
    flow = drawn.ok("graph", "-o", "mermaid")
    assert flow.startswith("flowchart LR\n")
    assert flow.count("-->") == len(graph["edges"])
    assert flow.count("subgraph") == flow.count("\n" + "end") + sum(line.strip() == "end" for line in flow.splitlines())
    picture = drawn.ok("graph", "-o", "svg")
    root = ElementTree.fromstring(picture)
    titles = "\n".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title"))
    for name in ("front", "way", "ssh", "spare", "web-1", "web-2", "private", "internet"):
        assert name in titles and name in flow
    for form in ("text", "mermaid", "svg"):
        assert drawn.ok("graph", "-o", form) == drawn.ok("graph", "-o", form)
    assert drawn.call("graph", "-o", "dot").exit_code == 2


EVIL = 'a"]; click n0 "javascript:x" <script>&end'


def test_no_name_breaks_out() -> None:
    """Whatever a name or detail holds stays text: in Mermaid, in SVG, in the tree."""
    graph = Graph(
        (Node("1", "zone", EVIL), Node("2", "vm", EVIL, EVIL, "1"), Node("3", "l3-network", EVIL, parent="1")),
        (Edge("2", "3", EVIL),),
    )
    flow = mermaid(graph)
    assert '"javascript' not in flow and "<script" not in flow and "&" not in flow
    assert flow.count('"') == 2 * 4  # a frame, two boxes and a line: nothing ends a label early
    root = ElementTree.fromstring(svg(graph))
    assert not list(root.iter("script")) and not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert EVIL in "".join(root.itertext())
    assert "javascript:x" in text(graph).replace("\n", "")
    assert escaped("web-1.a:b") == "web-1.a:b"


def test_an_empty_cloud(zctl: Zctl) -> None:
    """Nothing is drawn, and nothing goes wrong."""
    assert zctl.ok("graph") == ""
    assert zctl.ok("graph", "-o", "mermaid") == "flowchart LR\n"
    ElementTree.fromstring(zctl.ok("graph", "-o", "svg"))


def test_long_names_fold() -> None:
    """A name of 80 letters stays readable in 80 columns."""
    graph = Graph((Node("1", "vm", "x" * 80, "Running"),), ())
    said = text(graph)
    assert max(map(len, said.splitlines())) <= 80 and said.replace("\n", "").count("x") == 80
