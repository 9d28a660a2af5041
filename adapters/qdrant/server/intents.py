"""What a commit writes, as bytes that anybody can finish, and how it is written to its points.

Whatever is written to the points of versions belongs to a commit that has happened, since nothing is written there
before the head has moved. It may be written twice, by two adapters, or late, by one that was stopped for an hour in
the middle of it. That does no harm, because every operation says for itself whether it still has anything to do:

    a version is inserted only where no point is
    a version is marked as superseded only once
    the lines of a memory are set only where none of a later commit are
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from qdrant_client import models

from recollect.adapters.qdrant.server import heads
from recollect.adapters.qdrant.server.conditions import equals
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.heads import Head
from recollect.adapters.qdrant.server.records import DENSE, TERMS, WINDOWS, NewPoint

POINTS_PER_CALL = 1_000
APPLY_PATIENCE_S = 60.0


class Superseded(Struct, frozen=True, array_like=True):
    """A version that is the newest on its branch no longer."""

    point_id: str
    position: int


class Lines(Struct, frozen=True, array_like=True):
    """On which branches a memory lives from a position on, and from where on each; written to its older versions."""

    memory_id: str
    position: int
    lines: list[dict[str, Any]]


class Intent(Struct, frozen=True, kw_only=True):
    """All that one move of the head writes."""

    inserts: Sequence[NewPoint] = ()
    superseded: Sequence[Superseded] = ()
    lines: Sequence[Lines] = ()


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


async def apply(connection: Connection, head: Head, intent: Intent, dimension: int) -> None:
    """Write to the points what a commit says, and then to the head that it is written.

    The server works on a batch in order and stops at what fails; where there are several batches, each is sent once
    the one before is done. So the head says "applied" only when everything before it is.
    """
    for batch in _batches(head, intent, dimension):
        await _send(connection, batch)


async def _send(connection: Connection, batch: list[models.UpdateOperation]) -> None:
    await connection.call(
        "writing a commit's points",
        lambda client: client.batch_update_points(connection.name, batch, ordering=connection.ordering),
        patience_s=APPLY_PATIENCE_S,
    )


def _batches(head: Head, intent: Intent, dimension: int) -> Iterator[list[models.UpdateOperation]]:
    operations: list[models.UpdateOperation] = []
    for start in range(0, len(intent.inserts), POINTS_PER_CALL):
        if operations:
            yield operations
        points = [_point(point, dimension) for point in intent.inserts[start : start + POINTS_PER_CALL]]
        operations = [models.UpsertOperation(upsert=models.PointsList(points=points, update_filter=heads.NEVER))]
    operations += _marks(intent)
    yield [*operations, *heads.mark_applied(head, len(intent.inserts))]


def _marks(intent: Intent) -> Iterator[models.UpdateOperation]:
    by_position: dict[int, list[str]] = defaultdict(list)
    for one in intent.superseded:
        by_position[one.position].append(one.point_id)
    for position, ids in by_position.items():
        unmarked = models.IsEmptyCondition(is_empty=models.PayloadField(key="superseded_at"))
        condition = models.Filter(must=[models.HasIdCondition(has_id=[*ids]), unmarked])
        yield _set({"superseded_at": position}, condition)
    for lines in intent.lines:
        older = models.FieldCondition(key="position", range=models.Range(lt=lines.position))
        newer_lines = models.FieldCondition(key="lined_at", range=models.Range(gte=lines.position))
        condition = models.Filter(must=[equals("memory", lines.memory_id), older], must_not=[newer_lines])
        yield _set(with_lines(lines.lines, lines.position), condition)


def with_lines(lines: list[dict[str, Any]], position: int) -> dict[str, Any]:
    """Return what the payload of a version says of the branches of its memory."""
    return {"lines": lines, "branches": sorted(line["branch"] for line in lines), "lined_at": position}


def _set(payload: dict[str, Any], condition: models.Filter) -> models.UpdateOperation:
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=condition))


def _point(point: NewPoint, dimension: int) -> models.PointStruct:
    vectors: dict[str, Any] = {}
    if point.dense is not None:
        vectors[DENSE] = np.frombuffer(point.dense, dtype="<f4").tolist()
    if point.windows is not None:
        vectors[WINDOWS] = np.frombuffer(point.windows, dtype="<f4").reshape(-1, dimension).tolist()
    if point.terms and point.weights:
        vectors[TERMS] = models.SparseVector(
            indices=np.frombuffer(point.terms, dtype="<u4").tolist(),
            values=np.frombuffer(point.weights, dtype="<f4").tolist(),
        )
    return models.PointStruct(id=point.point_id, vector=vectors, payload=point.payload)


def ids_of(points: Iterable[NewPoint]) -> list[str]:
    """Return the ids of points."""
    return [point.point_id for point in points]
