"""What callers say about tracing and quarantine."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from recollect.service.requests import MemoryId, Request

Actor = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Note = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class TraceRequest(Request):
    """Where to begin: at a source, an actor, or memories. Exactly one."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    """Everything from exactly this source."""
    actor: Actor | None = None
    """Everything that this actor wrote."""
    ids: list[MemoryId] | None = Field(default=None, min_length=1, max_length=10_000)
    """These memories."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if sum(item is not None for item in (self.source, self.actor, self.ids)) != 1:
            raise ValueError("give exactly one of source, actor, ids")
        return self


class NewQuarantine(TraceRequest):
    """What to take out of recall, with everything that came of it."""

    by: Actor | None = None
    """Who does it."""
    reason: Note | None = None
    """Why, in words."""


class ReleaseRequest(Request):
    """Who brings memories back, and why."""

    by: Actor | None = None
    """Who does it."""
    reason: Note | None = None
    """Why, in words."""
