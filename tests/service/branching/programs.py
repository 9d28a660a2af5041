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

from recollect.adapters.files import erasing
from recollect.adapters.files.provenance import ProvenancePacks
from recollect.adapters.files.transaction import Transaction
from recollect.adapters.files.vectors import VectorPacks
from recollect.adapters.files.writer import Writer
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.qdrant.edge.connection import Connection
from recollect.adapters.qdrant.edge.protocol import Kind
from recollect.service import MemoryService, Settings, create_memory_service
from recollect.service.branching.requests import MergeRequest, NewBranch, RollbackRequest
from recollect.service.erasure.requests import ErasureRequest

_ENGINE_KILLED = "engine killed"
CHANGING = (Kind.COMMIT, Kind.COMPACT)
FILE_STEPS = (
    (Writer, "submit"),
    (Writer, "_write_together"),
    (Transaction, "add"),
    (Transaction, "_row"),
    (Transaction, "finish"),
    (VectorPacks, "write"),
    (ProvenancePacks, "append"),
    (erasing, "compact"),
)
"""What a commit of the file backend does, step by step, and the cleaning after an erasure."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _open(storage: str) -> MemoryService:
    settings = Settings(storage=storage, model="hash", slow_operation_ms=60_000)  # a log would stand among what is said
    return await create_memory_service(settings)


async def _fork(service: MemoryService) -> None:
    await service.branches.create(NewBranch(name="new"))


async def _merge(service: MemoryService) -> None:
    await service.branches.merge("main", MergeRequest(source="draft", on_conflict="branch"))


async def _roll_back(service: MemoryService) -> None:
    await service.branches.rollback("main", RollbackRequest(to="v1"))


async def _erase(service: MemoryService) -> None:
    request = ErasureRequest(source="message:1")
    plan = await service.erasure.plan(request)
    await service.erasure.erase(request.model_copy(update={"confirm": plan.digest}))


CHANGES: dict[str, Callable[[MemoryService], Coroutine[Any, Any, None]]] = {
    "fork": _fork,
    "merge": _merge,
    "rollback": _roll_back,
    "erase": _erase,
}


def _at_step(step: int, happen: Callable[[], None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what makes functions have something happen before or after the step of this number, counted over all."""
    steps = count(1)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(steps) == step:
                happen()
            answer = function(*arguments, **named)
            if next(steps) == step:
                happen()
            return answer

        return call

    return counted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_file_step(step: int) -> None:
    """Kill this process before or after a step of a commit in files."""
    counted = _at_step(step, _die)
    for owner, name in FILE_STEPS:
        setattr(owner, name, counted(getattr(owner, name)))


def _at_edge_step(step: int, happen: Callable[[], None]) -> None:
    """Have something happen before or after a message is sent by which the engine's process changes something."""
    real = Connection.send
    counted = _at_step(step, happen)(real)

    def send(connection: Connection, kind: Kind, request: int, body: bytes = b"") -> None:
        (counted if kind in CHANGING else real)(connection, kind, request, body)

    setattr(Connection, "send", send)  # noqa: B010 - a method is not assigned to, says mypy


def _kill_engine_of(service: MemoryService) -> Callable[[], None]:
    adapter = service._store._store
    assert isinstance(adapter, EdgeAdapter)

    def kill() -> None:
        os.kill(adapter.engine_pid, signal.SIGKILL)
        _say(_ENGINE_KILLED)

    return kill


async def _change(storage: str, change: str, step: int, dying: str) -> None:
    service = await _open(storage)
    if dying == "engine":
        _at_edge_step(step, _kill_engine_of(service))
    elif storage.startswith("edge:"):
        _at_edge_step(step, _die)
    else:
        _die_at_file_step(step)
    await CHANGES[change](service)
    await service.close()


def killed_at_every_step(backend: str, template: str, target: str, change: str, dying: str) -> None:
    """Make a change to a new copy of a store again and again, killed one step later each time, until it is through.

    Args:
        backend: `file` or `edge`.
        template: The folder of the store.
        target: Where each step's copy goes, named by its number.
        change: Which one.
        dying: `caller`, or `engine` for the process of the embedded engine, after whose death the change goes on.
    """
    for step in count(1):
        folder = Path(target) / str(step)
        shutil.copytree(template, folder)
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(tell, sys.stdout.fileno())
            asyncio.run(_change(f"{backend}:{folder}", change, step, dying))
            os._exit(0)
        os.close(tell)
        _, status = os.waitpid(child, 0)
        with os.fdopen(hear) as told:
            killed = os.WIFSIGNALED(status) or _ENGINE_KILLED in told.read()
        ended = "" if os.WIFSIGNALED(status) else f" ended {os.waitstatus_to_exitcode(status)}"
        _say(f"{step}{' killed' if killed else ''}{ended}")
        if not killed:
            return


async def _merge_when_told(storage: str, source: str) -> None:
    service = await _open(storage)
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    merged = await service.branches.merge("main", MergeRequest(source=source))
    _say(f"{merged.added} {merged.position}")
    await service.close()


def merge(storage: str, source: str) -> None:
    """Merge a branch into main, once told to by a line."""
    asyncio.run(_merge_when_told(storage, source))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
