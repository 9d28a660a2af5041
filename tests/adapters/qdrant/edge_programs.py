"""Programs that use an embedded store from outside of the test's process: `python edge_programs.py NAME ARGUMENTS`."""

import asyncio
import os
import random
import selectors
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from recollect.adapters.port import Commit, CommitReceipt, Put
from recollect.adapters.qdrant import engine
from recollect.adapters.qdrant import folder as folders
from recollect.adapters.qdrant.edge import flushed, journal, keeper, rebuilding
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.keeper import Keeper, Waiting
from recollect.adapters.qdrant.edge.upkeep import Upkeep
from recollect.adapters.testing.values import PROFILE, a_commit, a_version, axis, revision_of, terms, windows
from recollect.adapters.versions import Version

MANY = 40
WAIT_S = 0.01
FLUSHES = 0.1
"""How many commits are followed by a flush."""

IN_MEMORY = ("frombuffer", "tolist")
"""What is called for every vector and reaches no file: dying there is dying before the call that follows."""


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the test reads it


def a_pair(number: int) -> tuple[Version, Version]:
    first, second = (
        a_version(2 * number + at, vectors=windows(axis(at)), sparse=terms({number % 50: 1.0})) for at in (0, 1)
    )
    return first, second


def many() -> Commit:
    """Return a commit that writes forty memories, revises forty, and erases one."""
    old = [a_version(number, vectors=windows(axis(0))) for number in range(MANY)]
    new = [a_version(MANY + number, vectors=windows(axis(1))) for number in range(MANY)]
    return a_commit(*(revision_of(version, content="revised") for version in old), *map(Put, new), erases=(old[0].ref,))


async def write_pairs(folder: str, writers: str, start: str = "0") -> None:
    """Write pairs for ever, and say the number of each that is acknowledged."""
    adapter = EdgeAdapter(Path(folder))
    await adapter.open(PROFILE)
    numbers = count(int(start))

    async def write() -> None:
        for number in numbers:
            await adapter.commit(a_commit(*a_pair(number)))
            say(str(number))

    await asyncio.gather(*(write() for _ in range(int(writers))))


async def write_and_flush(folder: str, seed: str) -> None:
    """Write pairs for ever in this process, flush the shard now and then, and say the number of each acknowledged."""
    chance = random.Random(int(seed))
    await asyncio.to_thread(Path(folder).mkdir, exist_ok=True)
    store = Keeper(Path(folder), PROFILE)
    for number in count():
        told: list[object] = []
        store.commit([Waiting(os.urandom(16), a_commit(*a_pair(number)), told.append)])
        if isinstance(told[0], CommitReceipt):
            say(str(number))
        if chance.random() < FLUSHES:
            store.flush()


async def hold(folder: str) -> None:
    """Open a store, write a memory, say so, and stay."""
    adapter = EdgeAdapter(Path(folder))
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(a_version(1)))
    say(str(adapter.engine_pid))
    sys.stdin.readline()
    await adapter.close()


async def die_at_each(what: str, prepared: str, *steps: str) -> None:
    """For each step, copy a store and do something in a child that dies there; say what the child was told.

    A child is a fork of this process, which has opened no store: a new interpreter would take most of the time.

    Args:
        what: `commit` for the large commit and a flush, `compaction` for an erasure and the removal of what it leaves.
        prepared: The store.
        *steps: Their numbers.
    """
    for step in steps:
        folder = Path(f"{prepared} {step}")
        shutil.copytree(prepared, folder)
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            _die_at(folder, int(step), tell, _commit if what == "commit" else _erase_and_compact)
        os.close(tell)
        with os.fdopen(hear) as told:
            say(f"{step} {told.read()}")
        os.waitpid(child, 0)  # noqa: ASYNC222 - a thread would not go through the next fork


def _die_at(folder: Path, step: int, tell: int, do: Callable[[Path, Keeper, Callable[[str], None]], None]) -> NoReturn:
    """Do something to a store, and die at a step of that; each call out of the store's modules is one."""
    modules = {module.__file__ for module in (journal, keeper, engine, rebuilding, flushed, folders)}
    steps = count(1)

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event not in ("c_call", "c_return") or frame.f_code.co_filename not in modules:
            return
        if called.__name__ not in IN_MEMORY and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Keeper(folder, PROFILE)
    sys.setprofile(watch)
    do(folder, store, lambda word: _tell(tell, word))
    sys.setprofile(None)
    _tell(tell, "done")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _commit(_folder: Path, store: Keeper, tell: Callable[[str], None]) -> None:
    """Do the large commit, and then a flush."""
    store.commit([Waiting(bytes(16), many(), lambda answer: tell(type(answer).__name__))])
    store.flush()


def _erase_and_compact(folder: Path, store: Keeper, tell: Callable[[str], None]) -> None:
    """Erase half of what is there, fill another shard, and read that from then on, as the engine's process does it."""
    refs = tuple(a_version(number).ref for number in range(0, MANY, 2))
    erasing = a_commit(a_version(MANY), erases=refs)
    store.commit([Waiting(bytes(16), erasing, lambda answer: tell(type(answer).__name__))])
    told: list[object] = []
    with selectors.DefaultSelector() as selector:
        upkeep = Upkeep(folder, store, selector)
        upkeep.compact(told.append)
        while not told:
            for key, _ in selector.select(WAIT_S):
                key.data.take()
                key.data.push()
            upkeep.turn([], idle=False)
    assert told == [None]


def _tell(pipe: int, word: str) -> None:
    os.write(pipe, f"{word} ".encode())


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
