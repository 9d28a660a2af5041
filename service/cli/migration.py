"""The command that moves a whole store to another backend: migrate-store."""

from contextlib import AbstractContextManager
from typing import Annotated

import typer
from rich.text import Text

from recollect.service.cli.command import Session, command
from recollect.service.cli.progress import Advance, progress_bar
from recollect.service.migration.answers import MigrationReport
from recollect.service.migration.running import migrate_store as migrate


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, name="migrate-store", remote=False, on_store=False)(migrate_store)


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

    def show_progress(what: str, versions: int) -> AbstractContextManager[Advance]:
        return progress_bar(session.output, what, versions)

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
    compared = report.compared
    held_by_both = f"  {_counted(compared.versions, compared.commits)} on both sides"
    show(Text.assemble(("the same", "bold green"), held_by_both))
    show(Text(f"SHA-256   {compared.checksum}", style="dim"), soft_wrap=True)
    if compared.target_is_ahead:
        show(Text("The target has been written to since; that was not compared."))


def _counted(versions: int, commits: int) -> str:
    return f"{versions:,} version{'s' * (versions != 1)} in {commits:,} commit{'s' * (commits != 1)}"
