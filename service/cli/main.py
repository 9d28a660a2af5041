"""The console command `recollect`."""

from importlib.metadata import version
from typing import Annotated

import typer

from recollect.service.cli import (
    branches,
    maintenance,
    migration,
    provenance,
    reading,
    safety,
    serve,
    transfer,
    writing,
)
from recollect.service.cli.exits import EPILOG

app = typer.Typer(
    name="recollect",
    help="Memory for agents and applications that can always say where it came from.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's signature of a callback
    if asked:
        typer.echo(f"recollect {version('recollect')}")
        raise typer.Exit


@app.callback()
def recollect(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Say the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Memory for agents and applications that can always say where it came from."""


for group in (serve, writing, reading, provenance, branches, safety, transfer, maintenance, migration):
    group.register(app)


def main() -> None:
    """Run the command line; the exit code says how it went."""
    app()
