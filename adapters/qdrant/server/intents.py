"""What a commit writes, as bytes that anybody can finish, and how it is written to its points.

Whatever is written to the points of versions belongs to a commit that has happened, since nothing is written there
before the head has moved. It may be written twice, by two adapters, or late, by one that was stopped for an hour in
the middle of it. That does no harm, because every operation says for itself whether it still has anything to do:

    a version is inserted only where no point is
    a version is made a stub only once
    a version is marked as superseded only once
    the branches of a memory are set only where none of a later commit are
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from qdrant_client import models

from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import All, Between, Negated, of_memories
from recollect.adapters.qdrant.fields import BRANCH, BRANCHES, CURRENT, FIRST, FIRSTS, LIVE, NEVER, POSITION, UNTIL
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.server import heads, wire
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.heads import Head
from recollect.adapters.qdrant.server.selecting import ERASED_AT
from recollect.adapters.qdrant.server.wire import Operation, Upsert

POINTS_PER_CALL = 1_000
SPREAD_AT: Final = "spread_at"
COMMIT: Final = "commit"
"""Fields beside the shared ones: at which positions a version became a stub and its branches were set last, and the
token of the commit that wrote it."""

APPLY_PATIENCE_S = 60.0


class Superseded(Struct, frozen=True, array_like=True):
    """A version that is the newest on its branch no longer."""

    point_id: str
    position: int


class Spread(Struct, frozen=True, array_like=True):
    """A memory that lives on several branches from a position on, and since when on each; its older versions say so."""

    memory_id: str
    position: int
    firsts: dict[str, int]


class Intent(Struct, frozen=True, kw_only=True):
    """All that one move of the head writes."""

    inserts: Sequence[PointWrite] = ()
    stubs: Sequence[PointWrite] = ()
    superseded: Sequence[Superseded] = ()
    spreads: Sequence[Spread] = ()


_NOT_ERASED: Final = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=ERASED_AT))])
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Intent)


def encode(intent: Intent) -> bytes:
    """Return an intent as bytes."""
    return _ENCODER.encode(intent)


async def finish(connection: Connection, dimension: int) -> Head:
    """Finish the commit that the head announces, if there is one, and return a head that is applied."""
    while True:
        head = await heads.read(connection, with_intent=True)
        if not head.pending:
            return head
        content = await heads.load_intent(connection, head)
        if content is not None:
            await apply(connection, head, _DECODER.decode(content), dimension)


async def apply(
    connection: Connection, head: Head, intent: Intent, dimension: int, points: Sequence[Operation] | None = None
) -> None:
    """Write to the points what a commit says, and then to the head that it is written.

    The server works on a batch in order and stops at what fails; where there are several batches, each is sent once
    the one before is done. So the head says "applied" only when everything before it is.

    Args:
        connection: To the server.
        head: As it announces the commit.
        intent: What the commit writes.
        dimension: How many numbers a row has.
        points: `points_of` the intent, if they are made already.
    """
    operations = [*(points_of(connection, intent, dimension) if points is None else points)]
    for operation in operations[:-1]:
        await _send(connection, [operation])
    await _send(connection, [*operations[-1:], *_marks(intent), *heads.mark_applied(head, len(intent.inserts))])


def points_of(connection: Connection, intent: Intent, dimension: int) -> list[Operation]:
    """Return the points that a commit writes as they are sent."""
    return [
        wire.ready(connection, Upsert(points[start : start + POINTS_PER_CALL], condition, dimension))
        # Stubs first: what the same commit puts in an erased version's place marks the stub.
        for points, condition in ((intent.stubs, _NOT_ERASED), (intent.inserts, heads.NEVER))
        for start in range(0, len(points), POINTS_PER_CALL)
    ]


async def _send(connection: Connection, batch: list[Operation]) -> None:
    await connection.call(
        "writing a commit's points",
        lambda client: wire.update(connection, client, batch),
        patience_s=APPLY_PATIENCE_S,
    )


def _marks(intent: Intent) -> Iterator[models.UpdateOperation]:
    by_position: dict[int, list[str]] = defaultdict(list)
    for one in intent.superseded:
        by_position[one.position].append(one.point_id)
    for position, ids in by_position.items():
        newest = client_filter(Between(UNTIL, gte=NEVER))
        condition = models.Filter(must=[models.HasIdCondition(has_id=[*ids]), newest])
        yield _set({CURRENT: "", LIVE: [], UNTIL: position}, condition)
    for spread in intent.spreads:
        older, told = Between(POSITION, lt=spread.position), Between(SPREAD_AT, gte=spread.position)
        condition = client_filter(All((of_memories([spread.memory_id]), older, Negated(told))))
        yield _set(branches_of(spread.firsts, spread.position), condition)


def branches_of(firsts: Mapping[str, int], position: int) -> dict[str, Any]:
    """Return what a version says of the branches that its memory lives on, from a position on."""
    return {
        BRANCHES: sorted(firsts),
        FIRSTS: [{BRANCH: branch, FIRST: firsts[branch]} for branch in sorted(firsts)],
        SPREAD_AT: position,
    }


def _set(payload: dict[str, Any], condition: models.Filter) -> models.UpdateOperation:
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=condition))
