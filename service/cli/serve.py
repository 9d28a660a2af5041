"""The command that runs the service. Its options are the settings, one for each."""

import functools
import inspect
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from recollect.service.cli.command import end
from recollect.service.cli.configuration import load_settings
from recollect.service.cli.settings_table import SETTINGS_OPTIONS
from recollect.service.settings import CONFIG_VARIABLE

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help=f"A TOML or YAML file with settings (environment: {CONFIG_VARIABLE}). The environment wins over it, and "
        "options win over both.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    own = list(inspect.signature(serve).parameters.values())[:1]

    @functools.wraps(serve)
    def run(config: Path | None, **arguments: Any) -> None:
        given: dict[str, Any] = {}
        SETTINGS_OPTIONS.collect(arguments, given)
        end(functools.partial(serve, config, given), as_json=False)

    run.__signature__ = inspect.Signature([*own, *SETTINGS_OPTIONS.parameters()])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    app.command("serve")(run)


def serve(config: ConfigOption = None, given: dict[str, Any] | None = None) -> None:
    """Run the service until it is told to stop (SIGTERM, Ctrl-C); what runs is finished and everything is flushed."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    settings = load_settings(**(given or {}))
    from recollect.service.http.server import run  # noqa: PLC0415 - the other commands need no web server

    code = run(settings)
    if code:
        raise typer.Exit(code)
