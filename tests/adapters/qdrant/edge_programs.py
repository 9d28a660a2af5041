"""Programs that use an embedded store from outside of the test's process: `python edge_programs.py NAME ARGUMENTS`."""

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType

from recollect.adapters.port import Commit, Put
from recollect.adapters.qdrant import engine
from recollect.adapters.qdrant.edge import journal, keeper
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.keeper import Keeper, Waiting
from recollect.adapters.testing.values import PROFILE, a_commit, a_version, axis, revision_of, terms, windows
from recollect.adapters.versions import Version

MANY = 40


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


async def write_pairs(folder: str, writers: str) -> None:
    """Write pairs for ever, and say the number of each that is acknowledged."""
    adapter = EdgeAdapter(Path(folder))
    await adapter.open(PROFILE)
    numbers = count()

    async def write() -> None:
        for number in numbers:
            await adapter.commit(a_commit(*a_pair(number)))
            say(str(number))

    await asyncio.gather(*(write() for _ in range(int(writers))))


async def hold(folder: str) -> None:
    """Open a store, write a memory, say so, and stay."""
    adapter = EdgeAdapter(Path(folder))
    await adapter.open(PROFILE)
    await adapter.commit(a_commit(a_version(1)))
    say(str(adapter.engine_pid))
    sys.stdin.readline()
    await adapter.close()


async def die_at(folder: str, step: str) -> None:
    """Do the large commit and then a flush, and die at a step of that; each call out of the store's modules is one."""
    modules = {journal.__file__, keeper.__file__, engine.__file__}
    steps = count(1)

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event in ("c_call", "c_return") and frame.f_code.co_filename in modules and next(steps) == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    store = Keeper(Path(folder), PROFILE)
    sys.setprofile(watch)
    store.commit([Waiting(bytes(16), many(), lambda answer: say(type(answer).__name__))])
    store.flush()
    sys.setprofile(None)
    say("done")


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
