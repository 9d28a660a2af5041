"""What is answered about branches, merges, conflicts and tags."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from recollect.service.answers import VersionName

ChangeKind = Literal["added", "revised", "forgotten"]


class Branch(Struct, frozen=True, kw_only=True):
    """A line of versions with a parent and a fork."""

    name: Annotated[str, Meta(description="What it is called.")]
    id: Annotated[str, Meta(description="What versions name it by: `NAME~2` where a deleted name is used again.")]
    parent: Annotated[str | None, Meta(description="The branch it was forked from; null for `main`.")]
    forked_at: Annotated[int, Meta(description="The position up to which it sees its parent.")]
    created_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="When it was made; null for `main`.")
    ]
    created_by: Annotated[str, Meta(description="Who made it.")]
    note: Annotated[str | None, Meta(description="Why.")]
    protected: Annotated[bool, Meta(description="Whether it is kept from being deleted and rolled back.")]


class BranchPage(Struct, frozen=True, kw_only=True):
    """Some branches of a longer list."""

    items: Annotated[list[Branch], Meta(description="Oldest first, `main` before all.")]
    next_cursor: Annotated[str | None, Meta(description="Give it as `cursor` for the next page; null at the end.")]


class Tag(Struct, frozen=True, kw_only=True):
    """A name for a commit."""

    name: Annotated[str, Meta(description="What it is called.")]
    branch: Annotated[str, Meta(description="The branch whose state it names.")]
    position: Annotated[int, Meta(description="The commit's place in the order; usable as `as_of`.")]
    created_at: Annotated[datetime, Meta(tz=True, description="When the tag was made.")]
    created_by: Annotated[str, Meta(description="Who made it.")]
    note: Annotated[str | None, Meta(description="Why.")]
    protected: Annotated[bool, Meta(description="Whether it is kept from being deleted.")]


class TagPage(Struct, frozen=True, kw_only=True):
    """All tags."""

    items: Annotated[list[Tag], Meta(description="Oldest first.")]


class Change(Struct, frozen=True, kw_only=True):
    """One memory that two states hold differently."""

    change: Annotated[ChangeKind, Meta(description="What became of it from the first state to the second.")]
    id: Annotated[str, Meta(description="The memory.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    key: Annotated[str | None, Meta(description="The user's own name for it.")]
    before: Annotated[VersionName | None, Meta(description="Its version in the first state; null if it is not there.")]
    after: Annotated[VersionName | None, Meta(description="Its version in the second state; null if it is not there.")]
    summary_before: Annotated[str | None, Meta(description="What the first state says in a few words.")]
    summary_after: Annotated[str | None, Meta(description="What the second state says in a few words.")]
    text_diff: Annotated[str | None, Meta(description="A unified diff of the contents, where it was asked for.")] = None


class ChangesFrame(Struct, frozen=True, kw_only=True, tag_field="frame", tag="changes"):
    """Some changes of a stream."""

    changes: Annotated[list[Change], Meta(description="The next changes, in the order of commits.")]


class DiffEndFrame(Struct, frozen=True, kw_only=True, tag_field="frame", tag="end"):
    """The stream is complete. A stream without this frame was cut."""

    added: Annotated[int, Meta(description="How many memories only the second state holds.")]
    revised: Annotated[int, Meta(description="How many it holds in another version.")]
    forgotten: Annotated[int, Meta(description="How many only the first state holds.")]
    elapsed_ms: Annotated[float, Meta(description="From the request to this frame.")]


DiffFrame = ChangesFrame | DiffEndFrame
"""What a diff streams."""


class Merged(Struct, frozen=True, kw_only=True):
    """What a merge did, or would do."""

    target: Annotated[str, Meta(description="The branch that took the changes.")]
    source: Annotated[str, Meta(description="The branch they come from.")]
    strategy: Annotated[str, Meta(description="What became of memories that both changed.")]
    dry_run: Annotated[bool, Meta(description="True where nothing was written.")]
    fast_forward: Annotated[bool, Meta(description="True where the target had no changes of its own.")]
    base: Annotated[int, Meta(description="The position of the common past that both sides were compared with.")]
    up_to: Annotated[int, Meta(description="The position up to which the source was taken.")]
    position: Annotated[int | None, Meta(description="The merge commit; null where nothing had to be written.")]
    added: Annotated[int, Meta(description="Memories that are new on the target.")]
    revised: Annotated[int, Meta(description="Memories that have a new version there.")]
    forgotten: Annotated[int, Meta(description="Memories that are forgotten there.")]
    conflicts: Annotated[int, Meta(description="Memories that both changed and that are to be resolved.")]
    settled: Annotated[int, Meta(description="Memories that both changed and that the strategy settled.")]
    conflict_ids: Annotated[list[str], Meta(description="The first hundred conflicts, for GET /v1/conflicts/{id}.")]
    conflict_branch: Annotated[str | None, Meta(description="The branch that holds the source's versions of them.")]


class Conflict(Struct, frozen=True, kw_only=True):
    """A memory that two branches changed in different ways."""

    id: Annotated[str, Meta(description="The conflict.")]
    kind: Annotated[
        Literal["content", "forgotten", "key"],
        Meta(description="Both revised it; one revised and one forgot it; or two memories have one key."),
    ]
    target: Annotated[str, Meta(description="The branch that was merged into: ours.")]
    source: Annotated[str, Meta(description="The branch that was merged: theirs.")]
    memory_id: Annotated[str, Meta(description="The memory; in a clash of keys, that of the source.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    key: Annotated[str | None, Meta(description="The user's own name for it.")]
    base: Annotated[VersionName | None, Meta(description="Its version in the common past; null if it was not there.")]
    ours: Annotated[VersionName | None, Meta(description="The target's version; null if forgotten there.")]
    theirs: Annotated[VersionName | None, Meta(description="The source's version; null if forgotten there.")]
    summaries: Annotated[
        dict[str, str], Meta(description="What `base`, `ours` and `theirs` say in a few words, where they are there.")
    ]
    contents: Annotated[
        dict[str, str] | None, Meta(description="The contents of the three; only where one conflict is asked for.")
    ] = None
    state: Annotated[Literal["open", "resolved"], Meta(description="Whether it is settled.")]
    resolution: Annotated[str | None, Meta(description="How it was settled: ours, theirs, base or content.")]
    position: Annotated[int, Meta(description="The commit that wrote this state of the conflict.")]
    created_at: Annotated[datetime, Meta(tz=True, description="When the merge found it.")]


class ConflictPage(Struct, frozen=True, kw_only=True):
    """Some conflicts of a longer list."""

    items: Annotated[list[Conflict], Meta(description="Oldest first.")]
    next_cursor: Annotated[str | None, Meta(description="Give it as `cursor` for the next page; null at the end.")]


class Resolved(Struct, frozen=True, kw_only=True):
    """What became of conflicts that were to be resolved."""

    resolved: Annotated[list[str], Meta(description="The conflicts that are settled now.")]
    position: Annotated[int | None, Meta(description="The newest commit of it; null if there was none to settle.")]


class RolledBack(Struct, frozen=True, kw_only=True):
    """What a rollback did, or would do."""

    branch: Annotated[str, Meta(description="The branch.")]
    to: Annotated[int, Meta(description="The position whose state it has again.")]
    dry_run: Annotated[bool, Meta(description="True where nothing was written.")]
    position: Annotated[int | None, Meta(description="The commit; null where nothing had to be written.")]
    added: Annotated[int, Meta(description="Memories that are back.")]
    revised: Annotated[int, Meta(description="Memories that have their version of then again.")]
    forgotten: Annotated[int, Meta(description="Memories that were not there then.")]


class LogEntry(Struct, frozen=True, kw_only=True):
    """One commit."""

    position: Annotated[int, Meta(description="Its place in the order; usable as `as_of`.")]
    time: Annotated[datetime, Meta(tz=True, description="When it was made.")]
    branch: Annotated[str, Meta(description="The branch that it was written on.")]
    actors: Annotated[list[str], Meta(description="Who wrote its versions.")]
    created: Annotated[int, Meta(description="First versions in it.")]
    revised: Annotated[int, Meta(description="Later versions in it.")]
    forgotten: Annotated[int, Meta(description="Memories that it forgot.")]


class LogPage(Struct, frozen=True, kw_only=True):
    """Some commits of a branch, newest first."""

    items: Annotated[list[LogEntry], Meta(description="The commits.")]
    next_before: Annotated[int | None, Meta(description="Give it as `before` for the next page; null at the end.")]
