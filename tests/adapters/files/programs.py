"""Programs that tests run as processes of their own, to write a store together or to be killed."""

import asyncio
import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType
from uuid import uuid4

from recollect.adapters.errors import ConflictError
from recollect.adapters.files import FileAdapter, erasing
from recollect.adapters.port import KeyIs, Put
from recollect.adapters.testing.values import a_commit, a_full_version, a_version, axis, revision_of, windows
from recollect.adapters.versions import Version


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _wait_for_start() -> None:
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)


def _memory(number: int, key: str | None = None) -> Version:
    return a_version(number, memory_id=str(uuid4()), key=key, vectors=windows(axis(number % 8)))


async def write_many(folder: str, commits: str, puts: str) -> None:
    """Write commits of some memories each; say the ids of each commit once it is acknowledged."""
    adapter = FileAdapter(Path(folder))
    await adapter.open()
    await _wait_for_start()
    for _ in range(int(commits)):
        versions = [_memory(number) for number in range(int(puts))]
        await adapter.commit(a_commit(*versions))
        _say(" ".join(version.memory_id for version in versions))
    await adapter.close()


async def claim_keys(folder: str, keys: str) -> None:
    """Try to be the first to hold each key; say those that were won."""
    adapter = FileAdapter(Path(folder))
    await adapter.open()
    await _wait_for_start()
    for number in range(int(keys)):
        key = f"key {number}"
        try:
            free = KeyIs("longterm", key, None)
            await adapter.commit(a_commit(_memory(number, key=key), preconditions=(free,)))
        except ConflictError:
            continue
        _say(key)
    await adapter.close()


async def write_and_revise(folder: str) -> None:
    """Write for ever, several commits at a time: a memory, then its revision together with another memory."""
    adapter = FileAdapter(Path(folder))
    await adapter.open()
    await _wait_for_start()

    async def one(number: int) -> None:
        first, companion = _memory(number), _memory(number + 1)
        await adapter.commit(a_commit(first))
        _say(f"created {first.memory_id}")
        await adapter.commit(a_commit(revision_of(first), Put(companion)))
        _say(f"revised {first.memory_id} {companion.memory_id}")

    while True:
        await asyncio.gather(*map(one, range(4)))


async def erase_and_compact(folder: str, step: str) -> None:
    """Erase the version of `a_full_version`, and compact; die at a step of that, counted in calls out of its module."""
    steps = count(1)

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        if event == "c_call" and frame.f_code.co_filename == erasing.__file__ and next(steps) == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    adapter = FileAdapter(Path(folder))
    threading.setprofile(watch)
    await adapter.open()
    threading.setprofile(None)
    await adapter.commit(a_commit(a_version(9), erases=(a_full_version().ref,)))
    _say("erased")
    await adapter.compact()
    _say("compacted")
    await adapter.close()


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
