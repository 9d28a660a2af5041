"""Retention: old versions are dropped with their provenance, and what was dropped is recorded.

Only versions that nothing shows any more are dropped: never the newest of a line, none that a branch or a tag shows,
and none that an open conflict or a later merge compares with. Of a dropped version its name and its times stay, so
that lineages still lead through it.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms, position_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.filters import Equals, Filter
from recollect.adapters.port import FULL, Commit, Projection, ProvenanceStorageAdapter, Put, ReadPoint, Scan
from recollect.adapters.versions import MAIN, Action, Provenance, Version, VersionRef
from recollect.service.branching import conflict_records, records, tags
from recollect.service.forgetting import SYSTEM_ACTOR
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.parts import Parts
from recollect.service.presenting import JSON_TYPE, moment
from recollect.service.provenance.answers import Squash
from recollect.service.provenance.derivations import line_of
from recollect.service.provenance.policies import Policy, parse_policies

NAMESPACE = "_squashes"
BATCH_MEMORIES = 100
_WHOLE = Projection(content=True, provenance=True)


class _Stored(Struct, frozen=True):
    """What is kept of versions that were dropped: their number, their time, and a digest of what they said."""

    memory_id: str
    versions: tuple[VersionRef, ...]
    first_ms: int
    last_ms: int
    digest: str


class Retention:
    """The use case of dropping old versions by policy."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._policies = parse_policies(parts.settings.provenance_retention)

    @property
    def enabled(self) -> bool:
        """Whether any policy drops anything."""
        return self._policies.drop_something

    async def squash(self) -> int:
        """Drop what the policies do not keep, each memory in one commit with its record; return how many versions."""
        if not self.enabled:
            return 0
        with self._parts.telemetry.operation("squash"):
            count = 0
            revised = list(dict.fromkeys([memory_id async for memory_id in self._revised()]))
            for start in range(0, len(revised), BATCH_MEMORIES):
                part = revised[start : start + BATCH_MEMORIES]
                # The lines are read before the pins: what a fork made meanwhile shows is the newest of its line here.
                lines = [await line_of(self._parts.store, memory_id, None, _WHOLE) for memory_id in part]
                pins = await pins_of(self._parts.store)
                for line in lines:
                    count += await self._squash(line, pins)
            return count

    async def _revised(self) -> AsyncIterator[str]:
        """Give the memories that have more than one version."""
        scan = Scan(read_point=None)
        async for batch in self._parts.store.scan(scan):
            for version in batch:
                if version.number > 1 and not self._policies.of(version.namespace).keeps_all:
                    yield version.memory_id

    async def _squash(self, line: Sequence[Version], pins: "Pins") -> int:
        dropped = droppable(line, self._policies.of(line[-1].namespace), pins, now_ms())
        if not dropped:
            return 0
        commit = Commit(
            puts=(_record(dropped),),
            erases=tuple(version.ref for version in dropped),
            read_point=ReadPoint.main(),
        )
        try:
            await self._parts.store.commit(commit)
        except ConflictError:
            return 0  # another service was faster
        return len(dropped)

    async def of(self, memory_id: str) -> list[Squash]:
        """Return what was dropped of a memory's versions, oldest first."""
        about = Equals(("tags",), memory_id)
        scan = Scan(read_point=ReadPoint.main(), namespaces=(NAMESPACE,), filter=about, projection=FULL)
        return [_shown(version) async for batch in self._parts.store.scan(scan) for version in batch]


class Pins(Struct, frozen=True):
    """What must not be dropped.

    Attributes:
        positions: For each branch, the sorted positions up to which something shows it.
        versions: Versions that open conflicts compare.
    """

    positions: dict[str, list[int]]
    versions: frozenset[VersionRef]

    def shown(self, line: Iterable[Version]) -> set[VersionRef]:
        """Return the versions of a memory that some branch, tag, merge or conflict needs."""
        shown = set(self.versions)
        of_branch: dict[str, list[Version]] = {}
        for version in line:
            of_branch.setdefault(version.branch, []).append(version)
        for branch, versions in of_branch.items():
            shown.add(versions[-1].ref)
            places = [version.position for version in versions]
            for position in self.positions.get(branch, ()):
                at = bisect_right(places, position)
                if at:
                    shown.add(versions[at - 1].ref)
        return shown


def droppable(line: Sequence[Version], policy: Policy, pins: Pins, at_ms: int) -> list[Version]:
    """Return the versions of a memory that a policy does not keep and nothing needs.

    Args:
        line: All versions of the memory, on all branches, oldest first.
        policy: What is kept.
        pins: What must be kept in any case.
        at_ms: Now, by which ages are told.
    """
    shown = pins.shown(line)
    dropped: list[Version] = []
    for at, version in enumerate(line):
        later = [other for other in line[at + 1 :] if other.branch == version.branch]
        if version.erased or version.ref in shown or not later:
            continue
        too_many = policy.versions_max is not None and len(line) - at > policy.versions_max
        too_old = policy.age_ms is not None and at_ms - position_ms(later[0].position) >= policy.age_ms
        if too_many or too_old:
            dropped.append(version)
    return dropped


async def pins_of(store: ProvenanceStorageAdapter) -> Pins:
    """Return what branches, tags, merges and open conflicts need."""
    positions: dict[str, set[int]] = {}

    def pin(branch: str, position: int) -> None:
        positions.setdefault(branch, set()).add(position)

    async for version in _all(store, records.NAMESPACE):
        if version.kind == "branch":
            record = records.decode(version)
            for branch, position in record.merged.items():
                pin(branch, position)
            for span in () if record.deleted else record.lineage:
                pin(span.branch, span.up_to)
    async for version in _all(store, tags.NAMESPACE):
        tag = tags.decode(version)
        pin(tag.branch, tag.position)
        for span in tag.lineage:
            pin(span.branch, min(span.up_to or tag.position, tag.position))
    needed: set[VersionRef] = set()
    async for version in _all(store, conflict_records.NAMESPACE, Equals(("tags",), conflict_records.OPEN_TAG)):
        conflict = conflict_records.decode(version)
        needed.update(ref for ref in (conflict.base, conflict.ours, conflict.theirs) if ref is not None)
    return Pins({branch: sorted(found) for branch, found in positions.items()}, frozenset(needed))


async def _all(
    store: ProvenanceStorageAdapter, namespace: str, condition: Filter | None = None
) -> AsyncIterator[Version]:
    scan = Scan(read_point=ReadPoint.main(), namespaces=(namespace,), filter=condition, projection=FULL)
    async for batch in store.scan(scan):
        for version in batch:
            if version.content:
                yield version


def _record(dropped: Sequence[Version]) -> Put:
    """Return the record of versions that are dropped; its digest proves what they were to whoever kept a copy."""
    said = [[version.ref, version.content_hash, version.provenance] for version in dropped]
    times = [position_ms(version.position) for version in dropped]
    memory_id = dropped[0].memory_id
    stored = _Stored(
        memory_id=memory_id,
        versions=tuple(version.ref for version in dropped),
        first_ms=min(times),
        last_ms=max(times),
        digest=sha256_hex(canonical_json(said)),
    )
    now = now_ms()
    return Put(
        Version(
            memory_id=str(uuid7()),
            branch=MAIN,
            namespace=NAMESPACE,
            kind="squash",
            tags=(memory_id,),
            created_at_ms=now,
            updated_at_ms=now,
            actor=SYSTEM_ACTOR,
            content=msgspec.json.encode(stored).decode(),
            content_type=JSON_TYPE,
            metadata={},
            provenance=Provenance(action=Action.FORGOTTEN, actor=SYSTEM_ACTOR, time_ms=now, note="retention"),
        )
    )


def _shown(version: Version) -> Squash:
    stored = msgspec.json.decode(version.content or "", type=_Stored)
    return Squash(
        time=moment(version.updated_at_ms),
        versions=[ref.number for ref in stored.versions],
        count=len(stored.versions),
        first=moment(stored.first_ms),
        last=moment(stored.last_ms),
        digest=stored.digest,
    )
