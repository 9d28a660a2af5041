"""The commands that copy a whole store: migrate-store, backup, restore."""

from contextlib import AbstractContextManager
from typing import Annotated

import typer
from rich.text import Text

from recollect.adapters.registry import backends
from recollect.service.cli.command import Session, command
from recollect.service.cli.configuration import load_settings
from recollect.service.cli.printing import printable, versions
from recollect.service.cli.progress import Advance, progress_bar
from recollect.service.migration.answers import MigrationReport
from recollect.service.migration.running import migrate_store as migrate


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, name="migrate-store", remote=False, on_store=False)(migrate_store)
    command(app, remote=False)(backup)
    command(app, remote=False)(restore)


async def migrate_store(
    session: Session,
    source: Annotated[str, typer.Argument(help="The store's URL, such as file:PATH.", show_default=False)],
    target: Annotated[
        str,
        typer.Argument(help="Where to copy it, such as edge:PATH; made if it is not there.", show_default=False),
    ],
    *,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Copy nothing; compare what the two stores hold.")
    ] = False,
) -> None:
    """Copy a whole store to another backend: all versions, branches, provenance, vectors. Needs no model.

    The source is only read. Run again, it goes on where it stopped. In the end both stores are read and compared.
    """
    await _copy(session, source, target, verify_only=verify_only)


async def backup(
    session: Session,
    target: Annotated[
        str,
        typer.Argument(
            help="A folder, or a store's URL such as edge:PATH; made if it is not there.", show_default=False
        ),
    ],
) -> None:
    """Copy the whole store into a backup, also while a service works on it. Needs no model.

    Run again, it adds what is new, and erases what was erased since. In the end both are read and compared.
    """
    await _copy(session, session.storage or load_settings().storage, store_url(target))


async def restore(
    session: Session,
    source: Annotated[str, typer.Argument(help="A folder or URL that `backup` has written.", show_default=False)],
) -> None:
    """Copy a backup into the store, which must be new, or hold the beginning of it. Needs no model.

    A service may work on the store already. Run again, it goes on where it stopped. In the end both are compared.
    """
    await _copy(session, store_url(source), session.storage or load_settings().storage)


def store_url(place: str) -> str:
    """Return a store's URL: the place itself, if it is one, or else that of files in this folder."""
    scheme, colon, _ = place.partition(":")
    return place if colon and scheme in backends() else f"file:{place}"


async def _copy(session: Session, source: str, target: str, *, verify_only: bool = False) -> None:
    def show_progress(what: str, count: int) -> AbstractContextManager[Advance]:
        return progress_bar(session.output, what, count)

    report = await migrate(source, target, show_progress, verify_only=verify_only)
    if session.output.as_json:
        session.output.json(report)
    else:
        _print(session, report)


def _print(session: Session, report: MigrationReport) -> None:
    show = session.output.people.print
    if report.copied is not None:
        held = " more" if report.copied.resumed_at else ""
        show(Text(f"copied{held}: {_counted(report.copied.versions, report.copied.commits)}"))
        if report.copied.erased:
            show(Text(f"erased: {versions(report.copied.erased)}, as in the source"))
        if report.copied.note is not None:
            show(Text(f"Files of the target may still hold words that were erased: {printable(report.copied.note)}"))
    compared = report.compared
    held_by_both = f"  {_counted(compared.versions, compared.commits)} on both sides"
    show(Text.assemble(("the same", "bold green"), held_by_both))
    show(Text(f"SHA-256   {compared.checksum}", style="dim"), soft_wrap=True)
    if compared.target_is_ahead:
        show(Text("The target has been written to since; that was not compared."))


def _counted(held: int, commits: int) -> str:
    return f"{versions(held)} in {commits:,} commit{'s' * (commits != 1)}"
