"""A lineage for people: as a tree of text, and as a Mermaid flow chart."""

from collections.abc import Iterator
from typing import NamedTuple

from recollect.service.provenance.answers import LineageAnswer, LineageNode, WhyAnswer

_WORDS = {
    "derived_from": "derived from",
    "revision_of": "revision of",
    "merged_from": "merged from",
    "source": "source",
}
_WORDS_DOWN = {"derived_from": "became", "revision_of": "revised as", "merged_from": "merged into", "source": "source"}
LABEL_CHARS_MAX = 60


class Line(NamedTuple):
    """One line of a tree.

    Attributes:
        lead: The drawing before it.
        step: How the node is reached from the one above; empty for the first.
        node: What stands there.
        repeated: Whether the node stands in the tree already, with all that is below it.
    """

    lead: str
    step: str
    node: LineageNode
    repeated: bool


def lines_of(answer: LineageAnswer) -> Iterator[Line]:
    """Give the lines of a lineage's tree; what was followed in both directions is drawn one after the other."""
    nodes = {node.id: node for node in answer.nodes}
    up: dict[str, list[tuple[str, str]]] = {}
    down: dict[str, list[tuple[str, str]]] = {}
    for edge in answer.edges:
        up.setdefault(edge.child, []).append((edge.parent, _WORDS[edge.kind]))
        if edge.kind != "source":
            down.setdefault(edge.parent, []).append((edge.child, _WORDS_DOWN[edge.kind]))
    yield Line("", "", nodes[answer.root], repeated=False)
    if answer.direction in {"up", "both"}:
        yield from _branches(answer.root, nodes, up)
    if answer.direction in {"down", "both"}:
        yield from _branches(answer.root, nodes, down)


def _branches(root: str, nodes: dict[str, LineageNode], below: dict[str, list[tuple[str, str]]]) -> Iterator[Line]:
    """Walk depth first without recursion: a chain may be longer than the stack of calls."""
    drawn = {root}
    pending = [("", iter(_marked(below.get(root, []))))]
    while pending:
        lead, left = pending[-1]
        following = next(left, None)
        if following is None:
            pending.pop()
            continue
        (node_id, step), is_last = following
        repeated = node_id in drawn and nodes[node_id].kind == "version"
        yield Line(lead + ("└── " if is_last else "├── "), step, nodes[node_id], repeated)
        if node_id not in drawn:
            drawn.add(node_id)
            pending.append((lead + ("    " if is_last else "│   "), iter(_marked(below.get(node_id, [])))))


def _marked(steps: list[tuple[str, str]]) -> list[tuple[tuple[str, str], bool]]:
    return [(step, at == len(steps) - 1) for at, step in enumerate(steps)]


def label_of(node: LineageNode) -> str:
    """Return a node in one line."""
    if node.kind == "source":
        return node.id
    if node.missing:
        return f"{node.id} (not in this store)"
    words = " ".join(node.summary.split()) or ("(forgotten)" if node.forgotten else "(empty)")
    written = f"{node.action} by {node.actor}" if node.action else "of unknown origin"
    when = f" {node.time:%Y-%m-%d %H:%M}" if node.time else ""
    sure = "" if node.confidence in (None, 1.0) else f", confidence {node.confidence:g}"
    return f"{words} [{node.id}] {written}{when}{sure}"


def tree(answer: LineageAnswer) -> str:
    """Return a lineage as text, a node a line."""
    rows = []
    for line in lines_of(answer):
        step = f"{line.step}: " if line.step else ""
        rows.append(f"{line.lead}{step}{label_of(line.node)}{' (see above)' if line.repeated else ''}")
    if answer.truncated:
        rows.append("… there is more; ask with a larger depth or more nodes")
    return "\n".join(rows) + "\n"


def mermaid(answer: LineageAnswer) -> str:
    """Return a lineage as a Mermaid flow chart, from what was there first to what came of it."""
    number = {node.id: f"n{at}" for at, node in enumerate(answer.nodes)}
    rows = ["flowchart BT"]
    rows += [f"    {number[node.id]}{_shape(node)}" for node in answer.nodes]
    rows += [f"    {number[edge.child]} -->|{_WORDS[edge.kind]}| {number[edge.parent]}" for edge in answer.edges]
    rows.append(f"    style {number[answer.root]} stroke-width:3px")
    return "\n".join(rows) + "\n"


def _shape(node: LineageNode) -> str:
    if node.kind == "source":
        return f'(["{_escaped(node.id)}"])'
    words = node.summary if len(node.summary) <= LABEL_CHARS_MAX else node.summary[: LABEL_CHARS_MAX - 1] + "…"
    written = f"<br/>{_escaped(f'{node.action} by {node.actor}, version {node.version}')}" if node.action else ""
    return f'["{_escaped(words or node.id)}{written}"]'


def _escaped(text: str) -> str:
    """Return text as Mermaid shows it literally; its entities are written with `#`."""
    special = {'"', "#", "<", ">", "&", "`", ";", "\\"}
    return "".join(f"#{ord(char)};" if char in special else char for char in " ".join(text.split()))


def facts(answer: WhyAnswer) -> str:
    """Return what is known of a memory besides its lineage, a line each."""
    sure = answer.certainty
    product = f"{sure.product:g} as the product along {len(sure.path)} versions"
    least = f"{sure.minimum:g} as the least, in {sure.weakest}"
    rows = [f"certainty: {sure.own:g} itself; {product}; {least}"]
    rows += [f"source: {source}" for source in answer.sources]
    rows += [f"conflict: {conflict}" for conflict in answer.conflicts]
    for relation in answer.relations:
        note = f" ({relation.note})" if relation.note else ""
        rows.append(f"relation: {relation.origin} {relation.type} {relation.to}, by {relation.actor}{note}")
    rows += [f"given to {item.actor} by {item.operation} {item.time:%Y-%m-%d %H:%M}" for item in answer.receipts]
    return "\n".join(rows) + "\n"
