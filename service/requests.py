"""What callers say: validated words shared by HTTP, the command line and Python.

Requests are pydantic models, which report every mistake at once. Answers are in `recollect.service.answers`.
"""

import re
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, Literal, Self

from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

NAMESPACE_NAME = re.compile(r"[^\W_][\w.:/@+-]{0,127}\Z")
"""Letters, digits and `_ . : / @ + -`; a leading underscore is the system's."""

View = Literal["summary", "full"]
Durability = Literal["durable", "relaxed"]

Namespace = Annotated[str, Field(max_length=128, description="Where the memory lives.", examples=["longterm"])]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
Fraction = Annotated[float, Field(ge=0, le=1)]
MemoryId = Annotated[
    str,
    StringConstraints(
        to_lower=True, pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
    ),
]


def _zoned(value: Any) -> Any:
    """Refuse a time without a zone, which two machines would read differently."""
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"the time {value.isoformat()} has no zone; add one, such as 'Z' for UTC")
    if isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004 - pydantic reports a ValueError as a mistake of the caller
            "a time is RFC 3339 text such as 2026-01-31T12:00:00Z, not a number"
        )
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(f"the time {value} has no zone; add one, such as 'Z' for UTC")
        return moment
    return value


INTEGER_MAX = 2**63 - 1
BATCH_MEMORIES_MAX = 10_000
"""More than any setting allows; it bounds what a batch may cost before it is refused."""


def _plain(value: Any) -> Any:
    """Refuse numbers that JSON cannot say (NaN, infinity) or that stores cannot hold."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, float) and not isfinite(item):
            raise ValueError("NaN and infinity are no JSON numbers; leave the field out, or write null or a text")
        elif isinstance(item, int) and not -INTEGER_MAX <= item <= INTEGER_MAX:
            raise ValueError("an integer has at most 63 bits; write a larger one as a text")
    return value


Json = Annotated[JsonValue, AfterValidator(_plain)]
"""Any JSON value with finite numbers."""
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_plain)]
"""A JSON object with finite numbers."""
Moment = Annotated[datetime, BeforeValidator(_zoned), Field(examples=["2026-11-21T09:00:00Z"])]
AsOf = Annotated[
    Moment | Annotated[int, Field(ge=0, le=2**53 - 1)],
    Field(description="A time (RFC 3339) or a commit position: answer with what the store held then."),
]


class Request(BaseModel):
    """The base of all requests: unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, frozen=True)


class VersionReference(Request):
    """Names one version of a memory."""

    id: MemoryId
    """The memory."""
    version: int | None = Field(default=None, ge=1)
    """Its version; the current one if not given."""
    branch: Name = "main"
    """The branch that the version was written on."""


class ProvenanceInput(Request):
    """Where a memory comes from, as its writer says."""

    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who writes it: a person, an agent, a program."""
    source: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    """From what: a URI, or an id in the form `message:ID`, `document:ID#position`, `commit:ID`."""
    derived_from: list[MemoryId | VersionReference] = Field(default_factory=list, max_length=1000)
    """The memories it was made of: ids (their current version), or exact versions."""
    note: str | None = Field(default=None, max_length=4096)
    """Why, in words."""
    confidence: Fraction | None = None
    """How sure the writer is."""


class NewMemory(Request):
    """A memory to store."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "content": "Ana prefers the window seat on night trains.",
                    "namespace": "longterm",
                    "tags": ["travel", "ana"],
                    "provenance": {"actor": "assistant", "source": "message:8123"},
                }
            ]
        }
    )

    content: Json
    """What to remember: text, or any JSON value."""
    summary: str | None = Field(default=None, min_length=1, max_length=2000)
    """A few words that stand for it; the most central sentences are taken if not given."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Your own name for it, unique in its namespace. Storing other content under the same key revises the memory."""
    namespace: Namespace = "longterm"
    kind: Name = "semantic"
    """`episodic`, `semantic`, `procedural`, `working` (bounded), `ghost` (expires), or a kind of your own."""
    tags: list[Tag] = Field(default_factory=list, max_length=256)
    """Words to filter by; stored sorted, each once."""
    metadata: JsonObject = Field(default_factory=dict)
    """Your own fields, which filters reach as `metadata.<path>`."""
    importance: Fraction = 0.5
    """How much it matters, 0 to 1."""
    confidence: Fraction = 1.0
    """How sure it is, 0 to 1."""
    created_at: Moment | None = None
    """When it came about, if not now."""
    expires_at: Moment | None = None
    """From when on it is no longer recalled."""
    branch: Name = "main"
    """The branch to store it on."""
    track_provenance: bool | None = None
    """True keeps the full record, false only actor, action and time; the namespace's policy decides if not given."""
    provenance: ProvenanceInput = Field(default_factory=ProvenanceInput)
    """Where it comes from."""
    vector: list[float] | None = Field(default=None, max_length=65_536)
    """The embedding, if you have it already: as many numbers as the store's model gives."""
    durability: Durability = "durable"
    """`durable` survives a power cut once acknowledged; `relaxed` survives a killed process only."""

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None or (isinstance(self.content, str) and not self.content.strip()):
            raise ValueError("content is empty; give the text to remember")
        return self


class Revision(Request):
    """Changes to a memory: what is not given stays as it is."""

    content: Json | None = None
    """What to remember from now on: text, or any JSON value."""
    summary: str | None = Field(default=None, min_length=1, max_length=2000)
    """Made anew when the content changes and none is given."""
    kind: Name | None = None
    """Another kind."""
    tags: list[Tag] | None = Field(default=None, max_length=256)
    """Words to filter by, in place of all that were there."""
    metadata: JsonObject | None = None
    """Your own fields, in place of all that were there."""
    importance: Fraction | None = None
    """How much it matters, 0 to 1."""
    confidence: Fraction | None = None
    """How sure it is, 0 to 1."""
    expires_at: Moment | None = None
    """From when on it is no longer recalled; null takes an expiry away."""
    branch: Name = "main"
    """The branch to revise it on."""
    track_provenance: bool | None = None
    """True keeps the full record, false only actor, action and time; the namespace's policy decides if not given."""
    provenance: ProvenanceInput = Field(default_factory=ProvenanceInput)
    """Where the change comes from."""
    vector: list[float] | None = Field(default=None, max_length=65_536)
    """The embedding of the new content, if you have it already."""
    durability: Durability = "durable"
    """`durable` survives a power cut once acknowledged; `relaxed` survives a killed process only."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set & {
            "content", "summary", "kind", "tags", "metadata", "importance", "confidence", "expires_at",
        }:  # fmt: skip
            raise ValueError("nothing to change; give content, summary, kind, tags, metadata or another field")
        return self


class ImportedMemory(NewMemory):
    """A memory as an export wrote it."""

    id: MemoryId | None = None
    """The id it had; it keeps it."""


class InvalidMemory(Struct, frozen=True, eq=False):
    """Stands in a batch for a memory that is not valid, so that the others can be stored."""

    mistakes: ValidationError


def _keep_mistakes(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as mistakes:
        return InvalidMemory(mistakes)


BatchItem = Annotated[NewMemory, WrapValidator(_keep_mistakes)]
"""A new memory, or an `InvalidMemory` in its place."""


class MemoryBatch(Request):
    """Memories to store together."""

    memories: list[BatchItem] = Field(min_length=1, max_length=BATCH_MEMORIES_MAX)
    """The memories, as many as the service's setting `batch_memories_max` allows."""
    atomic: bool = False
    """True stores all or none; false stores each for itself and reports each."""


class ReadOptions(Request):
    """How much of a memory to answer, and from where to look."""

    view: View = "summary"
    """`summary` is fast; `full` adds content and metadata."""
    include_provenance: bool = False
    """Adds where the version came from."""
    branch: Name = "main"
    """The branch to look from."""
    as_of: AsOf | None = None
    """A time (RFC 3339) or a commit position: answer with what the store held then."""
    actor: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who asks, as the recall's receipt shall say."""


class ListRequest(ReadOptions):
    """A page of memories in order."""

    namespaces: list[Namespace] | None = None
    """Only these; all of the users' namespaces if not given."""
    filters: JsonObject | None = None
    """The filter language of the documentation."""
    order: Literal["stored", "created_at"] = "stored"
    """By when they were stored, or (a timeline) by when they came about."""
    descending: bool = True
    """Newest first."""
    limit: int = Field(default=50, ge=1, le=1000)
    """How many at most."""
    cursor: str | None = Field(default=None, max_length=1024)
    """`next_cursor` of the page before."""


class SearchRequest(ReadOptions):
    """A search by meaning."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "where does Ana like to sit?", "filters": {"tags": {"any": ["travel"]}}, "limit": 5}]
        }
    )

    text: str | None = Field(default=None, min_length=1, max_length=100_000)
    """What to look for, in words."""
    vector: list[float] | None = Field(default=None, max_length=65_536)
    """Or its embedding."""
    memory_id: MemoryId | None = None
    """Or a memory: what is similar to it, itself left out."""
    namespaces: list[Namespace] | None = None
    """Only these; all of the users' namespaces if not given."""
    filters: JsonObject | None = Field(
        default=None, examples=[{"AND": [{"kind": "episodic"}, {"importance": {"gte": 0.5}}]}]
    )
    """The filter language of the documentation."""
    limit: int | None = Field(default=10, ge=1, le=1_000_000)
    """At most so many; null streams everything, best first (`find_similar` only)."""
    threshold: float | None = Field(default=None, ge=-1, le=1)
    """Only scores of at least this."""
    batch_size: int = Field(default=64, ge=1, le=1000)
    """How many hits a frame of the stream holds at most."""
    explain: bool = False
    """Adds the parts of each score."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if sum(item is not None for item in (self.text, self.vector, self.memory_id)) != 1:
            raise ValueError("give exactly one of text, vector or memory_id")
        return self
