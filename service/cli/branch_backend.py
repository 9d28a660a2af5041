"""What the commands about branches work on: a service over HTTP, by the same methods as `memory.branches` has."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import msgspec

from recollect.service.answers import ErrorFrame, HeartbeatFrame, Remembered
from recollect.service.branching.answers import (
    Branch,
    BranchPage,
    ChangesFrame,
    Conflict,
    ConflictPage,
    DiffEndFrame,
    DiffFrame,
    LogPage,
    Merged,
    Resolved,
    RolledBack,
    Tag,
    TagPage,
)
from recollect.service.branching.requests import (
    BranchChange,
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    ResolveAll,
    RollbackRequest,
)
from recollect.service.cli.exits import CommandError

if TYPE_CHECKING:
    from recollect.service.branching.facade import Branching

Ask = Callable[..., Any]
Stream = Callable[..., AbstractAsyncContextManager[Any]]

_frame: Any = ChangesFrame | HeartbeatFrame | DiffEndFrame | ErrorFrame
"""The union of the frames, which type checkers do not take for a type."""


class RemoteConflicts:
    """`memory.branches.conflicts` over the HTTP API."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def page(
        self, *, target: str | None = None, state: str | None = "open", limit: int = 50, cursor: str | None = None
    ) -> ConflictPage:
        """Return some conflicts, oldest first."""
        query = {"target": target, "state": state or "all", "limit": limit, "cursor": cursor}
        page: ConflictPage = await self._ask(ConflictPage, "GET", "/v1/conflicts", parameters=query)
        return page

    async def get(self, conflict_id: str) -> Conflict:
        """Return a conflict with the contents of its versions."""
        conflict: Conflict = await self._ask(Conflict, "GET", _path("conflicts", conflict_id))
        return conflict

    async def resolve(self, conflict_id: str, resolution: Resolution) -> Conflict:
        """Settle a conflict."""
        path = _path("conflicts", conflict_id, "resolve")
        conflict: Conflict = await self._ask(Conflict, "POST", path, body=_body(resolution))
        return conflict

    async def resolve_all(self, request: ResolveAll) -> Resolved:
        """Settle all open conflicts the same way."""
        done: Resolved = await self._ask(Resolved, "POST", "/v1/conflicts/resolve", body=_body(request))
        return done


class RemoteTags:
    """`memory.branches.tags` over the HTTP API."""

    def __init__(self, ask: Ask, stream: Stream) -> None:
        self._ask = ask
        self._stream = stream

    async def create(self, request: NewTag) -> Tag:
        """Name a commit."""
        tag: Tag = await self._ask(Tag, "POST", "/v1/tags", body=_body(request))
        return tag

    async def all(self) -> TagPage:
        """Return all tags."""
        page: TagPage = await self._ask(TagPage, "GET", "/v1/tags")
        return page

    async def delete(self, name: str, actor: str | None = None, note: str | None = None) -> None:
        """Delete a tag."""
        async with self._stream("DELETE", _path("tags", name), params=_given(actor=actor, note=note)):
            pass


class RemoteBranches:
    """`memory.branches` over the HTTP API.

    Args:
        ask: Sends a request and reads its answer as a type, as `RemoteBackend` does.
        stream: Opens the body of an answer to be read in pieces.
    """

    def __init__(self, ask: Ask, stream: Stream) -> None:
        self._ask = ask
        self._stream = stream
        self.conflicts = RemoteConflicts(ask)
        self.tags = RemoteTags(ask, stream)

    async def create(self, request: NewBranch) -> Branch:
        """Fork a branch."""
        branch: Branch = await self._ask(Branch, "POST", "/v1/branches", body=_body(request))
        return branch

    async def page(self, limit: int = 100, cursor: str | None = None) -> BranchPage:
        """Return some branches."""
        query = {"limit": limit, "cursor": cursor}
        page: BranchPage = await self._ask(BranchPage, "GET", "/v1/branches", parameters=query)
        return page

    async def change(self, name: str, change: BranchChange) -> Branch:
        """Protect a branch, or take its protection away."""
        branch: Branch = await self._ask(Branch, "PATCH", _path("branches", name), body=_body(change))
        return branch

    async def delete(self, name: str, actor: str | None = None, note: str | None = None) -> None:
        """Delete a branch."""
        async with self._stream("DELETE", _path("branches", name), params=_given(actor=actor, note=note)):
            pass

    async def diff(
        self, first: str, second: str, *, text: bool = False, as_of: datetime | int | None = None
    ) -> AsyncGenerator[DiffFrame, None]:
        """Stream what the second branch holds otherwise than the first."""
        moment = as_of.isoformat() if isinstance(as_of, datetime) else as_of
        query = _given(text=str(text).lower(), as_of=moment)
        async with self._stream("GET", _path("branches", first, "diff", second), params=query) as response:
            async for line in response.aiter_lines():
                frame = msgspec.json.decode(line, type=_frame)
                if isinstance(frame, ErrorFrame):
                    raise CommandError(frame.error)
                if not isinstance(frame, HeartbeatFrame):
                    yield frame

    async def log(self, name: str, *, limit: int = 50, before: int | None = None) -> LogPage:
        """Return the commits that a branch is made of, newest first."""
        query = {"limit": limit, "before": before}
        page: LogPage = await self._ask(LogPage, "GET", _path("branches", name, "log"), parameters=query)
        return page

    async def merge(self, target: str, request: MergeRequest) -> Merged:
        """Take the changes of a branch into another."""
        merged: Merged = await self._ask(Merged, "POST", _path("branches", target, "merge"), body=_body(request))
        return merged

    async def rollback(self, name: str, request: RollbackRequest) -> RolledBack:
        """Give a branch the state that it had."""
        path = _path("branches", name, "rollback")
        done: RolledBack = await self._ask(RolledBack, "POST", path, body=_body(request))
        return done

    async def cherry_pick(self, target: str, pick: CherryPick) -> Remembered:
        """Take one memory's change over from another branch."""
        path = _path("branches", target, "cherry-pick")
        done: Remembered = await self._ask(Remembered, "POST", path, body=_body(pick))
        return done


BranchBackend: TypeAlias = "Branching | RemoteBranches"
"""Branches of a store in this process, or of a service."""


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _body(request: Any) -> bytes:
    return str(request.model_dump_json(exclude_unset=True, by_alias=True)).encode()
