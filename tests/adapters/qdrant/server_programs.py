"""Programs that tests of the server backend run as processes of their own."""

import asyncio
import os
import signal
import sys
from typing import Any

from recollect.adapters.errors import ConflictError
from recollect.adapters.qdrant.server import heads, intents
from recollect.adapters.qdrant.server.adapter import ServerAdapter
from recollect.adapters.qdrant.server.address import parse_address
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.testing.values import PROFILE, a_commit, a_version, axis, revision_of, windows


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def revise(adapter: ServerAdapter, rounds: str) -> None:
    """Revise a memory for each number that is read, as another process does at the same moment."""
    _say("ready")
    for _ in range(int(rounds)):
        number = int(await asyncio.to_thread(sys.stdin.readline))
        try:
            await adapter.commit(a_commit(revision_of(a_version(number), content=str(os.getpid()))))
        except ConflictError:
            _say("conflict")
        else:
            _say("success")


async def write_many(adapter: ServerAdapter, first: str, commits: str) -> None:
    """Write commits of three memories each, four at a time."""
    start = int(first)
    every = [a_commit(*(a_version(start + 3 * turn + step) for step in range(3))) for turn in range(int(commits))]
    for at in range(0, len(every), 4):
        await asyncio.gather(*map(adapter.commit, every[at : at + 4]))
    _say("done")


async def commit_and_die(adapter: ServerAdapter, base: str, step: str) -> None:
    """Commit, and be killed before the given call to the server, or after it where the number is odd."""
    # Small parts and batches, so that there are many steps.
    heads.INLINE_BYTES_MAX = heads.PART_BYTES = 2_000
    intents.POINTS_PER_CALL = 3
    start, left = int(base), int(step)
    call = Connection.call

    async def counted(self: Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await call(self, *arguments, **options)
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 2
        return answer

    setattr(Connection, "call", counted)  # noqa: B010 - a method is replaced
    puts = [a_version(start + number, vectors=windows(axis(0))) for number in range(1, 9)]
    await adapter.commit(a_commit(revision_of(a_version(start)), *puts))
    _say("acknowledged")


PROGRAMS = {program.__name__: program for program in (revise, write_many, commit_and_die)}


async def main(name: str, url: str, *arguments: str) -> None:
    """Run a program on an open store."""
    adapter = ServerAdapter(parse_address(url))
    await adapter.open(PROFILE)
    await PROGRAMS[name](adapter, *arguments)
    await adapter.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
