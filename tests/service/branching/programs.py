"""Programs that tests run as processes of their own: to be killed in the middle of a change, or to merge at once."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.transaction import Transaction
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.files.writer import Writer
from recollect.service import MemoryService, Settings, create_memory_service
from recollect.service.branching.requests import MergeRequest, NewBranch, RollbackRequest

STEPS = (
    (Writer, "submit"),
    (Writer, "_write_together"),
    (Transaction, "add"),
    (Transaction, "_row"),
    (Transaction, "finish"),
    (VectorPacks, "write"),
    (ProvenancePacks, "append"),
)
"""What a commit of the file backend does, step by step."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _open(folder: Path) -> MemoryService:
    return await create_memory_service(Settings(storage=f"file:{folder}", model="hash"))


async def _fork(service: MemoryService) -> None:
    await service.branches.create(NewBranch(name="new"))


async def _merge(service: MemoryService) -> None:
    await service.branches.merge("main", MergeRequest(source="draft", on_conflict="branch"))


async def _roll_back(service: MemoryService) -> None:
    await service.branches.rollback("main", RollbackRequest(to="v1"))


CHANGES: dict[str, Callable[[MemoryService], Coroutine[Any, Any, None]]] = {
    "fork": _fork,
    "merge": _merge,
    "rollback": _roll_back,
}


def _die_at(step: int) -> None:
    """Kill this process before or after the step of this number, counted over all functions of a commit."""
    steps = count(1)

    def fatal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = function(*arguments, **named)
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call

    for owner, name in STEPS:
        setattr(owner, name, fatal(getattr(owner, name)))


async def _change(folder: Path, change: str, step: int) -> None:
    service = await _open(folder)
    _die_at(step)
    await CHANGES[change](service)
    await service.close()


def killed_at_every_step(template: str, target: str, change: str) -> None:
    """Make a change to a new copy of a store again and again, killed one step later each time, until it is through."""
    for step in count(1):
        folder = Path(target) / str(step)
        shutil.copytree(template, folder)
        child = os.fork()
        if child == 0:
            asyncio.run(_change(folder, change, step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _say(f"{step} {'killed' if os.WIFSIGNALED(status) else f'ended {os.waitstatus_to_exitcode(status)}'}")
        if not os.WIFSIGNALED(status):
            return


async def _merge_when_told(folder: str, source: str) -> None:
    service = await _open(Path(folder))
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    merged = await service.branches.merge("main", MergeRequest(source=source))
    _say(f"{merged.added} {merged.position}")
    await service.close()


def merge(folder: str, source: str) -> None:
    """Merge a branch into main, once told to by a line."""
    asyncio.run(_merge_when_told(folder, source))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
