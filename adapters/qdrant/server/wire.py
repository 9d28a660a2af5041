"""Reads and writes in the client's own gRPC messages, made straight from what the store holds.

The client's way from its models to these messages costs more than the server's work: it looks for texts to embed in
each of them, checks every number of a vector, and copies it twice. Where only HTTP is spoken, its models are sent.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from qdrant_client import AsyncQdrantClient, grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc, grpc_to_payload, payload_to_grpc

from recollect.adapters.qdrant.client_conditions import client_filter, message_filter
from recollect.adapters.qdrant.conditions import Condition
from recollect.adapters.qdrant.fields import DENSE, TERMS, WINDOWS
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.server.connection import Connection
from recollect.adapters.qdrant.server.stored import Found, client_point
from recollect.adapters.versions import SparseVector, Vector

_PACKED_FLOATS: Final = b"\x0a"
"""The tag of the first field of a `DenseVector`: its numbers, float32 and little-endian, as the store holds rows."""

_RESCORE: Final = True
"""A collection with smaller copies of its vectors finds by these, and then scores by the vectors themselves."""

_FLOAT_BYTES: Final = 4
_LOW_BITS, _MORE = 0x7F, 0x80
"""How a varint is made: seven bits a byte, the least first, and a mark on all but the last."""


class Upsert(Struct, frozen=True):
    """Whole points, written where they are not there yet or where those that are fulfil a condition."""

    points: Sequence[PointWrite]
    condition: models.Filter
    dimension: int


Operation = Upsert | models.UpdateOperation | grpc.PointsUpdateOperation


class Nearest(Struct, frozen=True, kw_only=True):
    """The question which points are nearest to a row or to terms.

    Attributes:
        using: The vectors that are compared.
        row: A row, float32; where `using` has several rows a point, the best of them counts.
        terms: Terms instead of a row.
        condition: What a point must fulfil.
        limit: At most so many.
        floor: The least score; None for any.
        fields: Which parts of their payloads are wanted.
        vectors: Which vectors of theirs are.
        exact: Whether to look at each point instead of an index.
    """

    using: str
    row: Vector | None = None
    terms: SparseVector | None = None
    condition: Condition
    limit: int
    floor: float | None = None
    fields: list[str]
    vectors: list[str] | bool = False
    exact: bool = False


Question = Nearest | models.QueryRequest | grpc.QueryPoints


async def update(connection: Connection, client: AsyncQdrantClient, operations: Sequence[Operation]) -> None:
    """Do operations in order, up to the first that fails, and wait until they are logged and applied."""
    name, ordering = connection.name, connection.ordering
    if not connection.address.grpc:
        await client.batch_update_points(name, [_as_model(one) for one in operations], ordering=ordering)
        return
    message = grpc.UpdateBatchPoints(
        collection_name=name,
        wait=True,
        operations=[_as_message(one) for one in operations],
        ordering=None if ordering is None else RestToGrpc.convert_write_ordering(ordering),
    )
    await client.grpc_points.UpdateBatch(message, timeout=connection.address.timeout_s)


async def query(connection: Connection, client: AsyncQdrantClient, questions: Sequence[Question]) -> list[list[Found]]:
    """Ask several questions in one call, and return the points that each one found."""
    name = connection.name
    if not connection.address.grpc:
        answers = await client.query_batch_points(name, [_request(one) for one in questions])
        return [
            [Found(str(point.id), point.payload or {}, point.score, point.vector) for point in answer.points]
            for answer in answers
        ]
    asked = [_question(one, name) for one in questions]
    message = grpc.QueryBatchPoints(collection_name=name, query_points=asked)
    found = await client.grpc_points.QueryBatch(message, timeout=connection.address.timeout_s)
    return [[_found(point) for point in batch.result] for batch in found.result]


def prepared(connection: Connection, question: models.QueryRequest) -> Question:
    """Return a question that is asked often as it is sent."""
    return RestToGrpc.convert_query_request(question, connection.name) if connection.address.grpc else question


# --- What is asked, and what comes back ------------------------------------------------------------------------------


def _request(question: Question) -> models.QueryRequest:
    if not isinstance(question, Nearest):
        assert isinstance(question, models.QueryRequest)  # noqa: S101 - none is prepared for gRPC
        return question
    row, terms = question.row, question.terms
    if terms is not None:
        near: Any = models.SparseVector(indices=terms.terms.tolist(), values=terms.weights.tolist())
    else:
        assert row is not None  # noqa: S101 - one of both is there
        near = [row.tolist()] if question.using == WINDOWS else row.tolist()
    return models.QueryRequest(
        query=models.NearestQuery(nearest=near),
        using=question.using,
        filter=client_filter(question.condition),
        limit=question.limit,
        score_threshold=question.floor,
        params=models.SearchParams(
            exact=question.exact, quantization=models.QuantizationSearchParams(rescore=_RESCORE)
        ),
        with_payload=question.fields,
        with_vector=question.vectors,
    )


def _question(question: Question, collection: str) -> grpc.QueryPoints:
    if isinstance(question, grpc.QueryPoints):
        return question
    if isinstance(question, models.QueryRequest):
        return RestToGrpc.convert_query_request(question, collection)
    row, terms = question.row, question.terms
    if terms is not None:
        near: dict[str, Any] = {"sparse": {"indices": terms.terms.tolist(), "values": terms.weights.tolist()}}
    else:
        assert row is not None  # noqa: S101 - one of both is there
        message = _row(row.astype("<f4", copy=False).tobytes())
        near = {"multi_dense": {"vectors": [message]}} if question.using == WINDOWS else {"dense": message}
    vectors = question.vectors
    parts: dict[str, Any] = {
        "query": {"nearest": near},
        "params": {
            "exact": question.exact,
            "indexed_only": False,
            "quantization": {"ignore": False, "rescore": _RESCORE},
        },
        "with_payload": {"include": {"fields": question.fields}},
        "with_vectors": {"enable": vectors} if isinstance(vectors, bool) else {"include": {"names": vectors}},
    }
    return grpc.QueryPoints(
        collection_name=collection,
        using=question.using,
        filter=message_filter(question.condition),
        limit=question.limit,
        score_threshold=question.floor,
        **parts,
    )


def _found(point: grpc.ScoredPoint) -> Found:
    vector = GrpcToRest.convert_vectors_output(point.vectors) if point.HasField("vectors") else None
    return Found(point.id.uuid, grpc_to_payload(point.payload), point.score, vector)


# --- What is written -------------------------------------------------------------------------------------------------


def ready(connection: Connection, upsert: Upsert) -> Operation:
    """Return an upsert as it is sent, which takes a while where it has many points; it may be done in a thread."""
    return _as_message(upsert) if connection.address.grpc else _as_model(upsert)


def _as_model(operation: Operation) -> models.UpdateOperation:
    if not isinstance(operation, Upsert):
        assert not isinstance(operation, grpc.PointsUpdateOperation)  # noqa: S101 - none is made ready for gRPC
        return operation
    points = [client_point(point, operation.dimension) for point in operation.points]
    return models.UpsertOperation(upsert=models.PointsList(points=points, update_filter=operation.condition))


def _as_message(operation: Operation) -> grpc.PointsUpdateOperation:
    if isinstance(operation, grpc.PointsUpdateOperation):
        return operation
    if not isinstance(operation, Upsert):
        return RestToGrpc.convert_update_operation(operation)
    return grpc.PointsUpdateOperation(
        upsert=grpc.PointsUpdateOperation.PointStructList(
            points=[_point(point, operation.dimension) for point in operation.points],
            update_filter=RestToGrpc.convert_filter(operation.condition),
        )
    )


def _point(point: PointWrite, dimension: int) -> grpc.PointStruct:
    vectors: dict[str, Any] = {}
    if point.dense is not None:
        vectors[DENSE] = {"dense": _row(point.dense)}
    if point.windows is not None:
        size = _FLOAT_BYTES * dimension
        rows = [_row(point.windows[start : start + size]) for start in range(0, len(point.windows), size)]
        vectors[WINDOWS] = {"multi_dense": {"vectors": rows}}
    if point.terms:
        half = len(point.terms) // 2
        indices = np.frombuffer(point.terms[:half], dtype="<u4").tolist()
        values = np.frombuffer(point.terms[half:], dtype="<f4").tolist()
        vectors[TERMS] = {"sparse": {"indices": indices, "values": values}}
    # Messages are made of nested arguments at once, which is faster than one after the other.
    parts: dict[str, Any] = {
        "id": {"uuid": point.point_id},
        "vectors": {"vectors": {"vectors": vectors}},
        "payload": payload_to_grpc(point.payload),
    }
    return grpc.PointStruct(**parts)


def _row(row: bytes) -> grpc.DenseVector:
    """Return a row as a message: packed numbers lie in it as they do in the row."""
    message = grpc.DenseVector()
    message.ParseFromString(_PACKED_FLOATS + _varint(len(row)) + row)
    return message


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > _LOW_BITS:
        parts.append(number & _LOW_BITS | _MORE)
        number >>= 7
    parts.append(number)
    return bytes(parts)
