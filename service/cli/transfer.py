"""The commands that move many memories: import and export."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
import typer

from recollect.service.answers import ImportReport, Problem
from recollect.service.cli.backend import Backend
from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.exits import ExitCode, usage_error
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.progress import Advance, progress_bar
from recollect.service.importers import Format, Importer, ImportOptions, Record, open_importer
from recollect.service.requests import ListRequest

CHUNK_MEMORIES = 256
CHUNK_BYTES = 1_048_576
"""What goes to the backend at once: enough for full batches, little enough for a bar that moves."""
PROBLEMS_MAX = 100

_RECORD = re.compile(r"record (\d+): (.*)", re.DOTALL)
_EXPORTED = OptionsOf(
    model=ListRequest,
    leave_out=frozenset(ListRequest.model_fields) - {"namespaces", "branch", "as_of", "filters"},
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, name="import")(import_from)
    command(app, options=[_EXPORTED])(export)


async def import_from(
    session: Session,
    path: Annotated[
        str,
        typer.Argument(
            help="A JSONL file, a folder of Markdown, or a git repository; '-' reads JSONL from standard input.",
            show_default=False,
        ),
    ],
    *,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="What PATH is, where it cannot be told; markdown reads the documents of a repository.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            help="Where the memories go: by default as each line says, or 'projects' for Markdown and git.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="What the folder is called in keys, so that two folders do not meet; its own name by default.",
            show_default=False,
        ),
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option("--branch", help="The branch to store them on; as each line says, or main.", show_default=False),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="A tag for each memory; may be repeated.", show_default=False)
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option("--actor", help="Who wrote them, where that is not told by what is read.", show_default=False),
    ] = None,
) -> None:
    """Import memories. Run again, it goes on where it stopped: what is there already is not stored twice."""
    options = ImportOptions(namespace=namespace, name=name, tags=tuple(tag or ()), actor=actor)
    importer = await asyncio.to_thread(open_importer, path, format_, options)
    total = await asyncio.to_thread(importer.count)
    async with session.backend() as backend:
        with progress_bar(session.output, f"importing {importer.what}", total) as advance:
            report = await import_records(backend, importer, advance, branch)
    session.output.import_report(report)
    if report.refused:
        raise typer.Exit(ExitCode.FAILED)


async def import_records(
    backend: Backend, importer: Importer, advance: Advance, branch: str | None = None
) -> ImportReport:
    """Store what an importer reads, a chunk at a time; the next chunk is read while one is stored.

    Args:
        backend: Where to store.
        importer: What to read; its records that cannot be read are counted as refused.
        advance: Told how many records are done.
        branch: The branch to store on; None as each record says.

    Returns:
        What became of the records; its problems name each record's place.
    """
    tally = _Tally()
    with closing(_chunks(importer.records())) as chunks:
        reading = asyncio.create_task(asyncio.to_thread(next, chunks, None))
        try:
            while (chunk := await reading) is not None:
                reading = asyncio.create_task(asyncio.to_thread(next, chunks, None))
                await _store(backend, chunk, tally, branch)
                advance(len(chunk))
        finally:
            # A generator cannot be closed while a thread is inside of it.
            await asyncio.wait([reading])
    return tally.report()


async def _store(backend: Backend, chunk: Sequence[Record], tally: "_Tally", branch: str | None) -> None:
    good = [record for record in chunk if record.memory is not None]
    for record in chunk:
        if record.problem is not None:
            tally.refuse(record.problem)
    if good:
        memories = [record.memory for record in good if record.memory is not None]
        if branch is not None:
            memories = [memory.model_copy(update={"branch": branch}) for memory in memories]
        report = await backend.import_memories(memories)
        tally.add(report, good)


class _Tally:
    """Adds up what became of the chunks."""

    def __init__(self) -> None:
        self._counts = {"created": 0, "revised": 0, "duplicate": 0, "refused": 0}
        self._problems: list[Problem] = []

    def refuse(self, problem: Problem) -> None:
        self._counts["refused"] += 1
        self._keep(problem)

    def add(self, report: ImportReport, records: Sequence[Record]) -> None:
        for name in self._counts:
            self._counts[name] += getattr(report, name)
        for problem in report.problems:
            found = _RECORD.match(problem.detail)
            if found and 1 <= int(found[1]) <= len(records):
                place = records[int(found[1]) - 1].place
                self._keep(msgspec.structs.replace(problem, detail=f"{place}: {found[2]}"))
            else:
                self._keep(problem)

    def _keep(self, problem: Problem) -> None:
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)

    def report(self) -> ImportReport:
        return ImportReport(**self._counts, problems=self._problems)


def _chunks(records: Iterator[Record]) -> Generator[list[Record], None, None]:
    chunk: list[Record] = []
    weight = 0
    for record in records:
        chunk.append(record)
        weight += record.weight
        if len(chunk) >= CHUNK_MEMORIES or weight >= CHUNK_BYTES:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


async def export(
    session: Session,
    given: Given,
    path: Annotated[
        str, typer.Argument(help="The file to write; '-' writes to standard output.", show_default=False)
    ] = "-",
    *,
    format_: Annotated[
        Literal["jsonl", "prov"],
        typer.Option("--format", help="prov writes the provenance of every version as one W3C PROV-JSON document."),
    ] = "jsonl",
) -> None:
    """Write memories as JSON lines that `recollect import` takes back, each with where it came from."""
    if format_ == "prov":
        await _export_provenance(session, given, path)
        return
    selection = request(ListRequest, given)
    plain = not given.keys() - {"branch"} and selection.branch == "main"
    async with session.backend() as backend:
        total = (await backend.status()).storage.memories if plain else None
        with progress_bar(session.output, "exporting memories", total) as advance, _target(path) as target:
            async with aclosing(backend.export(selection)) as pieces:
                async for lines in pieces:
                    await asyncio.to_thread(target.write, lines)
                    advance(lines.count(b"\n"))
    if path != "-":
        session.output.note(f"written to {path}")


async def _export_provenance(session: Session, given: Given, path: str) -> None:
    if given.keys() - {"namespaces"}:
        raise usage_error("--format prov exports every version; leave out --branch, --as-of and --filters")
    async with session.backend() as backend:
        with _target(path) as target:
            async with aclosing(backend.provenance.export(given.get("namespaces"))) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(target.write, piece)
    if path != "-":
        session.output.note(f"written to {path}")


@contextmanager
def _target(path: str) -> Iterator[BinaryIO]:
    """Open where an export goes. A file appears under its name only when it is complete."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(path).resolve()
    descriptor, temporary = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.")
    try:
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        Path(temporary).replace(final)
    except BaseException:
        Path(temporary).unlink()
        raise
