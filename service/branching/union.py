"""The union of two versions of a memory: nothing that either says is left out."""

from difflib import SequenceMatcher
from typing import Any

import msgspec

from recollect.adapters.versions import Version
from recollect.service.hashing import canonical_json, content_hash
from recollect.service.presenting import JSON_TYPE
from recollect.service.summaries import summarise


def union_of(base: Version | None, ours: Version, theirs: Version) -> Version:
    """Return a version that says what both say; its vectors, number and provenance are the caller's to set.

    Args:
        base: The version in the common past, by which removed tags and fields are known; or None.
        ours: The target's version, with its content; it decides where two values exclude each other.
        theirs: The source's version, with its content.
    """
    content, content_type = _content(ours, theirs)
    tags = _tags(base, ours, theirs)
    metadata = _fields((base.metadata if base else None) or {}, ours.metadata or {}, theirs.metadata or {})
    newer = max(ours, theirs, key=lambda version: version.updated_at_ms)
    expiries = [ours.expires_at_ms, theirs.expires_at_ms]
    said = {"kind": newer.kind, "key": ours.key, "tags": tags, "metadata": metadata, "created_at_ms": None}
    value = msgspec.json.decode(content) if content_type == JSON_TYPE else content
    return msgspec.structs.replace(
        ours,
        kind=newer.kind,
        summary=ours.summary if content == ours.content else summarise(content),
        tags=tuple(tags),
        importance=max(ours.importance, theirs.importance),
        confidence=newer.confidence,
        updated_at_ms=newer.updated_at_ms,
        expires_at_ms=None if None in expiries else max(time for time in expiries if time is not None),
        content_hash=content_hash(value, said=said),
        source=newer.source,
        content=content,
        content_type=content_type,
        metadata=metadata,
    )


def _content(ours: Version, theirs: Version) -> tuple[str, str]:
    mine, other = ours.content or "", theirs.content or ""
    if mine == other and ours.content_type == theirs.content_type:
        return mine, ours.content_type
    if ours.content_type == theirs.content_type == JSON_TYPE:
        return canonical_json(_values(msgspec.json.decode(mine), msgspec.json.decode(other))).decode(), JSON_TYPE
    return union_of_lines(mine, other), "text/plain"


def union_of_lines(ours: str, theirs: str) -> str:
    """Return the lines of both texts, those that they share once; where they differ, ours go before theirs."""
    mine, other = ours.splitlines(), theirs.splitlines()
    lines: list[str] = []
    for operation, start, end, other_start, other_end in SequenceMatcher(
        None, mine, other, autojunk=False
    ).get_opcodes():
        lines += mine[start:end]
        if operation != "equal":
            lines += other[other_start:other_end]
    return "\n".join(lines)


def _values(ours: Any, theirs: Any) -> Any:
    """Return what two JSON values hold together; where two values exclude each other, both stand in a list."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        merged = dict(ours)
        for name, value in theirs.items():
            merged[name] = _values(ours[name], value) if name in ours else value
        return merged
    mine = ours if isinstance(ours, list) else [ours]
    other = theirs if isinstance(theirs, list) else [theirs]
    together = [*mine, *(item for item in other if item not in mine)]
    return together if isinstance(ours, list) or isinstance(theirs, list) or len(together) > 1 else ours


def _tags(base: Version | None, ours: Version, theirs: Version) -> list[str]:
    """Return the tags of both, but those that one of them has taken away."""
    before = set(base.tags) if base else set()
    removed = (before - set(ours.tags)) | (before - set(theirs.tags))
    return sorted((set(ours.tags) | set(theirs.tags)) - removed)


def _fields(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of both, each as the side has it that changed it; ours where both did."""
    merged: dict[str, Any] = {}
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        if name in ours and name in theirs:
            merged[name] = theirs[name] if name in base and ours[name] == base[name] else ours[name]
        else:
            value = ours[name] if name in ours else theirs[name]
            if name not in base or value != base[name]:  # else one side took it away and the other left it as it was
                merged[name] = value
    return merged
