"""What was derived from what, in both directions.

A version's provenance names what it was made of. So that the way down is as cheap as the way up, each derived write
carries an entry in a namespace of the system, in the same commit: the child, its parents, and the parents' memories as
tags. A filter over tags then finds the children, on every backend, without reading any provenance.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from recollect.adapters.filters import OneOf
from recollect.adapters.port import (
    FULL,
    ByRef,
    Commit,
    Projection,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
    Scan,
)
from recollect.adapters.versions import Action, Provenance, Version, VersionRef
from recollect.service.presenting import JSON_TYPE

NAMESPACE = "_lineage"
MEMORIES_A_SCAN = 500
"""How many parents one scan asks for: a filter stays short, and a broad level is still few scans."""

_RECORD = Projection(provenance=True)
_NOWHERE = ReadPoint(())
_SYSTEM = "recollect"
_ENTRIES = UUID("b0c5c6a2-8d0e-4a53-9a55-1f6f0c0e7d11")
"""The namespace of the entries' ids."""


class Derivation(Struct, frozen=True):
    """A version, and the versions of other memories that it was made of."""

    child: VersionRef
    parents: tuple[VersionRef, ...]


# --- Writing ------------------------------------------------------------------------------------------


def with_derivations(commit: Commit) -> Commit:
    """Return a commit together with the entries that lead from what its versions were made of down to them."""
    entries = [entry for put in commit.puts if (entry := _entry_of(put.version)) is not None]
    return msgspec.structs.replace(commit, puts=(*commit.puts, *entries)) if entries else commit


def _entry_of(version: Version) -> Put | None:
    """Return the entry of a derived version; None where its own memory's history says all there is."""
    record = version.provenance
    if record is None or version.namespace.startswith("_"):
        return None
    parents = tuple(ref for ref in record.derived_from if ref.memory_id != version.memory_id)
    if not parents:
        return None
    derivation = Derivation(version.ref, parents)
    return Put(
        Version(
            memory_id=_entry_id(version.ref),
            branch=version.branch,
            namespace=NAMESPACE,
            kind="derivation",
            tags=tuple(sorted({ref.memory_id for ref in parents})),
            created_at_ms=version.updated_at_ms,
            updated_at_ms=version.updated_at_ms,
            actor=_SYSTEM,
            content=msgspec.json.encode(derivation).decode(),
            content_type=JSON_TYPE,
            metadata={},
            provenance=Provenance(action=Action.CREATED, actor=_SYSTEM, time_ms=version.updated_at_ms, level="minimal"),
        )
    )


def _entry_id(child: VersionRef) -> str:
    return str(uuid5(_ENTRIES, f"{child.memory_id}/{child.number}/{child.branch}"))


# --- Reading ------------------------------------------------------------------------------------------


async def children_of(
    store: ProvenanceStorageAdapter, refs: Iterable[VersionRef], read_point: ReadPoint | None = None
) -> list[Derivation]:
    """Return what was made of some versions, in the order it was stored.

    Args:
        store: Where to look.
        refs: Exactly these versions.
        read_point: From where to look; None looks at all branches and all times.
    """
    wanted = set(refs)
    memories = sorted({ref.memory_id for ref in wanted})
    found: dict[VersionRef, Derivation] = {}
    for start in range(0, len(memories), MEMORIES_A_SCAN):
        scan = Scan(
            read_point=read_point,
            namespaces=(NAMESPACE,),
            filter=OneOf(("tags",), tuple(memories[start : start + MEMORIES_A_SCAN])),
            projection=FULL,
        )
        async for batch in store.scan(scan):
            for version in batch:
                if version.content:  # an erased entry holds nothing
                    derivation = msgspec.json.decode(version.content, type=Derivation)
                    if wanted.intersection(derivation.parents):
                        found[derivation.child] = derivation
    return list(found.values())


async def line_of(
    store: ProvenanceStorageAdapter, memory_id: str, read_point: ReadPoint | None = None
) -> list[Version]:
    """Return the versions of a memory, oldest first; those of all branches without a read point."""
    versions: list[Version] = []
    async for batch in store.history(memory_id, read_point):
        versions += batch
    return versions[::-1]


def replaced_by(line: Sequence[Version], ref: VersionRef) -> VersionRef | None:
    """Return the version of a memory's line that one took the place of; None for the first.

    A branch's first version took the place of one on another branch, which has the number before it.
    """
    earlier = [version.ref for version in line if version.number == ref.number - 1]
    same_branch = [candidate for candidate in earlier if candidate.branch == ref.branch]
    return next(iter(same_branch or earlier), None)


def later_than(line: Sequence[Version], ref: VersionRef) -> list[VersionRef]:
    """Return the versions of a memory that came of one by revising it, on its branch and on those forked after it."""
    first: dict[str, int] = {}
    for version in line:
        first[version.branch] = min(version.number, first.get(version.branch, version.number))
    return [
        version.ref
        for version in line
        if version.number > ref.number and (version.branch == ref.branch or first[version.branch] > ref.number)
    ]


async def descendants(
    store: ProvenanceStorageAdapter, refs: Iterable[VersionRef], read_point: ReadPoint | None = None
) -> list[VersionRef]:
    """Return every version that came of some others: by derivation, by revision, and by both in turn.

    Args:
        store: Where to look.
        refs: What it begins with; these are not part of the answer.
        read_point: From where to look; None looks at all branches and all times.

    Returns:
        The versions, nearest first, each once.
    """
    seen = dict.fromkeys(refs)
    roots = len(seen)
    level = list(seen)
    while level:
        found = [derivation.child for derivation in await children_of(store, level, read_point)]
        for memory_id in dict.fromkeys(ref.memory_id for ref in level):
            line = await line_of(store, memory_id, read_point)
            found += [later for ref in level if ref.memory_id == memory_id for later in later_than(line, ref)]
        level = [ref for ref in dict.fromkeys(found) if ref not in seen]
        seen.update(dict.fromkeys(level))
    return list(seen)[roots:]


async def ancestors(store: ProvenanceStorageAdapter, refs: Iterable[VersionRef]) -> list[VersionRef]:
    """Return every version that some others came of: what they were made of, what they revised, and so on.

    Returns:
        The versions, nearest first, each once; also those that are not in this store, as after a partial import.
    """
    seen = dict.fromkeys(refs)
    roots = len(seen)
    level = list(seen)
    while level:
        found: list[VersionRef] = []
        for ref, version in zip(level, await records_of(store, level), strict=True):
            if version is not None and version.provenance is not None:
                found += version.provenance.derived_from
            if ref.number > 1:
                earlier = replaced_by(await line_of(store, ref.memory_id), ref)
                found += [] if earlier is None else [earlier]
        level = [ref for ref in dict.fromkeys(found) if ref not in seen]
        seen.update(dict.fromkeys(level))
    return list(seen)[roots:]


async def records_of(store: ProvenanceStorageAdapter, refs: Sequence[VersionRef]) -> list[Version | None]:
    """Return versions with their provenance, whether they are visible or not; None for those that are not there."""
    return await store.get([ByRef(ref) for ref in refs], _NOWHERE, _RECORD)
