"""The commands about where memories come from: why, lineage, blame, receipts, and those that connect memories."""

import re
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.printing import Output, clock, one_line, printable
from recollect.service.cli.provenance_backend import Way
from recollect.service.cli.writing import JsonContentOption, MemoryIdArgument, content_of, reference_of, written
from recollect.service.provenance.answers import BlameAnswer, ReceiptsAnswer, Relation
from recollect.service.provenance.requests import (
    LineageRequest,
    NewInsight,
    NewRelation,
    ReceiptsRequest,
    RelationsRequest,
    RemovalRequest,
    VersionOptions,
    WhyRequest,
)
from recollect.service.requests import ProvenanceInput

_WHY = OptionsOf(model=WhyRequest, leave_out=frozenset({"format"}))
_LINEAGE = OptionsOf(model=LineageRequest, leave_out=frozenset({"format"}))
_VERSION = OptionsOf(model=VersionOptions)
_RECEIPTS = OptionsOf(model=ReceiptsRequest, leave_out=frozenset({"memory_id"}))
_RELATION = OptionsOf(model=NewRelation, leave_out=frozenset({"from_", "to", "type"}))
_RELATIONS = OptionsOf(model=RelationsRequest)
_REMOVAL = OptionsOf(model=RemovalRequest)
_INSIGHT = OptionsOf(model=NewInsight, leave_out=frozenset({"content", "provenance"}), flags={"memories": "from"})
_PROVENANCE = OptionsOf(
    model=ProvenanceInput,
    under="provenance",
    leave_out=frozenset({"derived_from"}),
    flags={"confidence": "provenance_confidence"},
)
_NODE_NAME = re.compile(r"\[[0-9a-f-]{36}@\d+[^\]]*\]")

FormatOption = Annotated[
    Literal["tree", "mermaid", "json", "prov"],
    typer.Option("--format", help="A text tree, a Mermaid flow chart, a JSON graph, or W3C PROV-JSON."),
]
ContentArgument = Annotated[
    str, typer.Argument(help="What was drawn from them; '-' reads it from standard input.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, options=[_WHY])(why)
    command(app, options=[_LINEAGE])(lineage)
    command(app, options=[_VERSION])(blame)
    command(app, options=[_RECEIPTS])(receipts)
    command(app, options=[_RELATION])(connect)
    command(app, options=[_RELATIONS])(relations)
    command(app, options=[_REMOVAL])(disconnect)
    command(app, options=[_INSIGHT, _PROVENANCE])(crystallize)
    command(app, options=[_INSIGHT, _PROVENANCE])(synthesize)


async def why(session: Session, given: Given, memory_id: MemoryIdArgument, *, format_: FormatOption = "tree") -> None:
    """Say why a memory is there: sources, derivation, certainty, conflicts, relations, and who was given it."""
    form = "json" if session.output.as_json and format_ == "tree" else format_
    async with session.backend() as backend:
        told = await backend.provenance.why(memory_id, request(WhyRequest, given, format=form))
    _print(session.output, told, form)


async def lineage(
    session: Session, given: Given, memory_id: MemoryIdArgument, *, format_: FormatOption = "tree"
) -> None:
    """Show what a memory was made of (--direction up), what was made of it (down), or both."""
    form = "json" if session.output.as_json and format_ == "tree" else format_
    async with session.backend() as backend:
        told = await backend.provenance.lineage(memory_id, request(LineageRequest, given, format=form))
    _print(session.output, told, form)


def _print(output: Output, told: bytes, form: str) -> None:
    """Print a tree with its names dimmed, and what is for programs as it is."""
    if form != "tree":
        output.raw(told if told.endswith(b"\n") else told + b"\n")
        return
    text = Text(printable(told.decode()).rstrip("\n"))
    text.highlight_regex(_NODE_NAME, "dim")
    output.people.print(text, soft_wrap=True)


async def blame(session: Session, given: Given, memory_id: MemoryIdArgument) -> None:
    """Show who wrote each sentence of a memory, and in which version."""
    async with session.backend() as backend:
        answer = await backend.provenance.blame(memory_id, request(VersionOptions, given))
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.people.print(_blame_table(answer))


def _blame_table(answer: BlameAnswer) -> Table:
    table = Table("version", "when", "actor", "source", "sentence", box=None, header_style="dim")
    for sentence in answer.sentences:
        table.add_row(
            f"{sentence.version} on {printable(sentence.branch)}",
            clock(sentence.time),
            Text(one_line(sentence.actor)),
            Text(one_line(sentence.source or "")),
            Text(printable(sentence.text)),
        )
    return table


async def receipts(
    session: Session,
    given: Given,
    memory_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Only those of this memory.", show_default=False)
    ] = None,
) -> None:
    """Show who was given which memories, newest first; what was looked for is kept as its SHA-256 only."""
    async with session.backend() as backend:
        answer = await backend.provenance.receipts(request(ReceiptsRequest, given, memory_id=memory_id))
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.people.print(_receipts_table(answer))


def _receipts_table(answer: ReceiptsAnswer) -> Table:
    table = Table("when", "actor", "how", "query", "given", box=None, header_style="dim")
    for receipt in answer.items:
        first = receipt.given[0]
        more = f" and {receipt.hits - 1} more" if receipt.hits > 1 else ""
        table.add_row(
            clock(receipt.time),
            Text(one_line(receipt.actor)),
            receipt.operation,
            (receipt.query_digest or "")[:12],
            Text(f"{first.id}@{first.version}{more}"),
        )
    return table


async def connect(
    session: Session,
    given: Given,
    origin: Annotated[str, typer.Argument(metavar="FROM", help="The memory it leads from.", show_default=False)],
    relation: Annotated[
        str, typer.Argument(metavar="TYPE", help="What it says, such as supports.", show_default=False)
    ],
    to: Annotated[str, typer.Argument(metavar="TO", help="The memory it leads to.", show_default=False)],
) -> None:
    """Relate one memory to another; the same relation again is answered as it is."""
    wanted = request(NewRelation, {**given, "from": origin, "to": to, "type": relation})
    async with session.backend() as backend:
        _print_relations(session.output, [await backend.provenance.connect(wanted)], one=True)


async def relations(session: Session, given: Given, memory_id: MemoryIdArgument) -> None:
    """List the relations of a memory."""
    async with session.backend() as backend:
        answer = await backend.provenance.relations(memory_id, request(RelationsRequest, given))
    if session.output.as_json:
        session.output.json(answer)
    else:
        _print_relations(session.output, answer.items)


async def disconnect(
    session: Session,
    given: Given,
    relation_id: Annotated[str, typer.Argument(metavar="ID", help="The relation.", show_default=False)],
) -> None:
    """Remove a relation; the memories stay."""
    async with session.backend() as backend:
        gone = await backend.provenance.disconnect(relation_id, request(RemovalRequest, given))
    _print_relations(session.output, [gone], one=True)


def _print_relations(output: Output, items: list[Relation], *, one: bool = False) -> None:
    if output.as_json and one:
        output.json(items[0])
        return
    table = Table("id", "from", "type", "to", "actor", "note", box=None, header_style="dim")
    for item in items:
        cells = (item.origin, item.type, item.to, item.actor, item.note or "")
        table.add_row(item.id, *(Text(one_line(cell)) for cell in cells))
    output.people.print(table)


async def crystallize(
    session: Session, given: Given, content: ContentArgument, *, json_content: JsonContentOption = False
) -> None:
    """Pin an insight drawn from several memories (--from ID, repeated): as important as can be, never expiring."""
    await _draw(session, given, content, "crystallize", json_content=json_content)


async def synthesize(
    session: Session, given: Given, content: ContentArgument, *, json_content: JsonContentOption = False
) -> None:
    """Store a memory drawn from several others (--from ID, repeated), with its lineage."""
    await _draw(session, given, content, "synthesize", json_content=json_content)


async def _draw(session: Session, given: Given, content: str, way: Way, *, json_content: bool) -> None:
    memories = [reference_of(text) for text in given.get("memories", ())]
    said = {**written(given), "memories": memories}
    insight = request(NewInsight, said, content=content_of(content, json_content=json_content))
    async with session.backend() as backend:
        session.output.remembered(await backend.provenance.draw(way, insight))
