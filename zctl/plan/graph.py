"""A cloud as boxes and lines, and what it looks like as a tree of text or as a Mermaid flowchart. Pure.

The same inventory gives the same bytes, so that a drawing can be kept beside manifests and compared.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

CONTAINERS = ("zone", "cluster", "host", "l2-network")
WIDTH = 80


@dataclass(frozen=True)
class Node:
    """A resource; `parent` is the key of what it is in or lies on, `public` whether outside it is known."""

    key: str
    kind: str
    name: str
    detail: str = ""
    parent: str = ""
    public: bool = False

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Edge:
    """What one resource has to do with another, in a word or two."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Graph:
    """Boxes in the order in which they are drawn, and lines between them."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def by_key(self) -> dict[str, Node]:
        """The nodes by their keys."""
        return {node.key: node for node in self.nodes}

    @cached_property
    def children(self) -> dict[str, list[Node]]:
        """The nodes within each node; those within none under the empty key."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            found.setdefault(node.parent if node.parent in self.by_key else "", []).append(node)
        return found

    def within(self, key: str) -> Graph:
        """Only that node with all that is in it, and the lines between what is left."""
        kept: set[str] = set()
        waiting = [key]
        while waiting:
            kept.add(waiting[0])
            waiting += [node.key for node in self.children.get(waiting.pop(0), [])]
        nodes = tuple(node for node in self.nodes if node.key in kept)
        return Graph(nodes, tuple(edge for edge in self.edges if {edge.source, edge.target} <= kept))

    def as_dict(self) -> dict[str, list[dict[str, str]]]:
        """For programs."""
        nodes = [
            {"uuid": n.key, "kind": n.kind, "name": n.name, "detail": n.detail, "parent": n.parent} for n in self.nodes
        ]
        edges = [{"from": edge.source, "to": edge.target, "label": edge.label} for edge in self.edges]
        return {"nodes": nodes, "edges": edges}


def sentences(graph: Graph, node: Node) -> Iterator[str]:
    """A node's lines to others in words; of a VM also those that lead to it."""
    for edge in graph.edges:
        if edge.source == node.key:
            yield f"{edge.label} -> {graph.by_key[edge.target].title}".strip()
        elif edge.target == node.key and node.kind == "vm":
            other = graph.by_key[edge.source]
            yield f"{edge.label} <- {other.title} {other.detail}".strip()


def text(graph: Graph, width: int = WIDTH) -> str:
    """The graph as a tree."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def line(words: str) -> Text:
        return Text(words, overflow="fold")

    def grow(branch: Tree, key: str) -> None:
        for node in graph.children.get(key, []):
            twig = branch.add(line(f"{node.title}  {node.detail}".rstrip()))
            for words in sentences(graph, node):
                twig.add(line(words))
            grow(twig, node.key)

    root = Tree("", hide_root=True)
    grow(root, "")
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False, legacy_windows=False).print(root)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def escaped(words: str) -> str:
    """A text that Mermaid takes as it is: its own signs by their numbers, which it writes as #NUMBER;."""
    return "".join(c if c.isalnum() or c in " ._-:/,()>" else f"#{ord(c)};" for c in words)


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart: what holds others is a frame, everything else a box."""
    names = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]

    def label(node: Node) -> str:
        return "<br/>".join(escaped(words) for words in (node.title, node.detail) if words)

    def draw(key: str, depth: int) -> None:
        indent = "  " * depth
        for node in graph.children.get(key, []):
            inner = graph.children.get(node.key, [])
            if node.kind in CONTAINERS and inner:
                lines.append(f'{indent}subgraph {names[node.key]}["{label(node)}"]')
                draw(node.key, depth + 1)
                lines.append(f"{indent}end")
            else:
                lines.append(f'{indent}{names[node.key]}["{label(node)}"]')
                for below in inner:
                    lines.append(f"{indent}{names[below.key]} --- {names[node.key]}")
                draw(node.key, depth)

    draw("", 1)
    for edge in graph.edges:
        words = f'|"{escaped(edge.label)}"|' if edge.label else ""
        lines.append(f"  {names[edge.source]} -->{words} {names[edge.target]}")
    return "\n".join(lines) + "\n"
