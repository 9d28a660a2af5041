"""What an erasure would take: versions, what came of them, and the system's records that name them."""

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec
from msgspec import Struct

from recollect.adapters.filters import Equals, Exists, Filter, Or, parse_filter
from recollect.adapters.port import FULL, SUMMARY, ByRef, Projection, ProvenanceStorageAdapter, ReadPoint, Scan
from recollect.adapters.versions import Version, VersionRef
from recollect.service.drafts import check_namespace
from recollect.service.erasure.answers import ErasurePlan, PlannedVersion, Reason
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.provenance.derivations import descendants

ITEMS_MAX = 1000
_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOWHERE = ReadPoint(())
NAMING = ("_conflicts", "_idempotency", "_receipts", "_relations", "_squashes")
"""Namespaces of the system whose records name memories, and may hold words about them."""


class Plan(Struct, frozen=True, eq=False):
    """What an erasure takes.

    Attributes:
        versions: What is erased, in order.
        memories: The ids of all memories of which something goes, or went before by the same request.
        derived: What was made of it and is not erased.
        records: The system's records that name it.
        answer: The same, for people.
    """

    versions: tuple[Version, ...]
    memories: frozenset[str]
    derived: tuple[Version, ...]
    records: tuple[Version, ...]
    answer: ErasurePlan


async def plan_of(store: ProvenanceStorageAdapter, request: ErasureRequest, gone: Collection[VersionRef] = ()) -> Plan:
    """Look up what an erasure takes.

    A version that is named takes the later versions of its memory with it, which went on from it; earlier ones, which
    do not come of it, stay.

    Args:
        store: Where to look.
        request: What is to be erased.
        gone: What was erased by this request already; what came of that meanwhile goes likewise.

    Raises:
        FilterError, ReservedNamespaceError: The request is not valid.
    """
    named = {version.ref: version for version in await _named(store, request)}
    reasons: dict[VersionRef, Reason] = dict.fromkeys(named, "named")
    found = dict(named)
    roots = {*named, *gone}
    memories = {ref.memory_id for ref in roots}
    derived: dict[VersionRef, Version] = {}
    for version in await versions_of(store, await descendants(store, roots)):
        if version.erased or version.namespace.startswith("_"):
            continue
        revision = version.memory_id in memories
        reasons[version.ref] = "revision" if revision else "derived"
        (found if revision or request.derived == "erase" else derived)[version.ref] = version
    versions = tuple(found[ref] for ref in sorted(found))
    kept = tuple(derived[ref] for ref in sorted(derived) if ref not in found)
    taken = frozenset({version.memory_id for version in versions} | {ref.memory_id for ref in gone})
    records = tuple(await _records(store, taken))
    shown = [_item(version, reasons[version.ref]) for version in (*versions, *kept)[:ITEMS_MAX]]
    said = [request.derived, *([_named_as(version.ref) for version in part] for part in (versions, kept))]
    answer = ErasurePlan(
        digest=sha256_hex(canonical_json(said)),
        versions=len(versions),
        memories=len({version.memory_id for version in versions}),
        derived=sum(reason == "derived" for reason in reasons.values()),
        records=len(records),
        policy=request.derived,
        items=shown,
    )
    return Plan(versions, taken, kept, records, answer)


def digest_of(ref: VersionRef) -> str:
    """Return the SHA-256 that stands for a version in a receipt."""
    return sha256_hex(_named_as(ref).encode())


def _named_as(ref: VersionRef) -> str:
    return f"{ref.memory_id}/{ref.branch}/{ref.number}"


async def versions_of(
    store: ProvenanceStorageAdapter, refs: Sequence[VersionRef], projection: Projection = SUMMARY
) -> list[Version]:
    """Return versions by name, those that are there."""
    found = await store.get([ByRef(ref) for ref in refs], NOWHERE, projection) if refs else []
    return [version for version in found if version is not None]


async def _named(store: ProvenanceStorageAdapter, request: ErasureRequest) -> list[Version]:
    if request.ids is not None:
        return await _lines(store, request.ids)
    if request.key is not None:
        held = await _scan(store, Equals(("key",), request.key), (check_namespace(request.namespace),))
        return await _lines(store, {version.memory_id for version in held})
    if request.document is not None:
        name = f"document:{request.document.removeprefix('document:')}"
        held = await _scan(store, Exists(("source",)))
        return [version for version in held if (version.source or "").partition("#")[0] == name]
    return await _scan(store, _filter_of(request))


def _filter_of(request: ErasureRequest) -> Filter | None:
    if request.source is not None:
        return Equals(("source",), request.source)
    if request.actor is not None:
        return Equals(("actor",), request.actor)
    if request.session is not None:
        session = request.session.removeprefix("session:")
        return Or((Equals(("source",), f"session:{session}"), Equals(("metadata", "session"), session)))
    return parse_filter(request.filters)


async def _scan(
    store: ProvenanceStorageAdapter, condition: Filter | None, namespaces: tuple[str, ...] | None = None
) -> list[Version]:
    found: list[Version] = []
    async for batch in store.scan(Scan(read_point=None, namespaces=namespaces, filter=condition)):
        found += [version for version in batch if not version.erased]
    return found


async def _lines(store: ProvenanceStorageAdapter, memory_ids: Iterable[str]) -> list[Version]:
    found: list[Version] = []
    for memory_id in dict.fromkeys(memory_ids):
        async for batch in store.history(memory_id, None):
            found += [v for v in batch if not v.erased and not v.namespace.startswith("_")]
    return found


async def _records(store: ProvenanceStorageAdapter, memory_ids: Collection[str]) -> list[Version]:
    """Return the system's records that name a memory, with their content."""
    if not memory_ids:
        return []
    found: list[Version] = []
    async for batch in store.scan(Scan(read_point=None, namespaces=NAMING, projection=FULL)):
        for version in batch:
            words = f"{version.key} {' '.join(version.tags)} {version.content}"
            if not version.erased and any(name in memory_ids for name in _IDS.findall(words)):
                found.append(version)
    return found


def _item(version: Version, reason: Reason) -> PlannedVersion:
    return PlannedVersion(
        id=version.memory_id,
        version=version.number,
        branch=version.branch,
        namespace=version.namespace,
        reason=reason,
        summary=version.summary,
    )


def without(record: Version, memory_ids: Collection[str]) -> str | None:
    """Return a receipt's content without what it says of some memories; None if nothing is left of it."""
    content = msgspec.json.decode(record.content or "{}")
    recalls = []
    for time_ms, operation, digest, hits, given in content.get("recalls", []):
        kept = [item for item in given if item[0] not in memory_ids]
        if kept:
            recalls.append([time_ms, operation, digest, hits, kept])
    if not recalls:
        return None
    return msgspec.json.encode({**content, "recalls": recalls}).decode()
