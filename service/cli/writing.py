"""The commands that write: remember, revise, forget."""

import sys
from typing import Annotated, Any

import typer

from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.exits import usage_error
from recollect.service.cli.options import OptionsOf, parse_json
from recollect.service.requests import NewMemory, ProvenanceInput, Revision

CONTENT_BYTES_MAX = 64 * 1024 * 1024
"""What is read of standard input at most; the service takes less, and says how much."""

_PROVENANCE = OptionsOf(
    model=ProvenanceInput,
    under="provenance",
    flags={"confidence": "provenance_confidence"},
)
_NEW = OptionsOf(model=NewMemory, leave_out=frozenset({"content", "provenance"}))
_CHANGES = OptionsOf(model=Revision, leave_out=frozenset({"content", "provenance"}))
_BRANCH = OptionsOf(model=Revision, leave_out=frozenset(Revision.model_fields) - {"branch"})
_REASON = OptionsOf(model=ProvenanceInput, under="provenance", leave_out=frozenset({"confidence", "derived_from"}))

JsonContentOption = Annotated[bool, typer.Option("--json-content", help="The content is a JSON value, not text.")]
ExpectedVersionOption = Annotated[
    int | None,
    typer.Option(
        "--expected-version",
        min=1,
        help="Only if the memory is at this version; else nothing is written, and the exit code is 4.",
        show_default=False,
    ),
]
MemoryIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The memory.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, options=[_NEW, _PROVENANCE])(remember)
    command(app, options=[_CHANGES, _PROVENANCE])(revise)
    command(app, options=[_BRANCH, _REASON])(forget)


async def remember(
    session: Session,
    given: Given,
    content: Annotated[
        str, typer.Argument(help="What to remember; '-' reads it from standard input.", show_default=False)
    ],
    *,
    json_content: JsonContentOption = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="Sent twice with one key, it is stored once.", show_default=False),
    ] = None,
) -> None:
    """Store a memory; other content under the same key revises it."""
    memory = request(NewMemory, written(given), content=content_of(content, json_content=json_content))
    async with session.backend() as backend:
        session.output.remembered(await backend.remember(memory, idempotency_key=idempotency_key))


async def revise(
    session: Session,
    given: Given,
    memory_id: MemoryIdArgument,
    content: Annotated[
        str | None, typer.Argument(help="The new content; '-' reads it from standard input.", show_default=False)
    ] = None,
    *,
    json_content: JsonContentOption = False,
    expected_version: ExpectedVersionOption = None,
) -> None:
    """Add a version to a memory; what is not given stays as it is."""
    new = None if content is None else content_of(content, json_content=json_content)
    revision = request(Revision, written(given), content=new)
    async with session.backend() as backend:
        session.output.remembered(await backend.revise(memory_id, revision, expected_version=expected_version))


async def forget(
    session: Session,
    given: Given,
    memory_id: MemoryIdArgument,
    *,
    expected_version: ExpectedVersionOption = None,
) -> None:
    """Forget a memory: it is no longer recalled; its history stays."""
    provenance = ProvenanceInput.model_validate(given["provenance"]) if "provenance" in given else None
    async with session.backend() as backend:
        answer = await backend.forget(
            memory_id,
            branch=given.get("branch", "main"),
            expected_version=expected_version,
            provenance=provenance,
        )
    session.output.remembered(answer)


def content_of(content: str, *, json_content: bool) -> Any:
    """Return what an argument says is to be stored: itself, standard input, or the JSON value it holds."""
    if content == "-":
        data = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 1)
        if len(data) > CONTENT_BYTES_MAX:
            raise usage_error(f"standard input holds more than {CONTENT_BYTES_MAX:,} bytes; one memory is smaller")
        try:
            content = data.decode()
        except UnicodeDecodeError as error:
            raise usage_error(f"standard input is not UTF-8 text ({error}); convert it first") from error
    return parse_json(content, "CONTENT") if json_content else content


def written(given: Given) -> Given:
    """Read `ID@VERSION` in what the memory was derived from."""
    provenance = given.get("provenance")
    if provenance and "derived_from" in provenance:
        references = [reference_of(text) for text in provenance["derived_from"]]
        return {**given, "provenance": {**provenance, "derived_from": references}}
    return given


def reference_of(text: str) -> str | dict[str, str]:
    """Return what `ID` or `ID@VERSION` names."""
    memory_id, at, version = text.partition("@")
    return {"id": memory_id, "version": version} if at else memory_id
