"""From stored versions to answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from recollect.adapters.port import Match
from recollect.adapters.versions import Provenance, Version, VersionRef
from recollect.service.answers import Hit, Memory, ProvenanceRecord, ScoreParts, VersionName

JSON_TYPE = "application/json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLOAT_EXACT_MS = 1000 * 2**33
"""Up to here (the year 2242) a float of seconds rounds to the right microsecond, which is twice as fast."""


def moment(milliseconds: int) -> datetime:
    """Return a time in UTC from milliseconds since the epoch, exactly."""
    if 0 <= milliseconds < _FLOAT_EXACT_MS:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds_of(value: datetime) -> int:
    """Return milliseconds since the epoch, rounded down."""
    return (value - _EPOCH) // timedelta(milliseconds=1)


def content_of(version: Version) -> Any:
    """Return the content as it was said: text, or the JSON value; UNSET where it was not loaded."""
    if version.content is None:
        return UNSET
    return msgspec.json.decode(version.content) if version.content_type == JSON_TYPE else version.content


def name_of(ref: VersionRef) -> VersionName:
    """Return the name of a version as answers give it."""
    return VersionName(id=ref.memory_id, version=ref.number, branch=ref.branch)


def provenance_of(record: Provenance | None) -> ProvenanceRecord | UnsetType:
    """Return a provenance record as answers give it; UNSET where it was not loaded."""
    if record is None:
        return UNSET
    return ProvenanceRecord(
        action=record.action,
        actor=record.actor,
        time=moment(record.time_ms),
        level=record.level,
        source=record.source,
        derived_from=[name_of(ref) for ref in record.derived_from],
        note=record.note,
        confidence=record.confidence,
        schema_version=record.schema_version,
    )


def memory_of(version: Version) -> Memory:
    """Return a version as answers give it, with the parts that were loaded."""
    return Memory(
        id=version.memory_id,
        version=version.number,
        namespace=version.namespace,
        branch=version.branch,
        position=version.position,
        key=version.key,
        kind=version.kind,
        summary=version.summary,
        tags=version.tags,
        importance=version.importance,
        confidence=version.confidence,
        created_at=moment(version.created_at_ms),
        updated_at=moment(version.updated_at_ms),
        expires_at=None if version.expires_at_ms is None else moment(version.expires_at_ms),
        content_hash=version.content_hash,
        forgotten=version.forgotten,
        erased=version.erased,
        content=content_of(version),
        metadata=UNSET if version.metadata is None else version.metadata,
        provenance=provenance_of(version.provenance),
    )


def hit_of(match: Match, *, explain: bool) -> Hit:
    """Return a match as answers give it."""
    version = match.version
    return Hit(
        id=version.memory_id,
        version=version.number,
        score=match.score,
        namespace=version.namespace,
        key=version.key,
        kind=version.kind,
        summary=version.summary,
        tags=version.tags,
        created_at=moment(version.created_at_ms),
        content=content_of(version),
        metadata=UNSET if version.metadata is None else version.metadata,
        provenance=provenance_of(version.provenance),
        scores=ScoreParts(dense=match.dense, sparse=match.sparse) if explain else UNSET,
    )
