"""What is kept of a branch: a memory in a namespace of the system, written on `main`, whose key is the branch's name.

So a branch comes about in one small commit whatever its parent holds, every backend has branches for free, and who did
what to a branch stands in the history of its record. Versions do not name a branch by its name but by its id, which
is the name at first and `NAME~2` when a deleted name is used again: what was written on the first stays apart.
"""

import re
from datetime import datetime
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import POSITION_MAX, now_ms, position_at
from recollect.adapters.filters import Equals, Not
from recollect.adapters.port import (
    FULL,
    BranchSpan,
    ByKey,
    Precondition,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
    Scan,
    VersionIs,
)
from recollect.adapters.versions import MAIN, Action, Provenance, Version, VersionRef
from recollect.service.errors import InvalidInputError
from recollect.service.presenting import JSON_TYPE

NAMESPACE = "_branches"
SYSTEM_ACTOR = "recollect"
DELETED_TAG = "deleted"
NAME_CHARS_MAX = 100
LINEAGE_SPANS_MAX = 64
"""How deep branches of branches go: every read on one looks at each branch of its lineage."""

AT_THIS_COMMIT = 0
"""Stands for the position of the commit that writes it, which is not known before."""

_NAME = re.compile(r"[^\W\d_][\w.+-]*\Z")
_GUARDS = UUID("5f0f5f1e-54c5-4f43-9d0a-6f2e4b1c8a37")
"""The namespace of the ids that mark branches as closed."""


class BranchRecord(Struct, frozen=True, kw_only=True):
    """A branch, as it is stored.

    Attributes:
        name: What users call it.
        id: What versions name it by.
        generation: 1, and one more each time a deleted name is used again.
        parent: The id of the branch that it was forked from; None for `main`.
        fork: The position up to which it sees its parent.
        lineage: The branches that it was forked from, nearest first, each up to its fork.
        created_at_ms: When it was made.
        created_by: Who made it.
        note: Why.
        protected: Whether it may be deleted or rolled back.
        deleted: Whether it is gone.
        merged: Up to which position it holds what other branches held, by their ids: of merges, its own and those
            that came along with them.
    """

    name: str
    id: str
    generation: int = 1
    parent: str | None = None
    fork: int = AT_THIS_COMMIT
    lineage: tuple[BranchSpan, ...] = ()
    created_at_ms: int = 0
    created_by: str = SYSTEM_ACTOR
    note: str | None = None
    protected: bool = False
    deleted: bool = False
    merged: dict[str, int] = {}

    def spans(self) -> tuple[BranchSpan, ...]:
        """Return the branch itself and what it was forked from, nearest first."""
        return (BranchSpan(self.id, POSITION_MAX), *self.lineage)

    def knows(self) -> dict[str, int]:
        """Return, for each branch it holds something of, up to which position it holds everything."""
        known = dict(self.merged)
        for span in self.lineage:
            known[span.branch] = max(span.up_to, known.get(span.branch, 0))
        known[self.id] = POSITION_MAX
        return known


class Held(Struct, frozen=True, eq=False):
    """A record, and the version that holds it; None for `main` as long as nothing was merged into it."""

    record: BranchRecord
    version: Version | None

    @property
    def guards(self) -> tuple[Precondition, ...]:
        """What must hold for a write on the branch: that it was not deleted meanwhile."""
        return guards_of(self.record.id)


def guards_of(branch: str) -> tuple[Precondition, ...]:
    """Return what must hold for a write on a branch: that nothing marks it as closed."""
    return () if branch == MAIN else (VersionIs(closed_id(branch), None),)


def closed_id(branch: str) -> str:
    """Return the id of the mark that closes a branch for writing."""
    return str(uuid5(_GUARDS, branch))


def check_name(name: str, what: str = "branch") -> str:
    """Return the name for a new branch or tag.

    Raises:
        InvalidInputError: It is not one.
    """
    if len(name) > NAME_CHARS_MAX or not _NAME.match(name):
        raise InvalidInputError(
            f"{name!r:.120} is no name for a {what}: start with a letter and use letters, digits and _ . + - "
            f"({NAME_CHARS_MAX} characters at most)"
        )
    return name


def position_of(moment: datetime | int) -> int:
    """Return the position that a time or a position means."""
    return moment if isinstance(moment, int) else position_at(moment)


def at_position(spans: tuple[BranchSpan, ...], up_to: int) -> tuple[BranchSpan, ...]:
    """Return a lineage as it was at a position; branches that held nothing by then are left out."""
    cut = (BranchSpan(span.branch, min(span.up_to, up_to)) for span in spans)
    return tuple(span for span in cut if span.up_to > 0)


def decode(version: Version) -> BranchRecord:
    """Return the record that a version holds, with the position of its commit where it stands for itself."""
    record = msgspec.json.decode(version.content or "", type=BranchRecord)
    if record.fork != AT_THIS_COMMIT:
        return record
    lineage = tuple(BranchSpan(span.branch, span.up_to or version.position) for span in record.lineage)
    return msgspec.structs.replace(record, fork=version.position, lineage=lineage)


async def find(store: ProvenanceStorageAdapter, name: str, as_of: int = POSITION_MAX) -> Held | None:
    """Return the record of a branch, also of a deleted one; None where the name was never used.

    Args:
        store: Where to look.
        name: The branch's name.
        as_of: The position as of which the record is wanted.
    """
    point = ReadPoint((BranchSpan(MAIN, as_of),))
    (version,) = await store.get([ByKey(NAMESPACE, name)], point, FULL)
    if version is not None:
        return Held(decode(version), version)
    return Held(BranchRecord(name=MAIN, id=MAIN, fork=1, protected=True), None) if name == MAIN else None


async def live_ids(store: ProvenanceStorageAdapter) -> list[str]:
    """Return the ids of all branches that are not deleted, but for `main`."""
    scan = Scan(
        read_point=ReadPoint.main(),
        namespaces=(NAMESPACE,),
        filter=Not(Equals(("tags",), DELETED_TAG)),
        projection=FULL,
    )
    found = [decode(version).id async for batch in store.scan(scan) for version in batch]
    return [branch for branch in found if branch != MAIN]


def name_of_id(branch: str) -> str:
    """Return the name of the branch that versions name by an id."""
    return branch.partition("~")[0]


def put_of(record: BranchRecord, held: Version | None, provenance: Provenance) -> Put:
    """Return the write that stores a record.

    Args:
        record: What to store.
        held: The version that it replaces; None for a name that is used for the first time.
        provenance: Who does what.
    """
    return system_put(
        NAMESPACE,
        msgspec.json.encode(record).decode(),
        provenance,
        key=record.name,
        kind="branch",
        tags=(DELETED_TAG,) if record.deleted else (),
        held=held,
    )


def closing_put(record: BranchRecord, provenance: Provenance) -> Put:
    """Return the write that closes a branch for writing."""
    put = system_put(NAMESPACE, "{}", provenance, kind="closed")
    return Put(msgspec.structs.replace(put.version, memory_id=closed_id(record.id), branch=record.id))


def system_put(
    namespace: str,
    content: str,
    provenance: Provenance,
    *,
    key: str | None = None,
    kind: str,
    tags: tuple[str, ...] = (),
    held: Version | None = None,
    branch: str = MAIN,
) -> Put:
    """Return the write of a record of the system.

    Args:
        namespace: A namespace of the system.
        content: JSON.
        provenance: Who writes it.
        key: Its name, if it has one.
        kind: What it is.
        tags: To find it by.
        held: The version that it replaces; None for a new record.
        branch: Where it is written.
    """
    now = now_ms()
    version = Version(
        memory_id=str(uuid7()) if held is None else held.memory_id,
        branch=branch,
        number=1 if held is None else held.number + 1,
        namespace=namespace,
        key=key,
        kind=kind,
        tags=tags,
        created_at_ms=now if held is None else held.created_at_ms,
        updated_at_ms=now,
        actor=provenance.actor,
        content=content,
        content_type=JSON_TYPE,
        metadata={},
        provenance=provenance,
    )
    return Put(version, None if held is None else held.ref)


def record_of(action: Action, actor: str, *, note: str | None = None, of: tuple[VersionRef, ...] = ()) -> Provenance:
    """Return the provenance of a write to a branch or a tag."""
    return Provenance(action=action, actor=actor, time_ms=now_ms(), note=note, derived_from=of)
