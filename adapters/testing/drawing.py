"""What the state machine draws from the state that it has reached."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import (
    BranchSpan,
    Commit,
    ContentIsNew,
    HeadIs,
    KeyIs,
    Order,
    Precondition,
    Projection,
    Put,
    ReadPoint,
    Scan,
    Segment,
    SimilarityQuery,
    VersionIs,
)
from recollect.adapters.testing import strategies
from recollect.adapters.testing.side_by_side import SideBySide
from recollect.adapters.testing.values import (
    EVERYTHING,
    NOW_MS,
    a_version,
    content_hash,
    cursor_after,
    memory_id,
    refs,
    tombstone_of,
)
from recollect.adapters.versions import Version

MEMORIES_MAX = 30
PROJECTIONS = (Projection(), Projection(content=True), EVERYTHING)
BATCH_SIZES = (1, 2, 7, 256)
LIMITS = (None, None, None, 0, 1, 3)
FILTERS = st.one_of(st.none(), st.none(), strategies.filters())
"""Mostly none: an answer that is empty tells little."""


def a_branch(data: st.DataObject, both: SideBySide) -> str:
    """Draw a branch that is there."""
    return data.draw(st.sampled_from(sorted(both.lineages)), label="branch")


def a_read_point(data: st.DataObject, both: SideBySide) -> ReadPoint:
    """Draw a branch, perhaps as of an earlier position, perhaps at a moment that decides about expiry."""
    lineage = both.lineages[a_branch(data, both)]
    positions = both.positions()
    earlier = data.draw(st.sampled_from((False, False, True)), label="as of an earlier position")
    if positions and earlier:
        as_of: int = data.draw(st.sampled_from(positions)) - data.draw(st.sampled_from((0, 1)))
        lineage = tuple(BranchSpan(span.branch, min(span.up_to, as_of)) for span in lineage)
    return ReadPoint(lineage, data.draw(st.sampled_from((None, None, None, *strategies.MOMENTS_MS)), label="at_ms"))


def a_memory_id(data: st.DataObject, both: SideBySide) -> str:
    """Draw the id of a memory that was made, or of the next one."""
    return memory_id(data.draw(st.integers(0, both.memories), label="memory"))


def some_namespaces(data: st.DataObject) -> tuple[str, ...] | None:
    """Draw the namespaces of a read: none given, or some, or no one."""
    several = st.lists(st.sampled_from(strategies.NAMESPACES), unique=True).map(tuple)
    return data.draw(st.one_of(st.none(), st.just(strategies.NAMESPACES), several), label="namespaces")


def some_segments(data: st.DataObject, both: SideBySide) -> tuple[Segment, ...] | None:
    """Draw stretches of branches: mostly none given, or a few that may overlap or hold nothing."""
    bounds = st.sampled_from([0, *both.positions(), POSITION_MAX])
    branches = st.sampled_from((*sorted(both.lineages), "no such branch"))
    several = st.lists(st.builds(Segment, branches, bounds, bounds), max_size=3).map(tuple)
    return data.draw(st.one_of(st.none(), st.none(), several), label="segments")


def a_scan(data: st.DataObject, both: SideBySide) -> Scan:
    """Draw a walk over versions, perhaps from a cursor on."""
    order = data.draw(st.sampled_from(Order), label="order")
    everywhere = data.draw(st.booleans(), label="everywhere")
    return Scan(
        read_point=None if everywhere else a_read_point(data, both),
        namespaces=some_namespaces(data),
        filter=data.draw(FILTERS, label="filter"),
        segments=some_segments(data, both),
        order=order,
        descending=data.draw(st.booleans(), label="descending"),
        after=data.draw(
            st.sampled_from([None, *(cursor_after(version, order) for version in both.versions)]), label="after"
        ),
        limit=data.draw(st.sampled_from(LIMITS), label="limit"),
        batch_size=data.draw(st.sampled_from(BATCH_SIZES), label="batch size"),
        projection=data.draw(st.sampled_from(PROJECTIONS), label="projection"),
    )


def some_queries(data: st.DataObject, both: SideBySide) -> list[SimilarityQuery]:
    """Draw a search by meaning and by terms, and return it with the two searches that use only one of them."""
    fused = SimilarityQuery(
        read_point=a_read_point(data, both),
        dense=data.draw(strategies.dense_vectors(), label="dense"),
        sparse=data.draw(strategies.sparse_vectors(), label="sparse"),
        namespaces=some_namespaces(data),
        filter=data.draw(FILTERS, label="filter"),
        limit=data.draw(st.sampled_from(LIMITS), label="limit"),
        threshold=data.draw(st.sampled_from((None, None, 0.6, 0.02, 1.0)), label="threshold"),
        candidates=data.draw(st.sampled_from((None, None, 1, 3)), label="candidates"),
        batch_size=data.draw(st.sampled_from(BATCH_SIZES), label="batch size"),
        projection=data.draw(st.sampled_from(PROJECTIONS), label="projection"),
    )
    return [fused, replace(fused, sparse=None), replace(fused, dense=None)]


def a_commit(data: st.DataObject, both: SideBySide) -> Commit:
    """Draw a commit of several puts, mostly on one branch, with preconditions that may or may not hold."""
    branch = a_branch(data, both)
    puts: dict[tuple[str, str], Put] = {}
    for _ in range(data.draw(st.integers(1, 5), label="puts")):
        on = data.draw(st.sampled_from((branch, branch, *sorted(both.lineages))), label="on")
        put = _a_put(data, both, on)
        puts.setdefault((put.version.memory_id, put.version.branch), put)
    read_point = ReadPoint(both.lineages[branch], data.draw(st.sampled_from((None, NOW_MS + 10)), label="at_ms"))
    kinds = st.lists(st.sampled_from(("version", "key", "content", "head")), max_size=2)
    return Commit(
        puts=tuple(puts.values()),
        preconditions=tuple(
            _a_precondition(data, both, kind, read_point) for kind in data.draw(kinds, label="preconditions")
        ),
        read_point=read_point,
        durability=data.draw(st.sampled_from(("durable", "relaxed")), label="durability"),
    )


def a_commit_of_a_ref_again(data: st.DataObject, both: SideBySide) -> Commit:
    """Draw a commit in the midst of which stands a ref that is taken."""
    taken = data.draw(st.sampled_from(both.versions), label="taken")
    fresh = [Put(a_version(both.memories + step)) for step in (1, 2)]
    return Commit(puts=(fresh[0], Put(replace(taken, position=0)), fresh[1]), read_point=ReadPoint.main())


def an_erasing_commit(data: st.DataObject, both: SideBySide) -> Commit:
    """Draw a commit that erases a few versions, some of them perhaps erased already, and puts others."""
    commit = a_commit(data, both)
    there = refs(both.versions)
    erases = tuple(data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=4), label="erases"))
    return replace(commit, erases=erases, preconditions=())


def _a_put(data: st.DataObject, both: SideBySide, branch: str) -> Put:
    """Draw a new memory, a change of one (also of one that is not visible here), or a tombstone."""
    kinds = ["create"] * (both.memories < MEMORIES_MAX) + ["change", "change", "forget"] * (both.memories > 0)
    kind = data.draw(st.sampled_from(kinds), label="kind of put")
    fields: dict[str, Any] = data.draw(strategies.version_fields(), label="fields") | {"branch": branch}
    if kind == "create":
        both.memories += 1
        namespace = data.draw(st.sampled_from(strategies.NAMESPACES), label="namespace")
        key = data.draw(st.sampled_from(strategies.KEYS), label="key")
        return Put(a_version(both.memories - 1, namespace=namespace, key=key, **fields))
    name = memory_id(data.draw(st.integers(0, both.memories - 1), label="memory"))
    seen = both.visible(ReadPoint(both.lineages[branch])).get(name)
    number = both.next_number(name, branch)
    if seen is not None and kind == "forget":
        put = tombstone_of(seen, branch=branch)
        return replace(put, version=replace(put.version, number=number))
    # The first version may be a stub by now, which the change is not.
    changed = replace(_first_of(both, name), **_consistent(fields), number=number, forgotten=False)
    return Put(changed, supersedes=seen.ref if seen else None)


def _first_of(both: SideBySide, name: str) -> Version:
    """Return a memory's first version, for what is fixed for its life; a new one if none was committed."""
    known = [version for version in both.versions if version.memory_id == name]
    return known[0] if known else a_version(0, memory_id=name)


def _consistent(fields: dict[str, Any]) -> dict[str, Any]:
    """Return drawn fields with those that follow from them."""
    content = fields["content"]
    return fields | {"content_hash": content_hash(content), "summary": content[:5], "position": 0}


def _a_precondition(data: st.DataObject, both: SideBySide, kind: str, read_point: ReadPoint) -> Precondition:
    """Draw a precondition; what it expects is often what is there."""
    namespace = data.draw(st.sampled_from(strategies.NAMESPACES), label="namespace")
    made = [memory_id(number) for number in range(both.memories)]
    if kind == "version":
        name = a_memory_id(data, both)
        seen = both.visible(read_point).get(name)
        expected = [seen.ref if seen else None] * 4
        return VersionIs(name, data.draw(st.sampled_from([*expected, None, *refs(both.versions)]), label="expected"))
    if kind == "key":
        key = data.draw(st.sampled_from([key for key in strategies.KEYS if key]), label="key")
        return KeyIs(namespace, key, data.draw(st.sampled_from([None, None, *made]), label="expected"))
    if kind == "content":
        return ContentIsNew(namespace, content_hash(data.draw(st.sampled_from(strategies.CONTENTS), label="content")))
    heads = [0, *both.positions()[-2:]]
    return HeadIs(a_branch(data, both), data.draw(st.sampled_from(heads), label="expected"))
