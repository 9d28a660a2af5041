"""What a commit does to a store, as a function of what the store holds: the same for every engine.

A commit names what must be known (`wanted`), the store answers (`Facts`), and the plan follows from both. A version
that is written takes the place of the memory's last one on its branch, whose point is told so. The points of a memory
that lives on several branches all hold the list of these, with the position of the first version on each: from that,
any lineage can be read.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from recollect.adapters.errors import ConflictError
from recollect.adapters.port import ByContent, ById, ByKey, Commit, ContentIsNew, HeadIs, KeyIs, Selector, VersionIs
from recollect.adapters.qdrant.fields import (
    BRANCH,
    BRANCHES,
    CHANGING,
    CLASS,
    CURRENT,
    FIRST,
    FIRSTS,
    LIVE,
    MEMORY,
    POSITION,
    UNTIL,
    current_on,
)
from recollect.adapters.qdrant.mutations import Mutations, PayloadPatch, PointWrite
from recollect.adapters.qdrant.points import class_of, point_id, write_of
from recollect.adapters.versions import Version, VersionRef, stub_of

STORE_POINT = "00000000-0000-4000-8000-000000000000"
"""The point that keeps the position of a commit without puts; no version's point has this id."""

STORE_CLASS = "store"
LINE_FIELDS = (MEMORY, BRANCH, FIRST)
"""What must be read of points to make lines of them."""


class Line(Struct, frozen=True):
    """The last version of a memory on a branch: its point, and the position of the first one there."""

    point_id: str
    first: int


Lines = Mapping[str, Mapping[str, Line]]
"""By memory id, then by branch."""


class Wanted(Struct, frozen=True):
    """What must be known before a commit can be planned, beside lines and the answers to its preconditions.

    Attributes:
        point_ids: Of which points it is wanted whether they are there.
        erased: Of which versions the whole is wanted, and the fields in `CHANGING` and `FIRST`.
    """

    point_ids: tuple[str, ...]
    erased: tuple[VersionRef, ...]


class Erased(Struct, frozen=True):
    """A version that shall be erased, without content, and the fields of its point that stay."""

    version: Version
    kept: Mapping[str, Any]


class Facts(Struct, frozen=True):
    """What the store holds of what was wanted.

    Attributes:
        found: For each precondition the visible version that its selector names, or the newest position on its branch.
        lines: Of each memory that is there.
        points: All points of the memories that `spreading` named.
        taken: The points of the commit's own versions that are there already.
        erased: What shall be erased, as far as it is there.
        last_position: The newest that was given.
    """

    found: tuple[Version | int | None, ...]
    lines: Lines
    points: Mapping[str, tuple[str, ...]]
    taken: frozenset[str]
    erased: Mapping[VersionRef, Erased]
    last_position: int


class Plan(Struct, frozen=True):
    """What a commit does, and the names of what a later commit may have to wait for."""

    mutations: Mutations
    touches: frozenset[str]


def wanted(commit: Commit) -> Wanted:
    """Return what must be known to plan a commit."""
    return Wanted(
        tuple(point_id(put.version.ref) for put in commit.puts),
        tuple(dict.fromkeys(commit.erases)),
    )


def selector_of(precondition: VersionIs | KeyIs | ContentIsNew) -> Selector:
    """Return what a precondition looks at, from the commit's read point."""
    match precondition:
        case VersionIs(memory_id):
            return ById(memory_id)
        case KeyIs(namespace, key):
            return ByKey(namespace, key)
        case ContentIsNew(namespace, content_hash):
            return ByContent(namespace, content_hash)


def lines_of(points: Iterable[tuple[str, Mapping[str, Any]]]) -> Lines:
    """Return lines from the points, with `LINE_FIELDS`, of versions that are the last on their branch."""
    lines: dict[str, dict[str, Line]] = {}
    for identity, payload in points:
        lines.setdefault(payload[MEMORY], {})[payload[BRANCH]] = Line(identity, int(payload[FIRST]))
    return lines


def spreading(commit: Commit, lines: Lines) -> tuple[str, ...]:
    """Return the memories that are there and get their first version on a further branch: all their points change."""
    return tuple(
        dict.fromkeys(
            put.version.memory_id
            for put in commit.puts
            if put.version.memory_id in lines and put.version.branch not in lines[put.version.memory_id]
        )
    )


def plan(commit: Commit, position: int, facts: Facts) -> Plan:
    """Return what a commit does at a position.

    Args:
        commit: It was validated.
        position: The one it takes.
        facts: What `wanted` and `spreading` asked for.

    Raises:
        ConflictError: A precondition does not hold, a version is there already, one that shall be erased is not, or
            the position is not after the last one.
    """
    _check(commit, position, facts)
    stubs = tuple(_stub(facts.erased[ref]) for ref in dict.fromkeys(commit.erases))
    firsts = _firsts(commit, position, facts)
    writes: list[PointWrite] = []
    replaced: list[str] = []
    for put in commit.puts:
        version = replace(put.version, position=position)
        line = facts.lines.get(version.memory_id, {}).get(version.branch)
        if line is not None:
            replaced.append(line.point_id)
        write = write_of(version, position if line is None else line.first)
        write.payload.update(_marks(firsts[version.memory_id]))
        writes.append(write)
    patches = [PayloadPatch(tuple(replaced), {CURRENT: "", LIVE: [], UNTIL: position})] if replaced else []
    patches += [PayloadPatch(ids, _marks(firsts[memory_id])) for memory_id, ids in facts.points.items() if ids]
    if not commit.puts:
        writes.append(PointWrite(STORE_POINT, {POSITION: position, CLASS: STORE_CLASS}))
    return Plan(Mutations(position, (*stubs, *writes), tuple(patches)), _touches(commit, facts))


def _check(commit: Commit, position: int, facts: Facts) -> None:
    for precondition, answer in zip(commit.preconditions, facts.found, strict=True):
        holds, found = _judge(precondition, answer)
        if not holds:
            raise ConflictError(f"{precondition} does not hold: found {found}", precondition=precondition, found=found)
    for put in commit.puts if facts.taken else ():
        if point_id(put.version.ref) in facts.taken:
            raise ConflictError(f"{put.version.ref} is there already", precondition=None, found=put.version.ref)
    for ref in commit.erases:
        if ref not in facts.erased:
            raise ConflictError(f"{ref} is not there, so it cannot be erased", precondition=None)
    if position <= facts.last_position:
        raise ConflictError(
            f"the position {position} is not after the last one, {facts.last_position}",
            precondition=None,
            found=facts.last_position,
        )


def _judge(
    precondition: VersionIs | KeyIs | ContentIsNew | HeadIs, answer: Version | int | None
) -> tuple[bool, VersionRef | str | int | None]:
    """Return whether a precondition holds, and what was found where it looked."""
    if isinstance(precondition, HeadIs):
        head = answer if isinstance(answer, int) else 0
        return head == precondition.expected, head
    version = answer if isinstance(answer, Version) else None
    ref = None if version is None else version.ref
    match precondition:
        case VersionIs(expected=expected):
            return ref == expected, ref
        case KeyIs(expected=expected):
            holder = None if version is None else version.memory_id
            return holder == expected, holder
        case ContentIsNew():
            return version is None, ref


def _stub(erased: Erased) -> PointWrite:
    stub = stub_of(erased.version)
    write = write_of(stub, int(erased.kept[FIRST]))
    write.payload.update({name: erased.kept[name] for name in CHANGING if name in erased.kept})
    if write.payload[CURRENT]:
        write.payload[CURRENT] = current_on(stub.branch, class_of(stub))
    else:
        write.payload[LIVE] = []
    return write


def _firsts(commit: Commit, position: int, facts: Facts) -> dict[str, dict[str, int]]:
    """Return, for each memory that is written, the branches that it lives on after the commit, and since when."""
    firsts: dict[str, dict[str, int]] = {}
    for put in commit.puts:
        version = put.version
        known = firsts.setdefault(
            version.memory_id,
            {branch: line.first for branch, line in facts.lines.get(version.memory_id, {}).items()},
        )
        known.setdefault(version.branch, position)
    return firsts


def _marks(firsts: Mapping[str, int]) -> dict[str, Any]:
    if len(firsts) == 1:
        return {}
    return {
        BRANCHES: sorted(firsts),
        FIRSTS: [{BRANCH: branch, FIRST: firsts[branch]} for branch in sorted(firsts)],
    }


# --- Which commits may be planned side by side ---


def _touches(commit: Commit, facts: Facts) -> frozenset[str]:
    names: set[str] = set()
    for put in commit.puts:
        version = put.version
        names |= {
            f"memory {version.memory_id}",
            f"head {version.branch}",
            _name("content", version.namespace, version.content_hash),
        }
        if version.key is not None:
            names.add(_name("key", version.namespace, version.key))
    names.update(f"memory {ref.memory_id}" for ref in facts.erased)
    return frozenset(names)


def must_wait(commit: Commit, pending: Collection[Plan]) -> bool:
    """Say whether a commit looks at what planned commits write, so that these must be applied before it is planned.

    A commit that is refused because of what a planned one is about to change comes, as far as anyone can tell, before
    it; what must not happen is that one is let through by what is about to change.
    """
    needs: set[str] = {f"memory {put.version.memory_id}" for put in commit.puts}
    needs.update(f"memory {ref.memory_id}" for ref in commit.erases)
    for precondition in commit.preconditions:
        match precondition:
            case VersionIs(memory_id):
                needs.add(f"memory {memory_id}")
            case KeyIs(namespace, key, expected):
                needs |= {_name("key", namespace, key), f"memory {expected}"}
            case ContentIsNew(namespace, content_hash):
                needs.add(_name("content", namespace, content_hash))
            case HeadIs(branch):
                needs.add(f"head {branch}")
    return any(not needs.isdisjoint(other.touches) for other in pending)


def _name(kind: str, *parts: str) -> str:
    return f"{kind} {len(parts[0])} {' '.join(parts)}"
