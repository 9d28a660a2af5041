"""The commands that read: get, history, list, recall, status."""

from contextlib import aclosing
from typing import Annotated, Literal

import typer

from recollect.service.answers import EndFrame, ErrorFrame, Frame, HitsFrame, Problem
from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.exits import CommandError, usage_error
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.printing import Output
from recollect.service.cli.writing import MemoryIdArgument
from recollect.service.requests import ListRequest, ReadOptions, SearchRequest

_INCLUDED = frozenset({"include_provenance"})
_READ = OptionsOf(model=ReadOptions, leave_out=_INCLUDED)
_LIST = OptionsOf(model=ListRequest, leave_out=_INCLUDED)
_SEARCH = OptionsOf(model=SearchRequest, leave_out=_INCLUDED | {"text"})

IncludeOption = Annotated[
    Literal["provenance"] | None,
    typer.Option("--include", help="Where it comes from: read only when asked for.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, options=[_SEARCH])(recall)
    command(app, options=[_READ])(get)
    command(app, options=[_READ])(history)
    command(app, name="list", options=[_LIST])(list_memories)
    command(app)(status)


async def recall(
    session: Session,
    given: Given,
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.", show_default=False)] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Stream everything, best first, instead of --limit.")
    ] = False,
    include: IncludeOption = None,
) -> None:
    """Recall memories by meaning, printed as they arrive; with --json as frames, one a line."""
    search = request(SearchRequest, given, text=text, **_included(include))
    if everything:
        search = SearchRequest.model_validate({**search.model_dump(exclude_unset=True), "limit": None})
    printer = _Frames(session.output)
    async with session.backend() as backend, aclosing(backend.find_similar(search)) as frames:
        async for frame in frames:
            printer.show(frame)
    printer.close()


class _Frames:
    """Prints the frames of a stream as they come, and notices when it is cut."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._rank = 0
        self._complete = False

    def show(self, frame: Frame) -> None:
        if self._output.as_json:
            self._output.json(frame)
        if isinstance(frame, ErrorFrame):
            raise CommandError(frame.error)
        if isinstance(frame, EndFrame):
            self._complete = True
            self._output.note(f"{frame.hits:,} found in {frame.elapsed_ms:,.1f} ms")
        if isinstance(frame, HitsFrame):
            for hit in frame.hits:
                self._rank += 1
                if not self._output.as_json:
                    self._output.hit(self._rank, hit)

    def close(self) -> None:
        if not self._complete:
            raise CommandError(
                Problem(
                    title="The answer was cut",
                    status=502,
                    code="stream_cut",
                    detail=f"the stream ended after {self._rank} hits without its end frame; ask again",
                )
            )


async def get(
    session: Session,
    given: Given,
    memory_id: Annotated[str | None, typer.Argument(metavar="ID", help="The memory.", show_default=False)] = None,
    *,
    namespace: Annotated[str, typer.Option("--namespace", help="With --key: where the memory lives.")] = "longterm",
    key: Annotated[
        str | None, typer.Option("--key", help="The memory's key, instead of its id.", show_default=False)
    ] = None,
    include: IncludeOption = None,
) -> None:
    """Show one memory, by its id or by its key."""
    if (memory_id is None) == (key is None):
        raise usage_error("name the memory by its ID, or by --key (and --namespace)")
    options = request(ReadOptions, given, **_included(include))
    async with session.backend() as backend:
        memory = (
            await backend.get_by_key(namespace, key, options)
            if memory_id is None and key is not None
            else await backend.get(str(memory_id), options)
        )
    session.output.memory(memory)


async def history(
    session: Session,
    given: Given,
    memory_id: MemoryIdArgument,
    *,
    include: IncludeOption = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what each version changed in the content.")] = False,
) -> None:
    """Show all versions of a memory, newest first, with who wrote each and from what."""
    # People ask for a history to see who did what; programs say what they want, as over HTTP.
    asked = include if session.output.as_json else "provenance"
    options = request(ReadOptions, given, **_included(asked))
    async with session.backend() as backend:
        asked_for = backend.provenance.changes if diff else backend.history
        answer = await asked_for(memory_id, options)
    session.output.history(answer)


async def list_memories(session: Session, given: Given, *, include: IncludeOption = None) -> None:
    """List memories in order, a page at a time."""
    async with session.backend() as backend:
        page = await backend.list_memories(request(ListRequest, given, **_included(include)))
    session.output.page(page)


async def status(session: Session) -> None:
    """Say how the service, or the store, is."""
    async with session.backend() as backend:
        session.output.status(await backend.status())


def _included(include: str | None) -> dict[str, bool]:
    return {"include_provenance": True} if include == "provenance" else {}
