"""What callers say about erasing."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from recollect.service.requests import JsonObject, MemoryId, Namespace, Request

Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
SELECTORS = ("ids", "key", "source", "document", "actor", "session", "filters")


class ErasureRequest(Request):
    """What to erase, named in exactly one way. Without `confirm` it is only planned."""

    ids: list[MemoryId] | None = Field(default=None, min_length=1, max_length=10_000)
    """These memories, in all their versions on all branches."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Or the memory under this key of yours, likewise."""
    namespace: Namespace = "longterm"
    """The namespace of the key."""
    source: Text | None = None
    """Or every version from exactly this source, and what went on from it."""
    document: Text | None = None
    """Or every version from this document: the source `document:ID`, whatever the position in it."""
    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Or every version that this actor wrote."""
    session: Text | None = None
    """Or every version of this session: the source `session:ID`, or the same in `metadata.session`."""
    filters: JsonObject | None = None
    """Or every version that the filter matches."""
    derived: Literal["keep", "flag", "erase"] = "flag"
    """What to do with other memories that were made of these: keep them, tag them `source-erased`, or erase them."""
    requested_by: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who asks for it; the receipt says so."""
    confirm: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The `digest` of the plan that you have read: exactly that is erased, or nothing if the plan is another by now."""
    compact: Literal["now", "later"] = "now"
    """`now` answers when no byte is left in the store's files; `later` lets that go on in the background."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if sum(getattr(self, name) is not None for name in SELECTORS) != 1:
            raise ValueError(f"give exactly one of {', '.join(SELECTORS)}")
        return self
