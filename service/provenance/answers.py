"""What is answered about where memories come from."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from recollect.service.answers import Memory, ProvenanceRecord

EdgeKind = Literal["derived_from", "revision_of", "merged_from", "source"]


class ProvenanceAnswer(Struct, frozen=True, kw_only=True):
    """Where one version came from."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="The version's number along its branch.")]
    branch: Annotated[str, Meta(description="The branch that the version was written on.")]
    position: Annotated[int, Meta(description="The place of its commit in the order.")]
    provenance: Annotated[ProvenanceRecord | None, Meta(description="The record; null where it was erased.")]


class LineageNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version, or a source outside of the store."""

    id: Annotated[str, Meta(description="Its name in this graph: `ID@VERSION`, or the source.")]
    kind: Annotated[Literal["version", "source"], Meta(description="What it is.")]
    memory_id: Annotated[str | None, Meta(description="The memory.")] = None
    version: Annotated[int | None, Meta(description="The version's number along its branch.")] = None
    branch: Annotated[str | None, Meta(description="The branch that the version was written on.")] = None
    namespace: Annotated[str | None, Meta(description="Where it lives.")] = None
    summary: Annotated[str, Meta(description="A few words that stand for the content.")] = ""
    action: Annotated[str | None, Meta(description="What was done.")] = None
    actor: Annotated[str | None, Meta(description="Who did it.")] = None
    time: Annotated[Annotated[datetime, Meta(tz=True)] | None, Meta(description="When.")] = None
    note: Annotated[str | None, Meta(description="Why, in words.")] = None
    confidence: Annotated[float | None, Meta(description="How sure its writer was, or else the memory itself.")] = None
    forgotten: Annotated[bool, Meta(description="True where the memory was forgotten, or this version erased.")] = False
    missing: Annotated[bool, Meta(description="True where the version is named but not in this store.")] = False


class LineageEdge(Struct, frozen=True, kw_only=True):
    """One step from a version to what it came from."""

    child: Annotated[str, Meta(description="The node that came of the other.")]
    parent: Annotated[str, Meta(description="The node that it came from.")]
    kind: Annotated[EdgeKind, Meta(description="In which way.")]


class LineageAnswer(Struct, frozen=True, kw_only=True):
    """What a version came from, what came of it, or both, as a graph."""

    root: Annotated[str, Meta(description="The node that was asked about.")]
    direction: Annotated[Literal["up", "down", "both"], Meta(description="Where it was followed.")]
    nodes: Annotated[list[LineageNode], Meta(description="Nearest first, each once.")]
    edges: Annotated[list[LineageEdge], Meta(description="Each step once.")]
    truncated: Annotated[bool, Meta(description="True where `depth` or `nodes` cut something off.")]


class Certainty(Struct, frozen=True, kw_only=True):
    """How sure a version is, along what it was made of."""

    own: Annotated[float, Meta(description="The confidence of the version itself.")]
    minimum: Annotated[float, Meta(description="The least confidence of all that it came from.")]
    weakest: Annotated[str, Meta(description="The node that has it.")]
    product: Annotated[float, Meta(description="The product of the confidences along the least certain path.")]
    path: Annotated[list[str], Meta(description="That path, from the version to one of its roots.")]


class Relation(Struct, frozen=True, kw_only=True, rename={"origin": "from"}):
    """A typed relation from one memory to another."""

    id: Annotated[str, Meta(description="The relation.")]
    origin: Annotated[str, Meta(description="The memory that it leads from.")]
    to: Annotated[str, Meta(description="The memory that it leads to.")]
    type: Annotated[str, Meta(description="What it says.")]
    note: Annotated[str | None, Meta(description="Why, in words.")]
    actor: Annotated[str, Meta(description="Who related them.")]
    time: Annotated[datetime, Meta(tz=True, description="When.")]
    position: Annotated[int, Meta(description="The place of its commit in the order.")]


class RelationsAnswer(Struct, frozen=True, kw_only=True):
    """The relations of a memory."""

    items: Annotated[list[Relation], Meta(description="In the order they were made.")]


class Given(Struct, frozen=True, kw_only=True):
    """One version that a recall gave out."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="Its version.")]
    score: Annotated[float | None, Meta(description="How well it fitted; null where nothing was searched for.")] = None


class Receipt(Struct, frozen=True, kw_only=True):
    """One recall: who was given what."""

    time: Annotated[datetime, Meta(tz=True, description="When.")]
    actor: Annotated[str, Meta(description="Who asked.")]
    operation: Annotated[str, Meta(description="How: get, search or find_similar.")]
    query_digest: Annotated[str | None, Meta(description="SHA-256 of what was looked for; null where it was an id.")]
    hits: Annotated[int, Meta(description="How many memories the recall gave out in all.")]
    given: Annotated[list[Given], Meta(description="Those kept in the receipt, best first.")]


class ReceiptsAnswer(Struct, frozen=True, kw_only=True):
    """Recalls, newest first."""

    items: Annotated[list[Receipt], Meta(description="The recalls, newest first.")]


class Squash(Struct, frozen=True, kw_only=True):
    """Versions that a retention policy dropped, and what is left of them."""

    time: Annotated[datetime, Meta(tz=True, description="When they were dropped.")]
    versions: Annotated[list[int], Meta(description="Their numbers; each still names its place in the history.")]
    count: Annotated[int, Meta(description="How many they were.")]
    first: Annotated[datetime, Meta(tz=True, description="When the first of them was stored.")]
    last: Annotated[datetime, Meta(tz=True, description="When the last of them was stored.")]
    digest: Annotated[str, Meta(description="SHA-256 of their names, content hashes and records, as sorted JSON.")]


class SquashesAnswer(Struct, frozen=True, kw_only=True):
    """What was dropped of a memory's versions."""

    items: Annotated[list[Squash], Meta(description="Oldest first.")]


class WhyAnswer(Struct, frozen=True, kw_only=True):
    """Why a memory says what it says: everything about it in one answer."""

    root: Annotated[str, Meta(description="The node of the version that was asked about.")]
    memory: Annotated[Memory, Meta(description="That version.")]
    lineage: Annotated[LineageAnswer, Meta(description="What it was made of, up to the roots.")]
    roots: Annotated[list[str], Meta(description="The versions that came of no other.")]
    sources: Annotated[list[str], Meta(description="The sources outside of the store.")]
    certainty: Annotated[Certainty, Meta(description="How sure it is, along the way.")]
    conflicts: Annotated[list[str], Meta(description="The ids of open conflicts about the memory.")]
    relations: Annotated[list[Relation], Meta(description="How it is related to other memories.")]
    receipts: Annotated[list[Receipt], Meta(description="Who was given it, newest first; the last twenty.")]


class BlamedSentence(Struct, frozen=True, kw_only=True):
    """A sentence, and who wrote it last."""

    text: Annotated[str, Meta(description="The sentence, or a line of a JSON content.")]
    version: Annotated[int, Meta(description="The version that brought it.")]
    branch: Annotated[str, Meta(description="The branch that this version was written on.")]
    actor: Annotated[str, Meta(description="Who wrote that version.")]
    time: Annotated[datetime, Meta(tz=True, description="When.")]
    source: Annotated[str | None, Meta(description="From what.")]


class BlameAnswer(Struct, frozen=True, kw_only=True):
    """Which actor and version each sentence of a memory comes from."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="The version whose sentences these are.")]
    branch: Annotated[str, Meta(description="The branch that it was written on.")]
    sentences: Annotated[list[BlamedSentence], Meta(description="In the order of the text.")]
