"""Making, listing, protecting and deleting branches."""

import base64
import binascii

import msgspec

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import ConflictError
from recollect.adapters.filters import Equals, Not
from recollect.adapters.port import FULL, Commit, Cursor, KeyIs, Order, ReadPoint, Scan
from recollect.adapters.versions import MAIN, Action, Version
from recollect.service.branches import existing
from recollect.service.branching import answers, records, tags
from recollect.service.branching.origins import Origin, find_origin
from recollect.service.branching.records import BranchRecord, check_name, record_of
from recollect.service.branching.requests import BranchChange, NewBranch
from recollect.service.errors import (
    InvalidCursorError,
    InvalidInputError,
    NameTakenError,
    ProtectedError,
    VersionConflictError,
)
from recollect.service.parts import Parts
from recollect.service.presenting import moment

ATTEMPTS_MAX = 8


class Catalogue:
    """The use cases of the branches themselves."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, request: NewBranch) -> answers.Branch:
        """Fork a branch: one small commit, whatever the branch holds that is forked.

        Raises:
            NameTakenError: A branch or a tag has this name.
            BranchNotFoundError: What is to be forked is not there.
            InvalidInputError: The name is none, or the branch would be too deep.
        """
        name = check_name(request.name)
        with self._parts.telemetry.operation("fork"):
            origin = await find_origin(self._parts.store, request.origin, request.at)
            held = await records.find(self._parts.store, name)
            if name == MAIN or (held is not None and not held.record.deleted):
                raise _taken(name)
            before = None if held is None else held.version
            actor = request.actor or self._parts.settings.default_actor
            generation = 1 if held is None else held.record.generation + 1
            record = forked(name, generation, origin, actor=actor, note=request.note, protected=request.protected)
            put = records.put_of(record, before, record_of(Action.FORKED, actor, note=request.note))
            commit = Commit(
                puts=(put,),
                # One who deleted the name and one who makes it anew meet on the number of the record's version.
                preconditions=(KeyIs(tags.NAMESPACE, name, None), *_free(name, before)),
                read_point=ReadPoint.main(),
            )
            try:
                receipt = await self._parts.store.commit(commit)
            except ConflictError as error:
                raise _taken(name) from error
            return shown(records.decode(msgspec.structs.replace(put.version, position=receipt.position)))

    async def get(self, name: str) -> answers.Branch:
        """Return a branch.

        Raises:
            BranchNotFoundError: There is none of this name.
        """
        return shown((await existing(self._parts.store, name)).record)

    async def page(self, limit: int = 100, cursor: str | None = None) -> answers.BranchPage:
        """Return some branches, `main` first and then the oldest.

        Raises:
            InvalidCursorError: The cursor is none that a page gave.
        """
        scan = Scan(
            read_point=ReadPoint.main(),
            namespaces=(records.NAMESPACE,),
            filter=Not(Equals(("tags",), records.DELETED_TAG)),
            order=Order.CREATED_AT,
            after=None if cursor is None else read_cursor(cursor),
            limit=limit + 1,
            projection=FULL,
        )
        found = [version async for batch in self._parts.store.scan(scan) for version in batch]
        shown_of = [shown(records.decode(version)) for version in found[:limit]]
        items = [branch for branch in shown_of if branch.name != MAIN]
        if cursor is None:
            items.insert(0, await self.get(MAIN))
        following = write_cursor(found[limit - 1]) if len(found) > limit else None
        return answers.BranchPage(items=items, next_cursor=following)

    async def change(self, name: str, change: BranchChange) -> answers.Branch:
        """Protect a branch, or take its protection away.

        Raises:
            BranchNotFoundError: There is none of this name.
            ProtectedError: It is `main`, which is always protected.
        """
        if name == MAIN:
            raise ProtectedError("main is always protected from being deleted; there is nothing to set")
        for _ in range(ATTEMPTS_MAX):
            held = await existing(self._parts.store, name)
            actor = change.actor or self._parts.settings.default_actor
            record = msgspec.structs.replace(held.record, protected=change.protected)
            put = records.put_of(record, held.version, record_of(Action.REVISED, actor, note=change.note))
            try:
                await self._parts.store.commit(Commit(puts=(put,), read_point=ReadPoint.main()))
            except ConflictError:
                continue  # another change was faster; look again
            return shown(record)
        raise _busy(name)

    async def delete(self, name: str, actor: str | None = None, note: str | None = None) -> None:
        """Delete a branch: it can be read and written no longer. What was written on it stays in the store.

        Raises:
            BranchNotFoundError: There is none of this name.
            ProtectedError: It is `main` or protected.
        """
        if name == MAIN:
            raise ProtectedError("main cannot be deleted")
        for _ in range(ATTEMPTS_MAX):
            held = await existing(self._parts.store, name)
            if held.record.protected:
                raise ProtectedError(f"the branch {name!r} is protected; take its protection away first")
            provenance = record_of(Action.FORGOTTEN, actor or self._parts.settings.default_actor, note=note)
            record = msgspec.structs.replace(held.record, deleted=True)
            puts = (
                records.put_of(record, held.version, provenance),
                records.closing_put(record, provenance),
            )
            try:
                await self._parts.store.commit(Commit(puts=puts, read_point=ReadPoint.main()))
            except ConflictError:
                continue  # another change was faster; look again
            return
        raise _busy(name)


def forked(
    name: str, generation: int, origin: Origin, *, actor: str, note: str | None = None, protected: bool = False
) -> BranchRecord:
    """Return the record of a branch that is forked from a state.

    Raises:
        InvalidInputError: It would be deeper than reads can follow.
    """
    if len(origin.lineage) > records.LINEAGE_SPANS_MAX:
        raise InvalidInputError(
            f"the branch would be {len(origin.lineage)} branches away from main; at most "
            f"{records.LINEAGE_SPANS_MAX} are followed: merge, and fork from a branch nearer to main"
        )
    return BranchRecord(
        name=name,
        id=name if generation == 1 else f"{name}~{generation}",
        generation=generation,
        parent=origin.branch,
        fork=origin.position,
        lineage=origin.lineage,
        created_at_ms=now_ms(),
        created_by=actor,
        note=note,
        protected=protected,
    )


def shown(record: BranchRecord) -> answers.Branch:
    """Return a record as answers give it."""
    return answers.Branch(
        name=record.name,
        id=record.id,
        parent=None if record.parent is None else records.name_of_id(record.parent),
        forked_at=0 if record.parent is None else record.fork,
        created_at=None if record.parent is None else moment(record.created_at_ms),
        created_by=record.created_by,
        note=record.note,
        protected=record.protected,
    )


def read_cursor(text: str) -> Cursor:
    """Return the place that a cursor names.

    Raises:
        InvalidCursorError: It is none that a page gave.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text.encode()), type=Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidCursorError(
            "the cursor is not one of ours; give next_cursor of the page before, unchanged"
        ) from error


def write_cursor(last: Version) -> str:
    """Return the cursor that goes on behind a version, in the order in which records came about."""
    place = Cursor(last.created_at_ms, last.memory_id, last.branch, last.number)
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _free(name: str, before: Version | None) -> tuple[KeyIs, ...]:
    return (KeyIs(records.NAMESPACE, name, None if before is None else before.memory_id),)


def _taken(name: str) -> NameTakenError:
    return NameTakenError(f"a branch or a tag is called {name!r} already; choose another name")


def _busy(name: str) -> VersionConflictError:
    return VersionConflictError(f"others changed the branch {name!r} {ATTEMPTS_MAX} times meanwhile; try again")
