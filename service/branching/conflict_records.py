"""Conflicts as they are stored: which versions stand against each other. The versions stay where they are."""

from typing import Literal

import msgspec
from msgspec import Struct

from recollect.adapters.port import Put
from recollect.adapters.versions import Provenance, Version, VersionRef
from recollect.service.branching.comparing import Both, Sides
from recollect.service.branching.records import system_put

NAMESPACE = "_conflicts"
OPEN_TAG = "open"
RESOLVED_TAG = "resolved"


class ConflictRecord(Struct, frozen=True, kw_only=True):
    """A memory that two branches changed in different ways.

    Attributes:
        kind: `content`, `forgotten` where one side forgot it, or `key` where two memories have one key.
        target: The branch that was merged into, by its name.
        source: The branch that was merged.
        memory_id: The memory; in a clash of keys, that of the source.
        namespace: Where it lives.
        key: The user's own name for it.
        base: Its version in the common past.
        ours: The target's version.
        theirs: The source's.
        resolution: How it was settled; None while it is open.
    """

    kind: Literal["content", "forgotten", "key"]
    target: str
    source: str
    memory_id: str
    namespace: str
    key: str | None
    base: VersionRef | None
    ours: VersionRef | None
    theirs: VersionRef | None
    resolution: str | None = None


def target_tag(name: str) -> str:
    """Return the tag by which the conflicts of a branch are found."""
    return f"target:{name}"


def decode(version: Version) -> ConflictRecord:
    """Return the conflict that a version holds."""
    return msgspec.json.decode(version.content or "", type=ConflictRecord)


def record_of(both: Both, sides: Sides) -> ConflictRecord:
    """Return the conflict of a memory that both sides changed."""
    shown = both.theirs or both.ours or both.base
    assert shown is not None  # noqa: S101 - what is nowhere did not change
    kind: Literal["content", "forgotten", "key"] = "content"
    if both.is_clash:
        kind = "key"
    elif both.ours is None or both.theirs is None:
        kind = "forgotten"
    return ConflictRecord(
        kind=kind,
        target=sides.target.record.name,
        source=sides.source.name,
        memory_id=both.memory_id,
        namespace=shown.namespace,
        key=shown.key,
        base=_ref(both.base),
        ours=_ref(both.ours),
        theirs=_ref(both.theirs),
    )


def put_of(record: ConflictRecord, held: Version | None, provenance: Provenance) -> Put:
    """Return the write that stores a conflict, in place of the version that holds it so far."""
    state = OPEN_TAG if record.resolution is None else RESOLVED_TAG
    return system_put(
        NAMESPACE,
        msgspec.json.encode(record).decode(),
        provenance,
        kind=record.kind,
        tags=tuple(sorted((state, target_tag(record.target), record.memory_id))),
        held=held,
    )


def _ref(version: Version | None) -> VersionRef | None:
    return None if version is None else version.ref
