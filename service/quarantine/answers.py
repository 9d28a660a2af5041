"""What the service answers about tracing and quarantine."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct


class TracedVersion(Struct, frozen=True, kw_only=True):
    """A version that came of what was asked for, or is it."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="Its number.")]
    branch: Annotated[str, Meta(description="The branch that it was written on.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    reason: Annotated[Literal["named", "descends"], Meta(description="Whether it was named, or came of such.")]
    forgotten: Annotated[bool, Meta(description="Whether this version only says that the memory was forgotten.")]
    summary: Annotated[str, Meta(description="What it says, in a few words.")]


class TraceAnswer(Struct, frozen=True, kw_only=True):
    """Everything that descends from a source, an actor, or memories; what was named first, then the nearest."""

    memories: Annotated[int, Meta(description="How many memories these versions belong to.")]
    items: Annotated[list[TracedVersion], Meta(description="The versions, on all branches.")]


class Quarantine(Struct, frozen=True, kw_only=True):
    """Memories that were taken out of recall together."""

    id: Annotated[str, Meta(description="The quarantine's id.")]
    state: Annotated[Literal["active", "released"], Meta(description="Whether they are out of recall.")]
    time: Annotated[datetime, Meta(tz=True, description="When they were taken out.")]
    by: Annotated[str, Meta(description="Who took them out.")]
    reason: Annotated[str | None, Meta(description="Why.")] = None
    memories: Annotated[list[str], Meta(description="The memories, on any branch.")] = []
    released_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="When they were brought back.")
    ] = None
    released_by: Annotated[str | None, Meta(description="Who brought them back.")] = None
    release_reason: Annotated[str | None, Meta(description="Why.")] = None
    left_out: Annotated[
        list[str],
        Meta(description="Memories that were not brought back: written anew or erased since, or their key was taken."),
    ] = []
    position: Annotated[int, Meta(description="The place of the last commit about it in the order.")] = 0


class QuarantinesAnswer(Struct, frozen=True, kw_only=True):
    """Quarantines, newest first."""

    items: Annotated[list[Quarantine], Meta(description="The quarantines.")]
