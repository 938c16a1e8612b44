"""A graph as an SVG drawing. Pure.

drawsvg writes the SVG and escapes every text. Where things stand is worked out here, because what does that (graphviz)
is a system package: columns for VMs, their networks, what leads to them, and the public networks, each stacked in
frames for what holds it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from zctl.plan.graph import CONTAINERS, Edge, Graph, Node

COLUMNS = ("vm", "l3-network", "service", "public")
FILLS = {"vm": "#dbeafe", "l3-network": "#dcfce7", "service": "#fef3c7", "public": "#fce7f3"}
BOX_WIDTH, BOX_HEIGHT, GAP, FRAME, TITLE, BETWEEN, MARGIN = 220, 40, 12, 10, 20, 130, 20
FONT = {"font_family": "sans-serif", "fill": "#1f2937"}
LETTERS = 34  # that fit a box


@dataclass(frozen=True)
class Place:
    """Where something stands."""

    x: float
    y: float
    width: float
    height: float


def column_of(node: Node) -> str:
    """The column of a box."""
    if node.kind == "vm" or (node.kind in CONTAINERS and node.kind != "l2-network"):
        return "vm"
    if node.kind in ("l3-network", "l2-network"):
        return "public" if node.public else "l3-network"
    return "service"


def frame_of(graph: Graph, node: Node) -> str:
    """What the frame around a box is called: all that holds it."""
    words: list[str] = []
    above = graph.by_key.get(node.parent)
    while above is not None:
        if above.kind in CONTAINERS:
            words.insert(0, above.title)
        above = graph.by_key.get(above.parent)
    return " / ".join(words)


def shortened(words: str, letters: int = LETTERS) -> str:
    """A text that fits."""
    return words if len(words) <= letters else f"{words[: letters - 1]}…"


def placed(graph: Graph) -> tuple[dict[str, Place], list[tuple[str, Place]], Place]:
    """Where boxes and frames stand, and the size of the whole."""
    boxes: dict[str, Place] = {}
    frames: list[tuple[str, Place]] = []
    bottom = 0.0
    for number, column in enumerate(COLUMNS):
        x = MARGIN + number * (BOX_WIDTH + 2 * FRAME + BETWEEN)
        y = float(MARGIN)
        groups: dict[str, list[Node]] = {}
        for node in graph.nodes:
            is_empty = node.kind in CONTAINERS and not graph.children.get(node.key)
            if column_of(node) == column and (node.kind not in CONTAINERS or is_empty):
                groups.setdefault(frame_of(graph, node), []).append(node)
        for title, nodes in groups.items():
            height = TITLE + len(nodes) * (BOX_HEIGHT + GAP) - GAP + 2 * FRAME
            frames.append((title, Place(x, y, BOX_WIDTH + 2 * FRAME, height)))
            for place, node in enumerate(nodes):
                top = y + TITLE + FRAME + place * (BOX_HEIGHT + GAP)
                boxes[node.key] = Place(x + FRAME, top, BOX_WIDTH, BOX_HEIGHT)
            y += height + GAP
        bottom = max(bottom, y)
    width = MARGIN * 2 + len(COLUMNS) * (BOX_WIDTH + 2 * FRAME) + (len(COLUMNS) - 1) * BETWEEN
    return boxes, frames, Place(0, 0, width, bottom + MARGIN)


def svg(graph: Graph) -> str:
    """The drawing."""
    import drawsvg

    boxes, frames, whole = placed(graph)
    drawing = drawsvg.Drawing(whole.width, whole.height, font_family="sans-serif")
    drawing.append(drawsvg.Rectangle(0, 0, whole.width, whole.height, fill="white"))
    for title, place in frames:
        frame = {"fill": "#f9fafb", "stroke": "#9ca3af", "stroke_dasharray": "4 3", "rx": 6}
        drawing.append(drawsvg.Rectangle(place.x, place.y, place.width, place.height, **frame))
        drawing.append(drawsvg.Text(shortened(title, 42), 10, place.x + FRAME, place.y + 15, **FONT))
    for node in graph.nodes:
        if node.key in boxes and node.parent in boxes:
            draw_line(drawsvg, drawing, boxes[node.key], boxes[node.parent], "", 0.5)
    for edge, start in starts(graph, boxes):
        draw_line(drawsvg, drawing, boxes[edge.source], boxes[edge.target], edge.label, start)
    for node in graph.nodes:
        if node.key in boxes:
            draw_box(drawsvg, drawing, node, boxes[node.key])
    return str(drawing.as_svg()) + "\n"


def starts(graph: Graph, boxes: dict[str, Place]) -> list[tuple[Edge, float]]:
    """The lines between boxes, with where on its box each begins: from 0 at the top to 1, so that labels are apart."""
    drawn = [edge for edge in graph.edges if edge.source in boxes and edge.target in boxes]
    total, seen = Counter(edge.source for edge in drawn), Counter[str]()
    found = []
    for edge in drawn:
        seen[edge.source] += 1
        found.append((edge, seen[edge.source] / (total[edge.source] + 1)))
    return found


def draw_box(drawsvg: Any, drawing: Any, node: Node, place: Place) -> None:
    """One resource, with all of its words for who points at it."""
    group = drawsvg.Group()
    group.append_title(f"{node.title} {node.detail}".rstrip())
    look = {"fill": FILLS[column_of(node)], "stroke": "#374151", "rx": 4}
    group.append(drawsvg.Rectangle(place.x, place.y, place.width, place.height, **look))
    group.append(drawsvg.Text(shortened(node.title), 12, place.x + 8, place.y + 17, font_weight="bold", **FONT))
    group.append(drawsvg.Text(shortened(node.detail, 38), 10, place.x + 8, place.y + 32, **FONT))
    drawing.append(group)


def draw_line(drawsvg: Any, drawing: Any, source: Place, target: Place, label: str, start: float) -> None:
    """What one has to do with another; `start` is where on the source's side it begins."""
    to_right = source.x < target.x
    x1 = source.x + (source.width if to_right else 0)
    x2 = target.x + (0 if to_right else target.width)
    if source.x == target.x:
        x1 = x2 = source.x + source.width
    y1, y2 = source.y + round(source.height * start, 1), target.y + target.height / 2
    bend = BETWEEN / 2 if to_right or source.x == target.x else -BETWEEN / 2
    bend_back = bend if source.x == target.x else -bend
    path = drawsvg.Path(stroke="#6b7280", fill="none", stroke_width=1.2)
    path.M(x1, y1).C(x1 + bend, y1, x2 + bend_back, y2, x2, y2)
    drawing.append(path)
    drawing.append(drawsvg.Circle(x2, y2, 2.5, fill="#6b7280"))
    if label:
        # Beside the end that it tells of: between the columns lines cross.
        x = x1 + 6 if to_right or source.x == target.x else x1 - 6
        anchor = "start" if x > x1 else "end"
        drawing.append(drawsvg.Text(label, 9, x, y1 - 3, text_anchor=anchor, **FONT))
