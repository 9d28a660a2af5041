"""Erases a memory in a store, and is killed before it has cleaned the files: `python erasing_program.py STORAGE`."""

import asyncio
import os
import signal
import sys
from typing import NoReturn

from recollect.service import NewMemory, Settings, create_memory_service
from recollect.service.erasure.requests import ErasureRequest


async def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def main(storage: str) -> None:
    memory = await create_memory_service(Settings(storage=storage, model="hash"))
    stored = await memory.remember(NewMemory(content="a quokka"))
    await memory.save_all()
    request = ErasureRequest(ids=[stored.id])
    plan = await memory.erasure.plan(request)
    memory._store.compact = _die  # type: ignore[method-assign]
    await memory.erasure.erase(request.model_copy(update={"confirm": plan.digest}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
