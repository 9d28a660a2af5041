"""What all commands share: where they work, how they print, and how they end.

A command is an async function that takes a `Session`, the request's fields that were given, and its own arguments.
"""

import asyncio
import errno
import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from recollect.service.answers import Problem
from recollect.service.cli.backend import Backend, open_backend
from recollect.service.cli.exits import CommandError, ExitCode, exit_code_of, usage_error
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.printing import Output
from recollect.service.errors import problem_of

URL_VARIABLE = "RECOLLECT_URL"
Model = TypeVar("Model", bound=BaseModel)
Given = dict[str, Any]
"""The fields of a request that were given on the command line."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Work through the service at this URL, such as http://127.0.0.1:8300. Without it, and without the "
        "environment variable RECOLLECT_URL, work straight on the store.",
        show_default=False,
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Work straight on this store, such as edge:PATH (environment: RECOLLECT_STORAGE); the user's store if "
        "not given.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the API's answer as JSON, and problems as JSON on stderr.")
]


class Session:
    """One run of a command.

    Attributes:
        output: Where it prints.
        url: The service to work through, or None to work straight on a store.
        storage: The store to work on, or None for the one of the settings.
    """

    def __init__(self, *, url: str | None, storage: str | None, as_json: bool) -> None:
        if url is not None and storage is not None:
            raise usage_error("--url works through a service and --storage straight on a store; give one of them")
        if url is None and storage is None:
            url = os.environ.get(URL_VARIABLE) or None
        self.url = url
        self.storage = storage
        self.output = Output(as_json=as_json)

    def backend(self) -> AbstractAsyncContextManager[Backend]:
        """Open what the command works on; it is closed at the end of the block."""
        return open_backend(self.url, self.storage)


def command(
    app: typer.Typer,
    *,
    name: str | None = None,
    options: Iterable[OptionsOf] = (),
    remote: bool = True,
    on_store: bool = True,
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Register an async function as a command.

    Args:
        app: Where the command belongs.
        name: Its name; the function's if not given.
        options: Models whose fields become options; what was given of them arrives as the function's second argument.
        remote: Whether it can work through a service.
        on_store: Whether it works on one store, which `--storage` names.
    """
    groups = tuple(options)

    def register(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            as_json = bool(arguments.pop("as_json"))
            url, storage = arguments.pop("url", None), arguments.pop("storage", None)
            given: Given = {}

            async def work() -> None:
                for group in groups:
                    group.collect(arguments, given)
                session = Session(url=url, storage=storage, as_json=as_json)
                await (function(session, given, **arguments) if groups else function(session, **arguments))

            end(functools.partial(asyncio.run, work()), as_json=as_json)

        run.__signature__ = _signature(  # type: ignore[attr-defined]
            function, groups, remote=remote, on_store=on_store
        )
        run.__annotations__ = {}
        app.command(name)(run)
        return run

    return register


def _signature(
    function: Callable[..., Awaitable[None]], groups: tuple[OptionsOf, ...], *, remote: bool, on_store: bool
) -> inspect.Signature:
    """The function's own arguments, the options of its models, and those that all commands have."""
    own = list(inspect.signature(function).parameters.values())[2 if groups else 1 :]
    made = [parameter for group in groups for parameter in group.parameters()]
    shared: dict[str, tuple[Any, Any]] = {}
    if remote:
        shared["url"] = (UrlOption, None)
    if on_store:
        shared["storage"] = (StorageOption, None)
    shared["as_json"] = (JsonOption, False)
    common = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (annotation, default) in shared.items()
    ]
    return inspect.Signature([*own, *made, *common])


def request(model: type[Model], given: Mapping[str, Any], **more: Any) -> Model:
    """Make a request of what was given.

    Raises:
        ValidationError: The model refuses it; told as a mistake of the caller.
    """
    return model.model_validate({**given, **{key: value for key, value in more.items() if value is not None}})


def end(work: Callable[[], Any], *, as_json: bool) -> None:
    """Run a command's work and exit with a code that says how it went; every error is told in a paragraph."""
    try:
        work()
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except KeyboardInterrupt:
        Output(as_json=as_json).note("stopped; what was acknowledged is stored")
        raise typer.Exit(ExitCode.STOPPED) from None
    except BrokenPipeError:
        # The reader has seen enough, as in `recollect export | head`. The interpreter must not flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.FAILED) from None
    except Exception as error:
        if os.environ.get("RECOLLECT_LOG_LEVEL") == "debug":
            raise
        problem = _problem(error)
        Output(as_json=as_json).problem(problem)
        raise typer.Exit(exit_code_of(problem)) from None


def _problem(error: Exception) -> Problem:
    """Tell any error: those that are planned for in their own words, the others by their type."""
    if isinstance(error, CommandError):
        return error.problem
    if isinstance(error, ValidationError):
        return problem_of(error)
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        detail = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return Problem(title="There is no space left", status=507, code="disk_full", detail=f"{detail}; free some")
        return Problem(title="A file cannot be used", status=500, code="file_error", detail=detail)
    problem = problem_of(error)
    if problem.code != "internal_error":
        return problem
    return Problem(
        title=problem.title,
        status=problem.status,
        code=problem.code,
        detail=f"unexpected {type(error).__name__}: {error}; RECOLLECT_LOG_LEVEL=debug shows where",
    )
