"""The head: the one point of a collection that says which commits there are.

    token      names the commit that moved the head last
    position   that commit's position
    applied    up to where commits are written to their points; readers look no further
    versions   how many versions there are up to `applied`
    intent     while `applied` is behind: what the commit writes, so that anybody can finish it
    parts      likewise, where it is too large for the head: in how many points of their own it lies
    windowed   whether a version may have several rows, as far as `position`; searches ask for those only then

A commit is the one write that moves the head from the token that the writer has seen to its own. The server compares
and writes a point in one step, so of two writers who saw the same token one moves the head, and the other sees that
it did not.
"""

import base64
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct
from qdrant_client import AsyncQdrantClient, models

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.qdrant.server import wire
from recollect.adapters.qdrant.server.connection import Connection, OutdatedError

INLINE_BYTES_MAX = 256 * 1024
"""Larger intents lie in points of their own, so that whoever reads the head meanwhile need not load them."""

PART_BYTES = 4 * 1024 * 1024
_NAMESPACE: Final = UUID("7c6f2a3e-5f0b-5a43-9d0e-0b1d5a3c9e71")
HEAD_ID: Final = str(uuid5(_NAMESPACE, "head"))
PROFILE_ID: Final = str(uuid5(_NAMESPACE, "profile"))
PART_POSITION: Final = "intent_position"
"""Which points are parts of an intent, and of which commit's. Indexed, so that leftovers are found."""

NEVER: Final = models.Filter(must=[models.HasIdCondition(has_id=[])])
"""Matches no point: an upsert under this condition inserts what is not there, and changes nothing that is."""


class Head(Struct, frozen=True, kw_only=True):
    """The head as it was read. See the module."""

    token: str
    position: int = 0
    applied: int = 0
    versions: int = 0
    intent: str | None = None
    parts: int = 0
    windowed: bool = True

    @property
    def pending(self) -> bool:
        """Whether the last commit is not written to its points yet, as far as this head says."""
        return self.applied < self.position


FIRST = Head(token="none", windowed=False)  # noqa: S106 - no secret
"""The head of a store without commits."""


def seen(connection: Connection, payload: dict[str, Any] | None, since: int) -> Head:
    """Read a head from the payload of its point, as a node has just answered it.

    Args:
        connection: To the node.
        payload: The point's; None if it is not there.
        since: `connection.applied` as it was when the node was asked.

    Raises:
        StoreDamagedError: It is no head, or there is none.
        OutdatedError: The node does not know yet what another one had said before it was asked.
    """
    if payload is None:
        raise _damaged("it is not there")
    try:
        fields = {name.removeprefix("head_"): value for name, value in payload.items()}
        head = msgspec.convert(fields, Head)
    except msgspec.ValidationError as error:
        raise _damaged(f"it cannot be read ({error})") from error
    if head.applied < since and connection.ordering is not None:
        raise OutdatedError("the node has not caught up yet")
    connection.note_applied(head.applied, windowed=head.windowed)
    return head


async def read(connection: Connection, *, with_intent: bool = False) -> Head:
    """Read the head.

    Args:
        connection: To the server.
        with_intent: Whether to load the intent too, if one is pending.
    """
    left_out = None if with_intent else models.PayloadSelectorExclude(exclude=["head_intent"])
    return await connection.call("reading the head", lambda client: _retrieve(connection, client, left_out or True))


async def _retrieve(connection: Connection, client: AsyncQdrantClient, payload: Any) -> Head:
    consistency, since = connection.head_consistency, connection.applied
    found = await client.retrieve(connection.name, [HEAD_ID], with_payload=payload, consistency=consistency)
    if not found and consistency is not None:
        raise OutdatedError("the copies of the head differ at the moment")
    return seen(connection, found[0].payload if found else None, since)


async def create(connection: Connection) -> None:
    """Write the first head, where there is none."""
    points = [models.PointStruct(id=HEAD_ID, vector={}, payload=_payload(FIRST))]
    await connection.call(
        "creating the head",
        lambda client: client.upsert(connection.name, points, update_filter=NEVER, ordering=connection.ordering),
    )


async def move(connection: Connection, seen: Head, head: Head, intent: bytes, *, patience_s: float) -> Head:
    """Move the head if it is still the one that was seen, and return the head as it is afterwards.

    The head has moved if what is returned, or what follows it, carries the new token. It may be asked for again: once
    the head has another token than the one seen, nothing happens.

    Args:
        connection: To the server.
        seen: What the new head was made for.
        head: The new one, without its intent.
        intent: What the commit writes.
        patience_s: How long to try.
    """
    text = base64.b64encode(intent).decode()
    pieces = [text[start : start + PART_BYTES] for start in range(0, len(text), PART_BYTES)]
    if len(text) <= INLINE_BYTES_MAX:
        pieces = []
    new = msgspec.structs.replace(head, intent=None if pieces else text, parts=len(pieces))
    operations: list[wire.Operation] = [
        _upsert([_part(head, number, piece)], None) for number, piece in enumerate(pieces)
    ]
    operations.append(_conditional(new, seen.token))

    async def ask(client: AsyncQdrantClient) -> Head:
        await wire.update(connection, client, operations)
        return await _retrieve(connection, client, models.PayloadSelectorExclude(exclude=["head_intent"]))

    return await connection.call("committing", ask, patience_s=patience_s)


def mark_applied(head: Head, versions: int) -> list[models.UpdateOperation]:
    """Return what says that a head's commit is written to its points, if it is still the last one.

    Sent in one batch behind the writes themselves: the server stops a batch at the first operation that fails.
    """
    applied = Head(
        token=head.token,
        position=head.position,
        applied=head.position,
        versions=head.versions + versions,
        windowed=head.windowed,
    )
    operations: list[models.UpdateOperation] = [_conditional(applied, head.token)]
    if head.parts:
        operations.append(drop_parts(head.position))
    return operations


def drop_parts(position: int) -> models.UpdateOperation:
    """Return what removes the parts of intents up to a position that is applied.

    Also those of writers who lost: a part of a commit at a position was written for a head before that position, and
    the head has moved past it, so that commit can no longer happen.
    """
    old = models.FieldCondition(key=PART_POSITION, range=models.Range(lte=position))
    return models.DeleteOperation(delete=models.FilterSelector(filter=models.Filter(must=[old])))


async def load_intent(connection: Connection, head: Head) -> bytes | None:
    """Return the intent of a pending head that was read with it; None when it was applied meanwhile."""
    if head.intent is not None:
        return base64.b64decode(head.intent)
    ids = [_part_id(head, number) for number in range(head.parts)]
    found = await connection.call(
        "reading an intent",
        lambda client: client.retrieve(connection.name, ids, with_payload=True),
    )
    texts = {str(point.id): point.payload["intent_text"] for point in found if point.payload}
    if len(texts) == head.parts and ids:
        return base64.b64decode("".join(texts[name] for name in ids))
    now = await read(connection)
    if now.token == head.token and now.pending:
        raise _damaged("what it is to write is not there")
    return None


# --- How they are written --------------------------------------------------------------------------------------------


def _payload(head: Head) -> dict[str, Any]:
    return {f"head_{name}": getattr(head, name) for name in head.__struct_fields__}


def _conditional(head: Head, expected: str) -> models.UpdateOperation:
    point = models.PointStruct(id=HEAD_ID, vector={}, payload=_payload(head))
    same = models.FieldCondition(key="head_token", match=models.MatchValue(value=expected))
    return _upsert([point], models.Filter(must=[same]))


def _upsert(points: list[models.PointStruct], condition: models.Filter | None) -> models.UpdateOperation:
    return models.UpsertOperation(upsert=models.PointsList(points=points, update_filter=condition))


def _part_id(head: Head, number: int) -> str:
    return str(uuid5(_NAMESPACE, f"part {number} of {head.token}"))


def _part(head: Head, number: int, text: str) -> models.PointStruct:
    return models.PointStruct(
        id=_part_id(head, number), vector={}, payload={PART_POSITION: head.position, "intent_text": text}
    )


def _damaged(problem: str) -> StoreDamagedError:
    return StoreDamagedError(
        f"the head of the store: {problem}; restore the collection from a snapshot", place=f"point {HEAD_ID}"
    )
