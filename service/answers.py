"""What the service answers: records shared by HTTP, the command line and Python.

They are msgspec structs, encoded to JSON in C, so that what an answer costs is reading it and not writing it.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Status = Literal["created", "duplicate", "revised", "forgotten"]


class VersionName(Struct, frozen=True, kw_only=True):
    """Names one version of a memory."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="Its number along its branch.")]
    branch: Annotated[str, Meta(description="The branch that the version was written on.")]


class Remembered(Struct, frozen=True, kw_only=True):
    """What became of a write."""

    id: Annotated[str, Meta(description="The memory's id, the same in all its versions.")]
    version: Annotated[int, Meta(description="The version that now stands for it.")]
    status: Annotated[Status, Meta(description="`duplicate` means that exactly this is there already, under this id.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    branch: Annotated[str, Meta(description="The branch that was written.")]
    position: Annotated[int, Meta(description="The commit's place in the order; usable as `as_of`.")]
    durability: Annotated[
        Literal["durable", "relaxed"], Meta(description="`durable` survives a power cut; `relaxed` a killed process.")
    ] = "durable"


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, as RFC 9457 problem details."""

    title: Annotated[str, Meta(description="The kind of problem in words.")]
    status: Annotated[int, Meta(description="The HTTP status.")]
    code: Annotated[str, Meta(description="The kind of problem for programs.")]
    detail: Annotated[str, Meta(description="What is wrong, and what to do.")]
    type: Annotated[str, Meta(description="A URI reference for the kind of problem.")] = "about:blank"
    request_id: Annotated[str | None, Meta(description="Also in the header `X-Request-ID` and in the logs.")] = None
    errors: Annotated[
        list[dict[str, Any]], Meta(description="Each mistake of a request: where, and what is wrong.")
    ] = []
    found: Annotated[Any, Meta(description="In a conflict: what the store holds instead.")] = None


class Refused(Struct, frozen=True, kw_only=True):
    """One memory of a batch that was not stored."""

    error: Annotated[Problem, Meta(description="Why it was not stored.")]


class ProvenanceRecord(Struct, frozen=True, kw_only=True):
    """Where a version came from."""

    action: Annotated[str, Meta(description="What was done: created, revised, imported, forgotten, …")]
    actor: Annotated[str, Meta(description="Who did it.")]
    time: Annotated[datetime, Meta(tz=True, description="When.")]
    level: Annotated[Literal["minimal", "full"], Meta(description="Minimal records hold action, actor and time.")]
    source: Annotated[str | None, Meta(description="From what.")] = None
    derived_from: Annotated[list[VersionName], Meta(description="The versions it was made of.")] = []
    note: Annotated[str | None, Meta(description="Why, in words.")] = None
    confidence: Annotated[float | None, Meta(description="How sure the actor was.")] = None
    schema_version: Annotated[int, Meta(description="The schema of the record.")] = 1


class Memory(Struct, frozen=True, kw_only=True):
    """A memory in one of its versions. Content, metadata and provenance stand only where they were asked for."""

    id: Annotated[str, Meta(description="The memory's id, the same in all its versions.")]
    version: Annotated[int, Meta(description="The version's number along its branch.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    branch: Annotated[str, Meta(description="The branch that this version was written on.")]
    position: Annotated[int, Meta(description="The place of its commit in the order.")]
    key: Annotated[str | None, Meta(description="The user's own name for it.")]
    kind: Annotated[str, Meta(description="episodic, semantic, procedural, working, ghost, or a user's own.")]
    summary: Annotated[str, Meta(description="A few words that stand for the content.")]
    tags: Annotated[tuple[str, ...], Meta(description="Sorted and unique.")]
    importance: Annotated[float, Meta(description="0 to 1.")]
    confidence: Annotated[float, Meta(description="0 to 1.")]
    created_at: Annotated[datetime, Meta(tz=True, description="When the memory came about.")]
    updated_at: Annotated[datetime, Meta(tz=True, description="When this version came about.")]
    expires_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="From when on it is no longer recalled.")
    ]
    content_hash: Annotated[str, Meta(description="SHA-256 of the content; empty when forgotten.")]
    forgotten: Annotated[bool, Meta(description="True in a history where the memory was forgotten.")] = False
    erased: Annotated[bool, Meta(description="True in a history where this version was erased for good.")] = False
    content: Annotated[Any | UnsetType, Meta(description="In the view `full`: the text or JSON value.")] = UNSET
    metadata: Annotated[dict[str, Any] | UnsetType, Meta(description="In the view `full`.")] = UNSET
    provenance: Annotated[ProvenanceRecord | UnsetType | None, Meta(description="When asked for.")] = UNSET
    changes: Annotated[
        list[str] | UnsetType, Meta(description="In a history with `diff`: the lines of a unified diff of the content.")
    ] = UNSET


class MemoryPage(Struct, frozen=True, kw_only=True):
    """Some memories of a longer list."""

    items: Annotated[list[Memory], Meta(description="The memories of this page.")]
    next_cursor: Annotated[str | None, Meta(description="Give it as `cursor` for the next page; null at the end.")]


class HistoryAnswer(Struct, frozen=True, kw_only=True):
    """The versions of a memory, newest first."""

    items: Annotated[list[Memory], Meta(description="The versions, newest first.")]


class ScoreParts(Struct, frozen=True, kw_only=True):
    """What a score was made of."""

    dense: Annotated[float | None, Meta(description="The cosine of the best window.")]
    sparse: Annotated[float | None, Meta(description="The terms' dot product.")]


class Hit(Struct, frozen=True, kw_only=True, gc=False):
    """A memory that a search found.

    Left out of garbage collections, which would otherwise walk every hit of a stream: a hit is made of JSON values,
    which form no cycles.
    """

    score: Annotated[float, Meta(description="How well it fits; the cosine in a search by meaning.")]
    id: Annotated[str, Meta(description="The memory's id.")]
    version: Annotated[int, Meta(description="The version that was found.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    key: Annotated[str | None, Meta(description="The user's own name for it.")]
    kind: Annotated[str, Meta(description="Its kind.")]
    summary: Annotated[str, Meta(description="A few words that stand for the content.")]
    tags: Annotated[tuple[str, ...], Meta(description="Sorted and unique.")]
    created_at: Annotated[datetime, Meta(tz=True, description="When the memory came about.")]
    content: Annotated[Any | UnsetType, Meta(description="In the view `full`.")] = UNSET
    metadata: Annotated[dict[str, Any] | UnsetType, Meta(description="In the view `full`.")] = UNSET
    provenance: Annotated[ProvenanceRecord | UnsetType | None, Meta(description="When asked for.")] = UNSET
    scores: Annotated[ScoreParts | UnsetType, Meta(description="With `explain`.")] = UNSET


class HitsFrame(Struct, frozen=True, kw_only=True, tag_field="frame", tag="hits"):
    """Some hits of a stream; frames come best first."""

    hits: Annotated[list[Hit], Meta(description="The next hits, best first.")]


class EncodedHitsFrames(Struct, frozen=True):
    """One `HitsFrame` or more, whose hits are JSON already: for each frame its objects, joined by commas."""

    batches: tuple[bytes, ...]

    def encode(self) -> list[bytes]:
        """Return each frame as JSON."""
        return [b'{"frame":"hits","hits":[%b]}' % objects for objects in self.batches]


class HeartbeatFrame(Struct, frozen=True, tag_field="frame", tag="heartbeat"):
    """The search still runs."""


class EndFrame(Struct, frozen=True, kw_only=True, tag_field="frame", tag="end"):
    """The stream is complete. A stream without this frame was cut."""

    hits: Annotated[int, Meta(description="How many hits the stream held.")]
    elapsed_ms: Annotated[float, Meta(description="From the request to this frame.")]


class ErrorFrame(Struct, frozen=True, kw_only=True, tag_field="frame", tag="error"):
    """The search failed after it had begun; what came before holds."""

    error: Annotated[Problem, Meta(description="What went wrong.")]


Frame = HitsFrame | HeartbeatFrame | EndFrame | ErrorFrame
"""What a reader of a stream gets."""

SentFrame = Frame | EncodedHitsFrames
"""What is sent: the same, but for hits that are JSON already."""


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """The hits of a search in one piece."""

    hits: Annotated[list[Hit], Meta(description="All of them, best first.")]
    elapsed_ms: Annotated[float, Meta(description="How long the search took.")]


class EncodedSearchAnswer(Struct, frozen=True, kw_only=True):
    """A `SearchAnswer` whose list of hits is JSON already. It encodes to the same JSON."""

    hits: Raw
    elapsed_ms: float


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """What became of each memory of a batch, in its order."""

    results: Annotated[list[Remembered | Refused], Meta(description="One for each memory of the request.")]


class ImportReport(Struct, frozen=True, kw_only=True):
    """What an import did; running it again changes nothing."""

    created: Annotated[int, Meta(description="Memories that are new.")] = 0
    revised: Annotated[int, Meta(description="Memories that have a new version.")] = 0
    duplicate: Annotated[int, Meta(description="Memories that were there already.")] = 0
    refused: Annotated[int, Meta(description="Records that were not stored; `problems` says why.")] = 0
    problems: Annotated[list[Problem], Meta(description="The first hundred problems.")] = []


class StoreFacts(Struct, frozen=True, kw_only=True):
    """The store behind the service."""

    backend: Annotated[str, Meta(description="The kind of store.")]
    location: Annotated[str, Meta(description="Where it is.")]
    memories: Annotated[int, Meta(description="Visible memories of the main branch.")]
    versions: Annotated[int, Meta(description="Versions of all memories, on all branches.")]
    last_position: Annotated[int, Meta(description="The place of the newest commit in the order.")]
    bytes_on_disk: Annotated[int, Meta(description="What the store takes on disk.")]


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """How the service is."""

    status: Annotated[Literal["healthy", "degraded"], Meta(description="`notes` says why it is degraded.")]
    version: Annotated[str, Meta(description="The version of the software.")]
    uptime_s: Annotated[float, Meta(description="Since the service was started.")]
    storage: Annotated[StoreFacts, Meta(description="The store behind the service.")]
    embedder: Annotated[dict[str, Any], Meta(description="Model, runtime, agreement with fp32, queue.")]
    buffer: Annotated[
        dict[str, float],
        Meta(description="Operations buffered, batches flushed, mean flush time, and how much is gathered now."),
    ]
    operations: Annotated[
        dict[str, dict[str, float]], Meta(description="Each operation's count, errors, and times in milliseconds.")
    ]
    notes: Annotated[list[str], Meta(description="What an operator should know; why it is degraded.")]


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Annotated[Literal["alive"], Meta(description="Always so.")] = "alive"


class Ready(Struct, frozen=True):
    """Requests can be served."""

    status: Annotated[Literal["ready"], Meta(description="Always so; a problem is answered otherwise.")] = "ready"
