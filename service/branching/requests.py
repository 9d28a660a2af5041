"""What callers say about branches, merges, conflicts and tags."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from recollect.service.requests import AsOf, Json, MemoryId, Name, Request

Strategy = Literal["conflict", "ours", "theirs", "newest", "union"]
Actor = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Origin = Annotated[int, Field(ge=0, le=2**53 - 1)] | Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A branch, a tag, a time (RFC 3339) or a commit position."""


class _Signed(Request):
    """A change that says who makes it and why."""

    actor: Actor | None = None
    """Who does it."""
    note: str | None = Field(default=None, max_length=4096)
    """Why, in words."""


class NewBranch(_Signed):
    """A branch to make."""

    model_config = ConfigDict(
        populate_by_name=True, json_schema_extra={"examples": [{"name": "draft", "from": "main", "actor": "assistant"}]}
    )

    name: str = Field(max_length=256)
    """Letters, digits and `_ . + -`, starting with a letter; 100 characters at most."""
    origin: Origin = Field(default="main", validation_alias="from")
    """What to fork: a branch, a tag, or `main` as of a time (RFC 3339) or a commit position."""
    at: AsOf | None = None
    """As of when to fork the branch that `from` names: a time or a commit position; now if not given."""
    protected: bool = False
    """Whether it is kept from being deleted and rolled back."""


class BranchChange(_Signed):
    """A change to a branch."""

    protected: bool
    """Whether it is kept from being deleted and rolled back."""


class NewTag(_Signed):
    """A name for a commit."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "v1", "branch": "main"}]})

    name: str = Field(max_length=256)
    """Letters, digits and `_ . + -`, starting with a letter; 100 characters at most."""
    branch: Name = "main"
    """The branch whose state it names."""
    at: AsOf | None = None
    """As of when: a time or a commit position; now if not given."""
    protected: bool = False
    """Whether it is kept from being deleted."""


class MergeRequest(_Signed):
    """A merge of one branch into another."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": "draft", "strategy": "conflict", "actor": "ana"}]}
    )

    source: Name
    """The branch whose changes are taken."""
    strategy: Strategy = "conflict"
    """What becomes of a memory that both branches changed: a `conflict` to be resolved later, the version of `ours`
    (the target), of `theirs` (the source), the `newest`, or the `union` of both texts."""
    on_conflict: Literal["list", "branch"] = "list"
    """With the strategy `conflict`: `list` keeps them to be resolved one by one, `branch` also forks the target and
    puts the source's versions there."""
    dry_run: bool = False
    """Only say what the merge would do."""


class RollbackRequest(_Signed):
    """A return to an earlier state, by a new commit."""

    to: Origin
    """A tag, a time (RFC 3339) or a commit position."""
    dry_run: bool = False
    """Only say what the rollback would do."""


class CherryPick(_Signed):
    """One memory's change, to be taken over from another branch."""

    source: Name
    """The branch that it is on."""
    memory_id: MemoryId
    """The memory."""
    version: int | None = Field(default=None, ge=1)
    """Its version there; the visible one if neither this nor a position is given."""
    position: int | None = Field(default=None, ge=1, le=2**53 - 1)
    """Or the commit that made the change."""
    strategy: Literal["conflict", "theirs"] = "conflict"
    """Where the target has changed the memory itself: refuse, or take the source's version."""

    @model_validator(mode="after")
    def _names_one_change(self) -> Self:
        if self.version is not None and self.position is not None:
            raise ValueError("give a version or a position, not both")
        return self


class Resolution(_Signed):
    """How a conflict is settled."""

    take: Literal["ours", "theirs", "base"] | None = None
    """One of the three versions: the target's, the source's, or that of their common past."""
    content: Json | None = None
    """Or a content of your own."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.take is None) == (self.content is None):
            raise ValueError("give either take (ours, theirs or base) or content")
        return self


class ResolveAll(_Signed):
    """How all open conflicts are settled."""

    take: Literal["ours", "theirs", "base"]
    """Which of the three versions to take each time."""
    target: Name | None = None
    """Only the conflicts of merges into this branch."""
