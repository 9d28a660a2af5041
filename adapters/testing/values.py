"""Small builders, so that a test shows only what it is about."""

import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from msgspec.structs import replace

from recollect.adapters.port import (
    BranchSpan,
    Commit,
    Cursor,
    Match,
    Order,
    Precondition,
    Projection,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
    SimilarityQuery,
    StoreProfile,
)
from recollect.adapters.versions import MAIN, Action, Provenance, SparseVector, Vector, Version, VersionRef

Item = TypeVar("Item")

DIMENSION = 8
"""How many numbers the suite's vectors have."""

PROFILE = StoreProfile(model_id="unit-vectors", dimension=DIMENSION)
NOW_MS = 1_767_225_600_000
"""The moment at which the suite's memories came about: the start of 2026."""

NEWEST = ReadPoint.main()
EVERYTHING = Projection(content=True, provenance=True, vectors=True)


def memory_id(number: int) -> str:
    """Return an id, a UUID of version 7; ids sort as their numbers do."""
    return f"00000000-0000-7000-8000-{number:012x}"


def content_hash(content: str) -> str:
    """Return a content's SHA-256 in hex."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def a_version(number: int = 1, *, content: str | None = None, **fields: Any) -> Version:
    """Return the first version of a memory.

    Args:
        number: Which memory, as in `memory_id`.
        content: Its text; one that names the number if not given.
        fields: Other fields of `Version`.
    """
    text = f"memory {number}" if content is None else content
    defaults: dict[str, Any] = {
        "memory_id": memory_id(number),
        "namespace": "longterm",
        "content": text,
        "content_hash": content_hash(text),
        "summary": text[:40],
        "metadata": {},
        "created_at_ms": NOW_MS + number,
        "updated_at_ms": NOW_MS + number,
        "actor": "ada",
        "provenance": Provenance(action=Action.CREATED, actor="ada", time_ms=NOW_MS + number, level="minimal"),
    }
    return Version(**(defaults | fields))


def a_full_version(number: int = 1) -> Version:
    """Return a version in which every field has a value of its own."""
    return a_version(
        number,
        namespace="projects",
        key=f"key {number}",
        kind="episodic",
        summary="a summary",
        tags=("blue", "red"),
        importance=0.25,
        confidence=0.75,
        created_at_ms=NOW_MS - 5,
        updated_at_ms=NOW_MS + 5,
        expires_at_ms=NOW_MS + 1_000_000,
        actor="grace",
        source="message:17",
        content='{"a": 1}',
        content_type="application/json",
        metadata={"user": {"id": 7}, "list": [1, "two", None, 2.5, True]},
        provenance=Provenance(
            action=Action.SYNTHESIZED,
            actor="grace",
            time_ms=NOW_MS,
            source="message:17",
            derived_from=(VersionRef(memory_id(900), MAIN, 3), VersionRef(memory_id(901), "draft", 1)),
            note="because",
            confidence=0.5,
        ),
        vectors=windows(toward(0.6), axis(2)),
        sparse=terms({3: 0.5, 4_000_000_000: 1.25}),
    )


def revision_of(version: Version, *, branch: str | None = None, content: str | None = None, **fields: Any) -> Put:
    """Return the put that replaces a version by its next one, on the same branch or on another."""
    text = f"{version.content or ''}, revised" if content is None else content
    changes: dict[str, Any] = {
        "branch": branch or version.branch,
        "number": version.number + 1,
        "content": text,
        "content_hash": content_hash(text),
        "position": 0,
    }
    return Put(replace(version, **(changes | fields)), supersedes=version.ref)


def tombstone_of(version: Version, *, branch: str | None = None) -> Put:
    """Return the put that forgets a memory whose visible version is the given one."""
    changes: dict[str, Any] = {
        "branch": branch or version.branch,
        "number": version.number + 1,
        "position": 0,
        "forgotten": True,
        "actor": version.actor or "ada",
        "summary": "",
        "content": None,
        "content_hash": "",
        "metadata": None,
        "vectors": None,
        "sparse": None,
    }
    return Put(replace(version, **changes), supersedes=version.ref)


def a_commit(
    *puts: Version | Put,
    preconditions: tuple[Precondition, ...] = (),
    read_point: ReadPoint = NEWEST,
    durability: Literal["durable", "relaxed"] = "durable",
    erases: tuple[VersionRef, ...] = (),
    position: int | None = None,
) -> Commit:
    """Return a commit of puts, or of versions that replace nothing."""
    return Commit(
        puts=tuple(put if isinstance(put, Put) else Put(put) for put in puts),
        preconditions=preconditions,
        read_point=read_point,
        durability=durability,
        erases=erases,
        position=position,
    )


def branch_point(*spans: str | tuple[str, int], at_ms: int | None = None) -> ReadPoint:
    """Return a read point of branches, nearest first, each up to now or up to a position."""
    lineage = tuple(BranchSpan(span) if isinstance(span, str) else BranchSpan(*span) for span in spans)
    return ReadPoint(lineage, at_ms)


def axis(index: int) -> Vector:
    """Return the unit vector along an axis; float32, shape (DIMENSION,)."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[index] = 1.0
    return vector


def toward(cosine: float) -> Vector:
    """Return a unit vector with a given cosine to `axis(0)`; float32, shape (DIMENSION,)."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[:2] = cosine, math.sqrt(1 - cosine**2)
    return vector


def windows(*vectors: Vector) -> Vector:
    """Stack vectors as the windows of one text; float32, shape (windows, DIMENSION)."""
    return np.stack(vectors)


def terms(weights: dict[int, float]) -> SparseVector:
    """Return a sparse vector from weights by term."""
    ordered = sorted(weights)
    return SparseVector(
        np.array(ordered, dtype=np.uint32), np.array([weights[term] for term in ordered], dtype=np.float32)
    )


def cursor_after(version: Version, order: Order = Order.POSITION) -> Cursor:
    """Return the cursor from which a scan goes on behind a version."""
    value = version.position if order is Order.POSITION else version.created_at_ms
    return Cursor(value, version.memory_id, version.branch, version.number)


async def collected(stream: AsyncIterator[Sequence[Item]]) -> list[Item]:
    """Read a stream to its end, and return its items in order."""
    return [item for batch in [batch async for batch in stream] for item in batch]


async def found_ids(adapter: ProvenanceStorageAdapter, query: SimilarityQuery) -> list[str]:
    """Return the ids of what a search finds, in order."""
    matches: list[Match] = await collected(adapter.find_similar(query))
    return [match.version.memory_id for match in matches]


def ids(*numbers: int) -> list[str]:
    """Return the ids of several memories."""
    return [memory_id(number) for number in numbers]


def refs(versions: Sequence[Version]) -> list[VersionRef]:
    """Return the names of versions."""
    return [version.ref for version in versions]


def as_plain(version: Version | None) -> dict[str, Any] | None:
    """Return a version as plain values that compare by `==`, vectors rounded to 5 decimals.

    A tombstone's metadata may come back empty or absent: it has none.
    """
    if version is None:
        return None
    fields: dict[str, Any] = {name: getattr(version, name) for name in version.__struct_fields__}
    if version.vectors is not None:
        fields["vectors"] = np.round(version.vectors.astype(np.float64), 5).tolist()
    if version.sparse is not None:
        weights = np.round(version.sparse.weights.astype(np.float64), 5).tolist()
        fields["sparse"] = list(zip(version.sparse.terms.tolist(), weights, strict=True))
    if version.forgotten:
        fields["metadata"] = version.metadata or None
    if version.metadata:
        fields["metadata"] = with_types(version.metadata)
    return fields


def with_types(value: Any) -> Any:
    """Return a JSON value in which 1, 1.0 and true differ also when compared by `==`."""
    match value:
        case dict():
            return {name: with_types(item) for name, item in value.items()}
        case list() | tuple():
            return [with_types(item) for item in value]
        case _:
            return (type(value).__name__, value)
