"""Progress bars on standard error: how much, how fast, how long still. Silent for programs and files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from recollect.service.cli.printing import Output

Advance = Callable[[int], None]


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Return the rate of the last moments, or nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")


@contextmanager
def progress_bar(output: Output, what: str, total: int | None) -> Iterator[Advance]:
    """Show how long work goes on.

    Args:
        output: Where the command prints; nothing is shown for JSON or where standard error is no terminal.
        what: What is counted.
        total: How many there will be, as far as is known.

    Yields:
        A function that is told how many more are done.
    """
    shown = output.errors.is_terminal and not output.as_json
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=output.errors,
        disable=not shown,
    )
    with progress:
        task = progress.add_task(what, total=total)

        def advance(count: int) -> None:
            progress.advance(task, count)

        yield advance
        done = progress.tasks[0].completed
        progress.update(task, total=done)  # an estimate ends as what it came to
