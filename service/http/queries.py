"""Query parameters, as models: every one described, and an unknown one refused."""

from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from recollect.adapters.errors import FilterError
from recollect.service.requests import (
    AsOf,
    ListRequest,
    MemoryId,
    Name,
    Namespace,
    ProvenanceInput,
    ReadOptions,
    Request,
    View,
)

_filters = TypeAdapter(dict[str, JsonValue])

PathMemoryId = Annotated[
    MemoryId, Path(description="The memory's id.", examples=["0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"])
]


class ReadQuery(Request):
    """How much of a memory to answer, and from where to look."""

    view: View = "summary"
    """`summary` is fast; `full` adds content and metadata."""
    include: list[Literal["provenance"]] = Field(default_factory=list, max_length=8)
    """`provenance` adds where the version came from."""
    branch: Name = "main"
    """The branch to look from."""
    as_of: AsOf | None = None
    """A time (RFC 3339; write `+` as `%2B`) or a commit position: answer with what the store held then."""
    actor: str | None = Field(default=None, min_length=1, max_length=256)
    """Who asks, as the recall's receipt shall say."""

    def options(self) -> ReadOptions:
        """Return what the service takes."""
        return ReadOptions(
            view=self.view,
            include_provenance=bool(self.include),
            branch=self.branch,
            as_of=self.as_of,
            actor=self.actor,
        )


class HistoryQuery(ReadQuery):
    """How much of each version to answer."""

    diff: bool = False
    """Adds to each version what it changed in the content, as the lines of a unified diff."""


class ListQuery(ReadQuery):
    """A page of memories, or the one under a key."""

    key: str | None = Field(default=None, min_length=1, max_length=512)
    """Only the memory under this key of yours, in the namespace given, or `longterm`: a list of none or one."""
    namespace: list[Namespace] = Field(default_factory=list, max_length=100)
    """Only these namespaces (repeat it for several); all of the users' namespaces if not given."""
    filters: str | None = Field(default=None, max_length=16_384, examples=['{"tags": {"any": ["travel"]}}'])
    """The filter language, as JSON."""
    order: Literal["stored", "created_at"] = "stored"
    """By when they were stored, or (a timeline) by when they came about."""
    descending: bool = True
    """Newest first."""
    limit: int = Field(default=50, ge=1, le=1000)
    """How many at most."""
    cursor: str | None = Field(default=None, max_length=1024)
    """`next_cursor` of the page before."""

    def request(self) -> ListRequest:
        """Return what the service takes.

        Raises:
            FilterError: `filters` is no JSON object.
        """
        return ListRequest(
            **self.options().model_dump(),
            namespaces=self.namespace or None,
            filters=parse_filters(self.filters),
            order=self.order,
            descending=self.descending,
            limit=self.limit,
            cursor=self.cursor,
        )


class ForgetQuery(Request):
    """Who forgets a memory, and why."""

    branch: Name = "main"
    """The branch to forget it on."""
    actor: str | None = Field(default=None, min_length=1, max_length=256)
    """Who forgets it."""
    source: str | None = Field(default=None, min_length=1, max_length=2048)
    """On what grounds: a URI or an id."""
    note: str | None = Field(default=None, max_length=4096)
    """Why, in words."""

    def provenance(self) -> ProvenanceInput:
        """Return what the service takes."""
        return ProvenanceInput(actor=self.actor, source=self.source, note=self.note)


class ExportQuery(Request):
    """What to export."""

    branch: Name = "main"
    """The branch to export."""
    as_of: AsOf | None = None
    """A time (RFC 3339) or a commit position: export what the store held then."""
    namespace: list[Namespace] = Field(default_factory=list, max_length=100)
    """Only these namespaces (repeat it for several); all of the users' namespaces if not given."""
    filters: str | None = Field(default=None, max_length=16_384, examples=['{"kind": "episodic"}'])
    """The filter language, as JSON."""
    format: Literal["jsonl", "prov"] = "jsonl"
    """`prov` gives the provenance of all versions on all branches as one PROV-JSON document; it takes no filters."""


class PatchQuery(Request):
    """Where to revise a memory."""

    branch: Name | None = None
    """The branch to revise it on, if the body does not say."""


def parse_filters(text: str | None) -> dict[str, JsonValue] | None:
    """Return filters from their JSON; None for None.

    Raises:
        FilterError: It is no JSON object.
    """
    if text is None:
        return None
    try:
        return _filters.validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise FilterError(f'filters is no JSON object ({reason}); give one such as {{"kind": "episodic"}}') from error
