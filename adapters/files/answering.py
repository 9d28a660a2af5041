"""Answers from a thread to those who wait on event loops."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol


class Asked(Protocol):
    """Something asked of a thread, with the loop and the future that wait for it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the future lives."""
        ...

    @property
    def future(self) -> "asyncio.Future[Any]":
        """What is to be answered."""
        ...


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function on a loop from another thread; do nothing if the loop has ended, as nobody waits then."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)


def answer(group: Sequence[Asked], outcomes: Iterable[Any]) -> None:
    """Answer all futures of a group with one call a loop; an exception among the outcomes is raised to its own."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
    for one, outcome in zip(group, outcomes, strict=True):
        loops[one.loop].append((one.future, outcome))
    for loop, answers in loops.items():
        call_soon(loop, _settle, answers)


def _settle(answers: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, outcome in answers:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
