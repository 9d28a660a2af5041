"""What commands print: tables and panels for people, the API's answers as JSON for programs."""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from recollect.service.answers import (
    HistoryAnswer,
    Hit,
    ImportReport,
    Memory,
    MemoryPage,
    Problem,
    ProvenanceRecord,
    Remembered,
    ServiceStatus,
)

WIDTH_OF_A_FILE = 160
"""Columns where the output is no terminal: ids and summaries then stand on one line."""

# Stored text must not steer a terminal or reorder its line: controls, and the marks that turn the direction of text.
_UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "�")


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey."""
    return text.replace("\r\n", "\n").translate(_UNPRINTABLE)


def memories(count: int) -> str:
    """Return how many memories there are, in words."""
    return f"{count:,} {'memory' if count == 1 else 'memories'}"


def versions(count: int) -> str:
    """Return how many versions there are, in words."""
    return f"{count:,} {'version' if count == 1 else 'versions'}"


def one_line(text: str) -> str:
    """Return text as one printable line."""
    return printable(" ".join(text.split()))


def clock(moment: datetime) -> str:
    """Return a time as people read it, in their own zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


class Output:
    """Prints answers, for people or for programs.

    Args:
        as_json: Print JSON, one value a line, and nothing else.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.people = _console(stderr=False)
        self.errors = _console(stderr=True)

    def json(self, answer: Any) -> None:
        """Print an answer as one line of JSON, at once."""
        self.raw(msgspec.json.encode(answer) + b"\n")

    def raw(self, data: bytes) -> None:
        """Write bytes to standard output, at once."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def problem(self, problem: Problem) -> None:
        """Tell on standard error what is wrong and what to do."""
        if self.as_json:
            sys.stderr.write(msgspec.json.encode(problem).decode() + "\n")
            return
        text = Text.assemble(("error: ", "bold"), printable(problem.detail), style="red")
        if problem.request_id:
            text.append(f" (request {printable(problem.request_id)})", style="dim red")
        self.errors.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something beside the answer, on standard error; programs are spared it."""
        if not self.as_json:
            self.errors.print(Text(printable(text), style="dim"), soft_wrap=True)

    def remembered(self, answer: Remembered) -> None:
        """Print what became of a write."""
        if self.as_json:
            self.json(answer)
            return
        style = {"created": "green", "revised": "cyan", "duplicate": "yellow", "forgotten": "magenta"}[answer.status]
        line = Text.assemble(
            (answer.status, f"bold {style}"), "  ", (answer.id, "bold"), f"  version {answer.version}",
            f"  {printable(answer.namespace)} on {printable(answer.branch)}", (f"  position {answer.position}", "dim"),
        )  # fmt: skip
        self.people.print(line, soft_wrap=True)

    def memory(self, memory: Memory) -> None:
        """Print one memory with all that was asked for."""
        if self.as_json:
            self.json(memory)
            return
        facts = _facts()
        for name, value in _memory_facts(memory):
            facts.add_row(name, Text(printable(value)))
        parts: list[Any] = [Text(printable(memory.summary), style="bold"), facts]
        if memory.content is not UNSET:
            parts += [Text("\ncontent", style="dim"), Text(_value(memory.content))]
        if memory.metadata:
            parts += [Text("\nmetadata", style="dim"), Text(_value(memory.metadata))]
        if isinstance(memory.provenance, ProvenanceRecord):
            parts += [Text("\nprovenance", style="dim"), _provenance(memory.provenance)]
        self.people.print(Panel(Group(*parts), title=memory.id, title_align="left", border_style="dim"))

    def page(self, page: MemoryPage) -> None:
        """Print a page of memories, and how to get the next."""
        if self.as_json:
            self.json(page)
            return
        self.people.print(self._memories(page.items))
        if page.next_cursor:
            self.note(f"there are more: --cursor {page.next_cursor}")

    def history(self, answer: HistoryAnswer) -> None:
        """Print the versions of a memory, newest first."""
        if self.as_json:
            self.json(answer)
            return
        table = Table("version", "when", "action", "actor", "source", "summary", box=None, header_style="dim")
        for memory in answer.items:
            record = memory.provenance if isinstance(memory.provenance, ProvenanceRecord) else None
            table.add_row(
                f"{memory.version} on {printable(memory.branch)}",
                clock(memory.updated_at),
                Text(_action(memory, record), style="magenta" if memory.forgotten else ""),
                Text(one_line(record.actor) if record else ""),
                Text(one_line(record.source or "") if record else ""),
                Text(one_line(memory.summary)),
            )
        self.people.print(table)
        for memory in answer.items:
            if memory.changes is not UNSET:
                self.people.print(_changes(memory, memory.changes), soft_wrap=True)

    def hit(self, rank: int, hit: Hit) -> None:
        """Print one hit of a search; a program gets frames instead."""
        head = Text.assemble((f"{rank:>3} ", "dim"), (f"{hit.score:.3f}", "bold green"), "  ")
        head.append(one_line(hit.summary), style="bold")
        words = [hit.namespace, hit.kind, clock(hit.created_at), hit.id, *([hit.key] if hit.key else [])]
        below = Text("           " + "  ".join(one_line(word) for word in words), style="dim")
        for tag in hit.tags:
            below.append(f"  #{one_line(tag)}", style="cyan")
        lines: list[Any] = [head, below]
        if hit.scores is not UNSET:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in _score_parts(hit))
            lines.append(Text(f"           {parts}", style="dim"))
        if isinstance(hit.provenance, ProvenanceRecord):
            lines.append(Text("           " + _provenance_line(hit.provenance), style="yellow"))
        if hit.content is not UNSET:
            lines.append(Text("           " + _value(hit.content).replace("\n", "\n           ")))
        if hit.metadata:
            lines.append(Text("           " + one_line(_json(hit.metadata)), style="dim"))
        self.people.print(Group(*lines))

    def import_report(self, report: ImportReport) -> None:
        """Print what an import did."""
        if self.as_json:
            self.json(report)
            return
        for problem in report.problems:
            self.problem(problem)
        counts = f"{report.created:,} created, {report.revised:,} revised, {report.duplicate:,} there already"
        refused = Text(f", {report.refused:,} left out", style="red") if report.refused else Text("")
        self.people.print(Text.assemble((counts, "bold"), refused))

    def status(self, status: ServiceStatus) -> None:
        """Print how the service is."""
        if self.as_json:
            self.json(status)
            return
        facts = _facts()
        store = status.storage
        colour = "green" if status.status == "healthy" else "yellow"
        facts.add_row("status", Text(status.status, style=f"bold {colour}"))
        facts.add_row("version", f"{status.version}, up {status.uptime_s:,.0f} s")
        facts.add_row("store", Text(f"{store.backend}, {printable(store.location)}"))
        facts.add_row("", f"{store.memories:,} memories, {store.versions:,} versions, {store.bytes_on_disk:,} bytes")
        embedder = ", ".join(f"{name} {value}" for name, value in _plain(status.embedder))
        facts.add_row("embedder", Text(printable(embedder)))
        for name, times in status.operations.items():
            facts.add_row(Text(name), ", ".join(f"{key} {value:g}" for key, value in times.items()))
        for note in status.notes:
            facts.add_row("note", Text(printable(note), style="yellow"))
        self.people.print(facts)

    def _memories(self, memories: Iterable[Memory]) -> Table:
        table = Table(box=None, header_style="dim")
        table.add_column("id", no_wrap=True)
        table.add_column("when", no_wrap=True)
        table.add_column("namespace", overflow="fold")
        table.add_column("summary", ratio=1)
        for memory in memories:
            summary = Text(one_line(memory.summary))
            if memory.key:
                summary.append(f"  {one_line(memory.key)}", style="dim")
            for tag in memory.tags:
                summary.append(f"  #{one_line(tag)}", style="cyan")
            table.add_row(memory.id, clock(memory.created_at), Text(one_line(memory.namespace)), summary)
        return table


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in console._environ:  # noqa: SLF001 - rich reads it there, too
        console.width = WIDTH_OF_A_FILE
    return console


def _facts() -> Table:
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def _memory_facts(memory: Memory) -> Iterator[tuple[str, str]]:
    yield "namespace", memory.namespace
    if memory.key:
        yield "key", memory.key
    yield "kind", memory.kind
    if memory.tags:
        yield "tags", ", ".join(memory.tags)
    yield "version", f"{memory.version} on {memory.branch}, position {memory.position}"
    yield "importance", f"{memory.importance:g}, confidence {memory.confidence:g}"
    yield "created", clock(memory.created_at)
    if memory.updated_at != memory.created_at:
        yield "updated", clock(memory.updated_at)
    if memory.expires_at:
        yield "expires", clock(memory.expires_at)
    if memory.forgotten:
        yield "erased" if memory.erased else "forgotten", "yes"


def _provenance(record: ProvenanceRecord) -> Table:
    facts = _facts()
    facts.add_row("action", Text(f"{record.action} by {one_line(record.actor)}, {clock(record.time)}"))
    if record.source:
        facts.add_row("source", Text(one_line(record.source)))
    for parent in record.derived_from:
        facts.add_row("derived from", Text(one_line(f"{parent.id} version {parent.version} on {parent.branch}")))
    if record.note:
        facts.add_row("note", Text(printable(record.note)))
    if record.confidence is not None:
        facts.add_row("confidence", f"{record.confidence:g}")
    facts.add_row("level", record.level)
    return facts


def _provenance_line(record: ProvenanceRecord) -> str:
    source = f" from {record.source}" if record.source else ""
    return one_line(f"{record.action} by {record.actor}{source}")


def _changes(memory: Memory, lines: Iterable[str]) -> Text:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    text = Text(f"\nversion {memory.version} on {printable(memory.branch)}", style="bold")
    for line in lines:
        text.append("\n" + printable(line), style=styles.get(line[:1], "not bold"))
    return text


def _action(memory: Memory, record: ProvenanceRecord | None) -> str:
    if memory.erased:
        return "erased"
    if record:
        return record.action
    return "forgotten" if memory.forgotten else ""


def _score_parts(hit: Hit) -> Iterator[tuple[str, float]]:
    for name, value in msgspec.to_builtins(hit.scores).items():
        if value is not None:
            yield name, value


def _plain(embedder: Any) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in embedder.items() if isinstance(value, str | int | float))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _value(value: Any) -> str:
    """Text as it is, and any other JSON value indented."""
    return printable(value if isinstance(value, str) else msgspec.json.format(_json(value), indent=2))
