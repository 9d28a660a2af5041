"""What is to become of drafts: new, known already, or a revision of what is there."""

from collections.abc import Sequence

from msgspec import Struct

from recollect.adapters.port import ByContent, ById, ByKey, ByRef, ReadPoint, Selector
from recollect.adapters.versions import Version, VersionRef
from recollect.service.answers import Remembered
from recollect.service.drafts import Draft
from recollect.service.errors import InvalidInputError, ServiceError
from recollect.service.parts import Parts
from recollect.service.requests import VersionReference


class New(Struct, frozen=True, eq=False):
    """Stored as a new memory; `last` is what was forgotten or has expired under its fixed id."""

    derived_from: tuple[VersionRef, ...]
    last: Version | None = None


class Revises(Struct, frozen=True, eq=False):
    """Stored as the next version of a memory that is there under the same key or id."""

    current: Version
    derived_from: tuple[VersionRef, ...]


class Known(Struct, frozen=True, eq=False):
    """Exactly this is there already."""

    current: Version


class Twin(Struct, frozen=True, eq=False):
    """Exactly this stands earlier in the same batch."""

    index: int


class Rejected(Struct, frozen=True, eq=False):
    """Cannot be stored."""

    error: ServiceError


Outcome = New | Revises | Known | Twin | Rejected


def duplicate_of(version: Version) -> Remembered:
    """Return the answer to a write of what is there already."""
    return Remembered(
        id=version.memory_id,
        version=version.number,
        status="duplicate",
        namespace=version.namespace,
        branch=version.branch,
        position=version.position,
    )


async def plan(
    parts: Parts, drafts: Sequence[Draft], read_point: ReadPoint, *, look: bool, again: bool
) -> list[Outcome]:
    """Say what is to become of each draft.

    Args:
        parts: Where to look.
        drafts: No two with the same key or id.
        read_point: From where to look.
        look: False takes every draft that names no other memory for new, which the commit's preconditions then prove:
            worth it where nothing dear, such as an embedding, comes before the commit.
        again: True after a conflict: memories that are no longer visible are looked up too.
    """
    asked: list[Selector] = []
    for draft in drafts:
        if look:
            asked.append(_identity(draft))
        asked.extend(_references(draft))
    found = iter(await parts.store.get(asked, read_point) if asked else ())
    outcomes: list[Outcome] = []
    first: dict[tuple[str, str], int] = {}
    for index, draft in enumerate(drafts):
        current = next(found) if look else None
        derived = [(selector, next(found)) for selector in _references(draft)]
        # What a caller identifies is not compared by content: two imports may say the same at other times.
        said = (draft.version.namespace, draft.version.content_hash)
        twin = None if draft.has_id or draft.version.key else first.setdefault(said, index)
        if twin is not None and twin != index:
            outcomes.append(Twin(twin))
            continue
        outcome = _outcome(draft, current, derived)
        if again and draft.has_id and isinstance(outcome, New):
            outcome = New(outcome.derived_from, await _last_version(parts, draft.version.memory_id, read_point))
        outcomes.append(outcome)
    return outcomes


async def _last_version(parts: Parts, memory_id: str, read_point: ReadPoint) -> Version | None:
    async for batch in parts.store.history(memory_id, read_point):
        return batch[0]
    return None


def _outcome(draft: Draft, current: Version | None, derived: Sequence[tuple[Selector, Version | None]]) -> Outcome:
    if current is not None and draft.is_same_as(current):
        return Known(current)
    refs: list[VersionRef] = []
    for selector, version in derived:
        if version is not None:
            refs.append(version.ref)
        elif isinstance(selector, ByRef) and draft.has_id:
            refs.append(selector.ref)  # an import may come without its roots; what the record said stands
        else:
            named = selector.ref if isinstance(selector, ByRef) else selector
            return Rejected(InvalidInputError(f"provenance.derived_from names {named}, which is not in this store"))
    return New(tuple(refs)) if current is None else Revises(current, tuple(refs))


def _identity(draft: Draft) -> Selector:
    version = draft.version
    if draft.has_id:
        return ById(version.memory_id)
    if version.key is not None:
        return ByKey(version.namespace, version.key)
    return ByContent(version.namespace, version.content_hash)


def _references(draft: Draft) -> list[Selector]:
    return references(draft.request.provenance.derived_from) if draft.keeps_full else []


def references(derived_from: Sequence[str | VersionReference]) -> list[Selector]:
    """Return what to look up for each memory that a write names as what it was made of."""
    selectors: list[Selector] = []
    for item in derived_from:
        if isinstance(item, str):
            selectors.append(ById(item))
        elif item.version is None:
            selectors.append(ById(item.id))
        else:
            selectors.append(ByRef(VersionRef(item.id, item.branch, item.version)))
    return selectors
