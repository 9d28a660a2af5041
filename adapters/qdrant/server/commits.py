"""How commits are written: one at a time in the whole store, several at once in one process.

    1. Read the head and, in the same call, what the commits need to know.
    2. If the head announces a commit that is not applied, finish it, and begin again.
    3. Move the head, with the intent, if it still has the token that was read. This is the commit.
    4. Read the head. Another token says that another writer was faster: begin again.
    5. Write the points, and then to the head that they are written. Acknowledge.

A writer that dies before 3 has written nothing; one that dies after it leaves an intent, which the next writer
finishes, or the next adapter that opens the store. There is no lease and no clock in it, so nothing can expire under
a writer that was stopped; `intents` says why it does no harm when something arrives late or twice.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from recollect.adapters.errors import ConflictError, StorageError, StoreBusyError, StoreUnavailableError
from recollect.adapters.port import Commit, CommitReceipt
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.server import heads, intents, planning
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.heads import Head
from recollect.adapters.qdrant.server.intents import Intent
from recollect.adapters.qdrant.server.planning import Answer, Facts, Written
from recollect.adapters.qdrant.server.reading import Reader

GROUP_COMMITS_MAX = 64
GROUP_POINTS_MAX = 2_000
INLINE_PUTS_MAX = 8
"""Larger groups are planned in a thread, so that the loop is not held up."""

PAUSE_MIN_S = 0.001
PAUSE_MAX_S = 0.1


@dataclass(eq=False)
class Waiting:
    """A commit that waits."""

    commit: Commit
    future: "asyncio.Future[CommitReceipt]"
    until: float
    needs: set[planning.Name] = field(default_factory=set)


@dataclass
class Planned:
    """A commit with its position and what it writes."""

    waiting: Waiting
    position: int
    intent: Intent


class Committer:
    """Writes the commits of one adapter."""

    def __init__(self, connection: Connection, reader: Reader, dimension: int) -> None:
        """Begin with nothing to write."""
        self._connection = connection
        self._reader = reader
        self._dimension = dimension
        self._queue: deque[Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def commit(self, commit: Commit) -> CommitReceipt:
        """Write a commit; see the port. A caller that is cancelled does not stop it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._connection.address.commit_timeout_s
        waiting = Waiting(commit, loop.create_future(), until, planning.needs(commit))
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        return await waiting.future

    async def close(self) -> None:
        """Wait until all is written or refused."""
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while self._queue:
            group = self._next_group()
            try:
                await self._write(group)
            except StorageError as error:
                _fail(group, error)
            except Exception as error:  # noqa: BLE001 - a caller must not wait for ever for what went wrong here
                _fail(group, error)

    def _next_group(self) -> list[Waiting]:
        """Take commits that do not need each other, in order; one that does waits, and all that need it."""
        group: list[Waiting] = []
        seen: set[planning.Name] = set()
        put_off: list[Waiting] = []
        points = 0
        while self._queue and len(group) < GROUP_COMMITS_MAX and len(put_off) < GROUP_COMMITS_MAX:
            waiting = self._queue.popleft()
            if waiting.future.cancelled() and not group:
                continue
            is_large = bool(group) and points + len(waiting.commit.puts) > GROUP_POINTS_MAX
            if is_large or _meet(seen, waiting.needs):
                put_off.append(waiting)
            else:
                group.append(waiting)
                points += len(waiting.commit.puts)
            seen |= waiting.needs
        self._queue.extendleft(reversed(put_off))
        return group

    async def _write(self, group: list[Waiting]) -> None:
        """Write a group, or as much of it as holds."""
        pause_s = PAUSE_MIN_S
        while group:
            head, planned = await self._plan(group)
            group = [one.waiting for one in planned]
            if not planned or await self._move(head, planned):
                return
            if asyncio.get_running_loop().time() > min(waiting.until for waiting in group):
                raise StoreBusyError("other writers were faster for too long; try again")
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(PAUSE_MAX_S, 2 * pause_s)

    async def _plan(self, group: list[Waiting]) -> tuple[Head, list[Planned]]:
        """Find out what holds, tell the others, and plan what is to be written."""
        facts = [Facts(waiting.commit, self._dimension) for waiting in group]
        of_all = Written.requests(waiting.commit for waiting in group)
        while True:
            head, answers = await self._reader.ask(
                lambda cap: [*of_all, *(one for fact in facts for one in fact.requests(cap))]
            )
            if head.pending:
                await intents.finish(self._connection, self._dimension)
                continue
            written = Written.read(answers[: len(of_all)])
            rest = iter(answers[len(of_all) :])
            of_each = [[next(rest) for _ in fact.requests(0)] for fact in facts]
            if not any(fact.is_cut(answer) for fact, answer in zip(facts, of_each, strict=True)):
                break
        few = sum(len(waiting.commit.puts) for waiting in group) <= INLINE_PUTS_MAX
        plan = partial(_plan, facts, of_each, written, group, head)
        outcomes = plan() if few else await asyncio.to_thread(plan)
        planned: list[Planned] = []
        for waiting, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Planned):
                planned.append(outcome)
            elif isinstance(outcome, CommitReceipt):
                _settle(waiting, outcome)
            elif not waiting.future.done():
                waiting.future.set_exception(outcome)
        return head, planned

    async def _move(self, seen: Head, planned: list[Planned]) -> bool:
        """Move the head and write the points; say whether this writer was the one who moved it."""
        token = uuid4().hex
        intent = planning.join(one.intent for one in planned)
        for point in (*intent.inserts, *intent.stubs):
            point.payload[intents.COMMIT] = token
        head = Head(
            token=token,
            position=planned[-1].position,
            applied=seen.applied,
            versions=seen.versions,
            windowed=seen.windowed or any(point.windows is not None for point in intent.inserts),
        )
        loop = asyncio.get_running_loop()
        left_s = max(0.1, min(one.waiting.until for one in planned) - loop.time())
        making = None
        if len(intent.inserts) > INLINE_PUTS_MAX:
            # While the server moves the head.
            points_of = asyncio.to_thread(intents.points_of, self._connection, intent, self._dimension)
            making = asyncio.create_task(points_of)
        try:
            moved = await heads.move(self._connection, seen, head, intents.encode(intent), patience_s=left_s)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(
                f"{error}. Whether the commit was written is not known; send it again: it is never written twice"
            ) from error
        finally:
            points = None if making is None else await making
        if moved.token == token:
            if moved.pending:
                await intents.apply(self._connection, moved, intent, self._dimension, points)
                self._connection.note_applied(moved.position, windowed=moved.windowed)
        elif not await self._was_written((*intent.inserts, *intent.stubs)[0], token):
            return False
        for one in planned:
            _settle(one.waiting, CommitReceipt(one.position, durable=True))
        return True

    async def _was_written(self, point: PointWrite, token: str) -> bool:
        """Say whether a commit happened although the head has moved on, since others may have finished it."""
        found = await self._connection.call(
            "looking for a commit",
            lambda client: client.retrieve(self._connection.name, [point.point_id], with_payload=[intents.COMMIT]),
        )
        return bool(found) and (found[0].payload or {}).get(intents.COMMIT) == token


def _plan(
    facts: Sequence[Facts],
    answers: Sequence[Sequence[Answer]],
    written: Written,
    group: Sequence[Waiting],
    head: Head,
) -> list[Planned | CommitReceipt | ConflictError]:
    """Return for each commit what it writes, that there is nothing to write, or why it is refused."""
    outcomes: list[Planned | CommitReceipt | ConflictError] = []
    position = head.position
    for fact, answer, waiting in zip(facts, answers, group, strict=True):
        commit = waiting.commit
        try:
            fact.judge(answer, written)
            if commit.puts or commit.erases:
                position = planning.position_after(position, commit.position)
                outcomes.append(Planned(waiting, position, fact.plan(answer, written, position)))
            else:
                outcomes.append(CommitReceipt(head.position, durable=True))
        except ConflictError as error:
            outcomes.append(error)
    return outcomes


def _settle(waiting: Waiting, receipt: CommitReceipt) -> None:
    if not waiting.future.done():
        waiting.future.set_result(receipt)


def _meet(seen: set[planning.Name], names: set[planning.Name]) -> bool:
    """Say whether a commit needs what others before it write, or the other way round.

    A commit writes to its branches and may look at the heads of others.
    """
    if seen & {name for name in names if name[0] != "branch"}:
        return True
    heads_of = {name[1] for name in names if name[0] == "head"}
    branches = {name[1] for name in names if name[0] == "branch"}
    seen_branches = {name[1] for name in seen if name[0] == "branch"}
    seen_heads = {name[1] for name in seen if name[0] == "head"}
    return bool(heads_of & seen_branches or branches & seen_heads)


def _fail(group: Sequence[Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.future.done():
            waiting.future.set_exception(error)
