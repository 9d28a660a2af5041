"""What callers ask of where memories come from."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from recollect.service.requests import (
    AsOf,
    MemoryId,
    Moment,
    Name,
    NewMemory,
    Request,
    VersionReference,
)

DEPTH_MAX = 1000
NODES_MAX = 10_000

Format = Literal["json", "tree", "mermaid", "prov"]
Direction = Literal["up", "down", "both"]
RelationType = Annotated[str, StringConstraints(pattern=r"^[^\W_][\w.-]{0,63}$")]
"""Letters, digits and `_ . -`, such as `supports` or `part-of`."""


class VersionOptions(Request):
    """Which version of a memory is asked about."""

    version: int | None = Field(default=None, ge=1)
    """Its number; the current version if not given, or the last one of a memory that was forgotten."""
    branch: Name = "main"
    """The branch to look from."""
    as_of: AsOf | None = None
    """A time (RFC 3339) or a commit position: answer with what the store held then."""


class LineageRequest(VersionOptions):
    """How far to follow what a version was made of, and what was made of it."""

    direction: Direction = "up"
    """`up` to what it was made of, `down` to what was made of it, or `both`."""
    depth: int = Field(default=100, ge=1, le=DEPTH_MAX)
    """How many steps to go at most."""
    nodes: int = Field(default=1000, ge=1, le=NODES_MAX)
    """How many versions to follow at most; `truncated` says when there are more."""
    format: Format = "json"
    """A JSON graph, a text tree, a Mermaid flow chart, or W3C PROV-JSON."""


class WhyRequest(VersionOptions):
    """How much to tell of why a memory is there."""

    depth: int = Field(default=100, ge=1, le=DEPTH_MAX)
    """How many steps to go at most."""
    format: Format = "json"
    """One JSON answer, a text tree, a Mermaid flow chart, or W3C PROV-JSON."""


class ReceiptsRequest(Request):
    """Which recalls to list."""

    memory_id: MemoryId | None = None
    """Only those that gave out this memory."""
    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Only what was given to this actor."""
    since: Moment | None = None
    """Only recalls from this time on."""
    limit: int = Field(default=100, ge=1, le=10_000)
    """At most so many, newest first."""


class NewRelation(Request):
    """A typed relation from one memory to another."""

    from_: MemoryId = Field(alias="from")
    """The memory that it leads from."""
    to: MemoryId
    """The memory that it leads to."""
    type: RelationType
    """What it says, such as `supports`, `contradicts` or `part-of`: letters, digits and `_ . -`."""
    note: str | None = Field(default=None, max_length=4096)
    """Why, in words."""
    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who relates them."""
    branch: Name = "main"
    """The branch to write it on."""


class NewInsight(NewMemory):
    """A memory drawn from several others."""

    memories: list[MemoryId | VersionReference] = Field(min_length=1, max_length=1000)
    """What it was drawn from: ids (their current version), or exact versions."""


class MemoryReceiptsRequest(Request):
    """Which recalls of one memory to list."""

    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Only what was given to this actor."""
    since: Moment | None = None
    """Only recalls from this time on."""
    limit: int = Field(default=100, ge=1, le=10_000)
    """At most so many, newest first."""

    def of(self, memory_id: str) -> ReceiptsRequest:
        """Return what the service takes."""
        return ReceiptsRequest(memory_id=memory_id, actor=self.actor, since=self.since, limit=self.limit)


class RelationsRequest(Request):
    """Which relations of a memory to list."""

    direction: Literal["out", "in", "both"] = "both"
    """Those that lead from it, to it, or both."""
    type: RelationType | None = None
    """Only those of this type."""
    branch: Name = "main"
    """The branch to look from."""


class RemovalRequest(Request):
    """Where to remove a relation, and who does."""

    branch: Name = "main"
    """The branch to remove it on."""
    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who removes it."""
