"""What was derived from what, in both directions.

A version's provenance names what it was made of. So that the way down is as cheap as the way up, each derived write
carries an entry in a namespace of the system, in the same commit: the child, its parents, and the parents' memories as
tags. A filter over tags then finds the children, on every backend, without reading any provenance.
"""

from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.filters import OneOf
from recollect.adapters.port import (
    FULL,
    SUMMARY,
    ByRef,
    Commit,
    Projection,
    ProvenanceStorageAdapter,
    Put,
    ReadPoint,
    Scan,
)
from recollect.adapters.versions import Action, Provenance, Version, VersionRef
from recollect.service.branching.records import find, name_of_id
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


class Step(Struct, frozen=True):
    """A version, one that it came from, and in which way."""

    child: VersionRef
    parent: VersionRef
    kind: Literal["derived_from", "revision_of", "merged_from"]


async def children_of(
    store: ProvenanceStorageAdapter, refs: Iterable[VersionRef], up_to: int = POSITION_MAX
) -> list[Derivation]:
    """Return what was made of some versions, on any branch, in the order it was stored.

    Args:
        store: Where to look.
        refs: Exactly these versions.
        up_to: Only what was stored up to this position.
    """
    wanted = set(refs)
    memories = sorted({ref.memory_id for ref in wanted})
    found: dict[VersionRef, Derivation] = {}
    for start in range(0, len(memories), MEMORIES_A_SCAN):
        scan = Scan(
            read_point=None,
            namespaces=(NAMESPACE,),
            filter=OneOf(("tags",), tuple(memories[start : start + MEMORIES_A_SCAN])),
            projection=FULL,
        )
        async for batch in store.scan(scan):
            for version in batch:
                if version.content and version.position <= up_to:  # an erased entry holds nothing
                    derivation = msgspec.json.decode(version.content, type=Derivation)
                    if wanted.intersection(derivation.parents):
                        found[derivation.child] = derivation
    return list(found.values())


class Lines:
    """The versions of memories, and which took the place of which, read once each.

    Args:
        store: Where to look.
        up_to: Only what was stored up to this position.
    """

    def __init__(self, store: ProvenanceStorageAdapter, up_to: int = POSITION_MAX) -> None:
        self._store = store
        self._up_to = up_to
        self._lines: dict[str, list[Version]] = {}

    async def of(self, memory_id: str) -> list[Version]:
        """Return the versions of a memory on all branches, oldest first.

        Provenance is read only where there are several branches, which may have been merged.
        """
        line = self._lines.get(memory_id)
        if line is None:
            line = await line_of(self._store, memory_id)
            if len({version.branch for version in line}) > 1:
                line = await line_of(self._store, memory_id, None, _RECORD)
            line = [version for version in line if version.position <= self._up_to]
            self._lines[memory_id] = line
        return line

    async def before(self, ref: VersionRef) -> VersionRef | None:
        """Return the version that one took the place of, or None for a first one."""
        return None if ref.number == 1 else await replaced_by(self._store, await self.of(ref.memory_id), ref)

    async def steps_from(self, refs: Iterable[VersionRef]) -> list[Step]:
        """Return the steps that lead from some versions on to others of the same memories: by revising and merging."""
        here = set(refs)
        steps: list[Step] = []
        for memory_id in dict.fromkeys(ref.memory_id for ref in here):
            for version in await self.of(memory_id):
                merged = merged_into(version)
                steps += [Step(version.ref, parent, "merged_from") for parent in merged if parent in here]
                earlier = await self.before(version.ref)
                if earlier in here and earlier is not None and earlier not in merged:
                    steps.append(Step(version.ref, earlier, "revision_of"))
        return steps


def merged_into(version: Version) -> tuple[VersionRef, ...]:
    """Return the versions of the same memory that one was merged from; none where provenance was not read."""
    derived = () if version.provenance is None else version.provenance.derived_from
    return tuple(ref for ref in derived if ref.memory_id == version.memory_id)


async def line_of(
    store: ProvenanceStorageAdapter,
    memory_id: str,
    read_point: ReadPoint | None = None,
    projection: Projection = SUMMARY,
) -> list[Version]:
    """Return the versions of a memory, oldest first; those of all branches without a read point."""
    versions: list[Version] = []
    async for batch in store.history(memory_id, read_point, projection):
        versions += batch
    return versions[::-1]


async def replaced_by(store: ProvenanceStorageAdapter, line: Sequence[Version], ref: VersionRef) -> VersionRef | None:
    """Return the version of a memory's line that one took the place of; None for the first.

    A branch's first version took the place of one that the branch sees on those it was forked from.
    """
    earlier = [version for version in line if version.number == ref.number - 1]
    here = [version.ref for version in earlier if version.branch == ref.branch]
    if here or len(earlier) < 2:  # noqa: PLR2004 - one candidate needs no choice
        return next(iter([*here, *(version.ref for version in earlier)]), None)
    held = await find(store, name_of_id(ref.branch))
    lineage = held.record.lineage if held is not None and held.record.id == ref.branch else ()
    seen = (
        version.ref
        for span in lineage
        for version in earlier
        if version.branch == span.branch and version.position <= span.up_to
    )
    return next(seen, earlier[0].ref)


async def descendants(store: ProvenanceStorageAdapter, refs: Iterable[VersionRef]) -> list[VersionRef]:
    """Return every version that came of some others, on any branch: by derivation, revision and merging.

    Args:
        store: Where to look.
        refs: What it begins with; these are not part of the answer.

    Returns:
        The versions, nearest first, each once.
    """
    seen = dict.fromkeys(refs)
    roots = len(seen)
    level = list(seen)
    lines = Lines(store)
    while level:
        found = [derivation.child for derivation in await children_of(store, level)]
        found += [step.child for step in await lines.steps_from(level)]
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
    lines = Lines(store)
    while level:
        found: list[VersionRef] = []
        for ref, version in zip(level, await records_of(store, level), strict=True):
            if version is not None and version.provenance is not None:
                found += version.provenance.derived_from
            earlier = await lines.before(ref)
            found += [] if earlier is None else [earlier]
        level = [ref for ref in dict.fromkeys(found) if ref not in seen]
        seen.update(dict.fromkeys(level))
    return list(seen)[roots:]


async def records_of(store: ProvenanceStorageAdapter, refs: Sequence[VersionRef]) -> list[Version | None]:
    """Return versions with their provenance, whether they are visible or not; None for those that are not there."""
    return await store.get([ByRef(ref) for ref in refs], _NOWHERE, _RECORD)
