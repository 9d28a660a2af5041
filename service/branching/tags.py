"""Tags: names for commits, which a fork or a rollback may start from."""

import msgspec
from msgspec import Struct

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import (
    FULL,
    BranchSpan,
    ByKey,
    Commit,
    KeyIs,
    Order,
    ProvenanceStorageAdapter,
    ReadPoint,
    Scan,
)
from recollect.adapters.versions import Action, Version
from recollect.service.branches import existing
from recollect.service.branching import answers, records
from recollect.service.branching.records import AT_THIS_COMMIT, check_name, record_of, system_put
from recollect.service.branching.requests import NewTag
from recollect.service.errors import NameTakenError, ProtectedError, TagNotFoundError, VersionConflictError
from recollect.service.forgetting import tombstone
from recollect.service.parts import Parts
from recollect.service.presenting import moment

NAMESPACE = "_tags"


class TagRecord(Struct, frozen=True, kw_only=True):
    """A tag, as it is stored.

    Attributes:
        name: What it is called.
        branch: The id of the branch whose state it names.
        position: The commit; `AT_THIS_COMMIT` for the one that writes the tag.
        lineage: From where that state is read, so that a tag outlives its branch.
        created_by: Who made it.
        note: Why.
        protected: Whether it is kept from being deleted.
    """

    name: str
    branch: str
    position: int
    lineage: tuple[BranchSpan, ...]
    created_by: str
    note: str | None = None
    protected: bool = False


def decode(version: Version) -> TagRecord:
    """Return the tag that a version holds, with the position of its commit where it names that."""
    record = msgspec.json.decode(version.content or "", type=TagRecord)
    if record.position != AT_THIS_COMMIT:
        return record
    return msgspec.structs.replace(record, position=version.position)


async def find(store: ProvenanceStorageAdapter, name: str) -> TagRecord | None:
    """Return a tag by its name, or None."""
    (version,) = await store.get([ByKey(NAMESPACE, name)], ReadPoint.main(), FULL)
    return None if version is None else decode(version)


def _shown(record: TagRecord, version: Version) -> answers.Tag:
    return answers.Tag(
        name=record.name,
        branch=records.name_of_id(record.branch),
        position=record.position,
        created_at=moment(version.created_at_ms),
        created_by=record.created_by,
        note=record.note,
        protected=record.protected,
    )


class Tags:
    """The use cases of tags."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, request: NewTag) -> answers.Tag:
        """Name a commit.

        Raises:
            NameTakenError: A branch or a tag has this name.
            BranchNotFoundError: There is no such branch.
        """
        name = check_name(request.name, "tag")
        actor = request.actor or self._parts.settings.default_actor
        branch = (await existing(self._parts.store, request.branch)).record
        position = AT_THIS_COMMIT if request.at is None else records.position_of(request.at)
        record = TagRecord(
            name=name,
            branch=branch.id,
            position=position,
            lineage=branch.spans(),
            created_by=actor,
            note=request.note,
            protected=request.protected,
        )
        provenance = record_of(Action.CREATED, actor, note=request.note)
        put = system_put(NAMESPACE, msgspec.json.encode(record).decode(), provenance, key=name, kind="tag")
        commit = Commit(
            puts=(put,),
            preconditions=(KeyIs(NAMESPACE, name, None), KeyIs(records.NAMESPACE, name, None)),
            read_point=ReadPoint.main(),
        )
        try:
            receipt = await self._parts.store.commit(commit)
        except ConflictError as error:
            raise NameTakenError(f"a branch or a tag is called {name!r} already; choose another name") from error
        version = msgspec.structs.replace(put.version, position=receipt.position)
        return _shown(decode(version), version)

    async def get(self, name: str) -> answers.Tag:
        """Return a tag.

        Raises:
            TagNotFoundError: There is none of this name.
        """
        version = await self._existing(name)
        return _shown(decode(version), version)

    async def all(self) -> answers.TagPage:
        """Return all tags, oldest first."""
        scan = Scan(read_point=ReadPoint.main(), namespaces=(NAMESPACE,), order=Order.CREATED_AT, projection=FULL)
        found = [version async for batch in self._parts.store.scan(scan) for version in batch]
        return answers.TagPage(items=[_shown(decode(version), version) for version in found])

    async def delete(self, name: str, actor: str | None = None, note: str | None = None) -> None:
        """Delete a tag; the commit that it named stays.

        Raises:
            TagNotFoundError: There is none of this name.
            ProtectedError: It is protected.
        """
        version = await self._existing(name)
        if decode(version).protected:
            raise ProtectedError(f"the tag {name!r} is protected and cannot be deleted")
        provenance = record_of(Action.FORGOTTEN, actor or self._parts.settings.default_actor, note=note)
        put = tombstone(version, branch=version.branch, provenance=provenance)
        try:
            await self._parts.store.commit(Commit(puts=(put,), read_point=ReadPoint.main()))
        except ConflictError as error:
            raise VersionConflictError(f"the tag {name!r} was changed meanwhile; look again") from error

    async def _existing(self, name: str) -> Version:
        (version,) = await self._parts.store.get([ByKey(NAMESPACE, name)], ReadPoint.main(), FULL)
        if version is None:
            raise TagNotFoundError(f"there is no tag {name!r:.120}; list those there are (GET /v1/tags)")
        return version
