"""What a store holds: versions of memories, and where they came from."""

from enum import StrEnum
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

MAIN = "main"
"""The branch that always exists."""

SCHEMA_VERSION = 1
"""The newest provenance schema; records of older ones are upgraded when they are read: see `upgrades`."""

Vector = NDArray[np.float32]


class Action(StrEnum):
    """What was done to a memory."""

    CREATED = "created"
    REVISED = "revised"
    MERGED = "merged"
    FORKED = "forked"
    CONNECTED = "connected"
    SYNTHESIZED = "synthesized"
    CRYSTALLIZED = "crystallized"
    IMPORTED = "imported"
    FORGOTTEN = "forgotten"
    RECALLED = "recalled"


class VersionRef(Struct, frozen=True, order=True):
    """Names one version: the memory, the branch it was written on, and its number along that line."""

    memory_id: str
    branch: str
    number: int


class Provenance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a version came from. Read only when asked for.

    Attributes:
        action: What was done.
        actor: Who did it, a name the caller chose.
        time_ms: When, in milliseconds since the epoch.
        source: From what: a URI, or an id in the form `message:ID`, `document:ID#position`, `commit:ID`.
        derived_from: Versions that this one was made of.
        note: Why, in words.
        confidence: How sure the actor was, 0 to 1.
        level: `minimal` records hold action, actor and time only.
        schema_version: The schema that the record was written with.
    """

    action: Action
    actor: str
    time_ms: int
    source: str | None = None
    derived_from: tuple[VersionRef, ...] = ()
    note: str | None = None
    confidence: float | None = None
    level: Literal["minimal", "full"] = "full"
    schema_version: int = 1


class SparseVector(Struct, frozen=True, eq=False):
    """Terms and their weights: `terms` uint32, sorted and unique; `weights` float32, of the same length."""

    terms: NDArray[np.uint32]
    weights: Vector


class Version(Struct, frozen=True, kw_only=True, eq=False, gc=False, rename={"memory_id": "id", "number": "version"}):
    """One immutable state of a memory on one branch. It holds no cycle, so the garbage collector need not look at it.

    What a read returns depends on its `Projection`: `content` and `metadata` are None below `FULL`,
    `provenance` is None unless asked for, `vectors` and `sparse` likewise.

    Attributes:
        memory_id: The memory's id, a UUID in canonical lower-case text, the same in all its versions.
        branch: The branch that this version was written on.
        number: 1 for a memory's first version, then one more along each line.
        position: Where its commit stands in the order; given by the store, 0 before.
        namespace: Where the memory lives; fixed for its life, as is `key`.
        key: The user's own name for it, unique in its namespace, or None.
        kind: `episodic`, `semantic`, `procedural`, `working`, `ghost`, or a user's own.
        summary: A few words that stand for the content.
        tags: Sorted and unique.
        importance: 0 to 1.
        confidence: 0 to 1.
        created_at_ms: When the memory came about (not when it was stored: see `position`).
        updated_at_ms: When this version came about.
        expires_at_ms: From when on it is no longer recalled, or None.
        content_hash: SHA-256 of the content and what identifies it, 64 hex digits; empty for a tombstone.
        actor: Who wrote this version; kept beside it so that filters need no provenance.
        source: From what, likewise.
        forgotten: True for a tombstone: the memory was forgotten on this branch. It has no content or vectors. Without
            an actor it is the stub that is left of an erased version.
        content: The text.
        content_type: `text/plain`, or `application/json` where content is a JSON document.
        metadata: The user's own fields.
        provenance: Where it came from.
        vectors: float32, shape (windows, dimension), rows of length 1: one row for each window of the text.
        sparse: The text's terms, if the store keeps them.
    """

    memory_id: str
    branch: str = MAIN
    number: int = 1
    position: int = 0
    namespace: str
    key: str | None = None
    kind: str = "semantic"
    summary: str = ""
    tags: tuple[str, ...] = ()
    importance: float = 0.5
    confidence: float = 1.0
    created_at_ms: int
    updated_at_ms: int
    expires_at_ms: int | None = None
    content_hash: str = ""
    actor: str = ""
    source: str | None = None
    forgotten: bool = False
    content_type: str = "text/plain"
    content: str | None = None
    metadata: dict[str, Any] | None = None
    provenance: Provenance | None = None
    vectors: Vector | None = None
    sparse: SparseVector | None = None

    @property
    def ref(self) -> VersionRef:
        """The name of this version."""
        return VersionRef(self.memory_id, self.branch, self.number)

    @property
    def erased(self) -> bool:
        """Whether this is the stub of a version that was erased. A tombstone says who wrote it, a stub does not."""
        return self.forgotten and not self.actor


def stub_of(version: Version) -> Version:
    """Return what is left of a version when it is erased: its name, its place in the order, and its times.

    It has a provenance record, so that a history need not treat it differently, but one that tells nothing. All of it
    follows from what a summary holds, so a backend need not store the record.
    """
    return Version(
        memory_id=version.memory_id,
        branch=version.branch,
        number=version.number,
        position=version.position,
        namespace=version.namespace,
        kind=version.kind,
        created_at_ms=version.created_at_ms,
        updated_at_ms=version.updated_at_ms,
        forgotten=True,
        provenance=Provenance(action=Action.FORGOTTEN, actor="", time_ms=version.updated_at_ms, level="minimal"),
    )
