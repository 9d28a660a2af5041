"""The command that looks after a store: fsck."""

import typer
from rich.table import Table
from rich.text import Text

from recollect.adapters.port import CheckReport
from recollect.adapters.registry import create_adapter
from recollect.service.cli.command import Session, command
from recollect.service.cli.configuration import load_settings
from recollect.service.cli.exits import ExitCode
from recollect.service.cli.printing import printable
from recollect.service.cli.progress import progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, remote=False)(fsck)


async def fsck(session: Session) -> None:
    """Read everything in a store, compare it with its checksums, and name what is damaged. Needs no model."""
    url = session.storage or load_settings().storage
    adapter = create_adapter(url)
    await adapter.open()
    try:
        with progress_bar(session.output, f"checking {url}", None):
            report = await adapter.check()
    finally:
        await adapter.close()
    if session.output.as_json:
        session.output.json(report)
    else:
        _print(session, report)
    if report.findings:
        raise typer.Exit(ExitCode.DAMAGED)


def _print(session: Session, report: CheckReport) -> None:
    read = f"{report.versions_checked:,} versions, {report.bytes_checked:,} bytes"
    if not report.findings:
        session.output.people.print(Text.assemble(("sound", "bold green"), f"  {read}"))
        return
    session.output.people.print(Text.assemble((f"{len(report.findings):,} damaged", "bold red"), f"  of {read}"))
    table = Table("place", "memory", "problem", "remedy", box=None, header_style="dim")
    for finding in report.findings:
        memory = f"{finding.ref.memory_id} version {finding.ref.number}" if finding.ref else ""
        table.add_row(*(Text(printable(cell)) for cell in (finding.place, memory, finding.problem, finding.remedy)))
    session.output.people.print(table)
