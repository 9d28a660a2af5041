"""What commits need to know before they are written, and what they then write.

Commits that wait are written together as long as none needs to see what another one writes. What a commit looks at or
writes is therefore named (`needs`), and a commit whose names meet those of an earlier one waits for the next group.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace
from qdrant_client import models

from recollect.adapters.clock import next_position
from recollect.adapters.errors import ConflictError
from recollect.adapters.port import (
    ByContent,
    ById,
    ByKey,
    Commit,
    ContentIsNew,
    HeadIs,
    KeyIs,
    Precondition,
    Projection,
    Selector,
    VersionIs,
)
from recollect.adapters.qdrant.fields import (
    BRANCH,
    BRANCHES,
    CURRENT,
    FIRST,
    FIRSTS,
    LIVE,
    MEMORY,
    POSITION,
    UNTIL,
    current_on,
)
from recollect.adapters.qdrant.mutations import PointWrite
from recollect.adapters.qdrant.points import class_of, point_id, write_of
from recollect.adapters.qdrant.server import selecting, stored
from recollect.adapters.qdrant.server.intents import SPREAD_AT, Intent, Spread, Superseded, branches_of
from recollect.adapters.qdrant.server.lookups import Lookup
from recollect.adapters.qdrant.server.selecting import ERASED_AT
from recollect.adapters.qdrant.server.stored import Found
from recollect.adapters.versions import Version, VersionRef, stub_of

Name = tuple[str, ...]
Answer = Sequence[Found]
KEPT_FIELDS = [CURRENT, UNTIL, FIRST, BRANCHES, FIRSTS, SPREAD_AT, ERASED_AT]
"""What a stub keeps of the payload of the version that it stands for."""

LINES_MAX = 100_000


def needs(commit: Commit) -> set[Name]:
    """Return the names of all that a commit looks at or writes."""
    names: set[Name] = {("memory", ref.memory_id) for ref in commit.erases}
    for put in commit.puts:
        version = put.version
        names |= {("memory", version.memory_id), ("branch", version.branch)}
        if version.content_hash:
            names.add(("content", version.namespace, version.content_hash))
        if version.key is not None:
            names.add(("key", version.namespace, version.key))
    for precondition in commit.preconditions:
        match precondition:
            case VersionIs(memory_id):
                names.add(("memory", memory_id))
            case KeyIs(namespace, key, expected):
                names.add(("key", namespace, key))
                if expected is not None:
                    names.add(("memory", expected))
            case ContentIsNew(namespace, content_hash):
                names.add(("content", namespace, content_hash))
            case HeadIs(branch):
                names.add(("head", branch))
    return names


class Written(Struct):
    """What there is of the versions and memories that a group of commits writes; no two of them write the same.

    Attributes:
        taken: Those of their points that are there.
        newest: The last point of each memory on each branch.
        firsts: Since when each memory lives on which branch. A plan adds to it what it writes.
    """

    taken: set[str]
    newest: dict[tuple[str, str], str]
    firsts: dict[str, dict[str, int]]

    @classmethod
    def requests(cls, commits: Iterable[Commit]) -> list[models.QueryRequest]:
        """Return the questions: none where nothing is put."""
        versions = [put.version for commit in commits for put in commit.puts]
        if not versions:
            return []
        taken = selecting.by_ids([point_id(version.ref) for version in versions])
        newest = selecting.newest_of(sorted({version.memory_id for version in versions}))
        fields = [MEMORY, BRANCH, FIRST]
        return [
            models.QueryRequest(filter=taken, limit=len(versions), with_payload=False),
            models.QueryRequest(filter=newest, limit=LINES_MAX, with_payload=fields),
        ]

    @classmethod
    def read(cls, answers: Sequence[Answer]) -> "Written":
        """Read the answers."""
        found = cls(set(), {}, {})
        for point in answers[0] if answers else ():
            found.taken.add(point.id)
        for point in answers[1] if answers else ():
            memory, branch = point.payload[MEMORY], point.payload[BRANCH]
            found.newest[memory, branch] = point.id
            found.firsts.setdefault(memory, {})[branch] = int(point.payload[FIRST])
        return found


class Facts:
    """What one commit needs to know of the store besides, as questions and then as answers."""

    def __init__(self, commit: Commit, dimension: int) -> None:
        """Prepare the questions."""
        self._commit = commit
        self._dimension = dimension
        self._ids = [point_id(put.version.ref) for put in commit.puts]
        self._erased = [point_id(ref) for ref in dict.fromkeys(commit.erases)]
        self._asked = [_selector(one) for one in commit.preconditions]
        selectors = [one for one in self._asked if one is not None]
        self._lookup = Lookup(selectors, commit.read_point, Projection(), dimension)
        self._branches = [one.branch for one in commit.preconditions if isinstance(one, HeadIs)]

    def requests(self, cap: int) -> list[models.QueryRequest]:
        """Return the questions, as of a cap."""
        requests = [*self._lookup.requests(cap), *(_head_of(branch, cap) for branch in self._branches)]
        if self._erased:
            fields = [*stored.payload_fields(Projection()), *KEPT_FIELDS]
            erased = selecting.by_ids(self._erased)
            requests.append(models.QueryRequest(filter=erased, limit=len(self._erased), with_payload=fields))
        return requests

    def is_cut(self, answers: Sequence[Answer]) -> bool:
        """Say whether the store must be asked for more."""
        return self._lookup.is_cut(answers[: self._lookup.count])

    def judge(self, answers: Sequence[Answer], written: Written) -> None:
        """Compare the preconditions with the answers.

        Raises:
            ConflictError: One does not hold, a version with the same ref is there, or one to be erased is not.
        """
        count = self._lookup.count
        found = iter(self._lookup.found(answers[:count]))
        heads = iter(answers[count : count + len(self._branches)])
        for precondition, selector in zip(self._commit.preconditions, self._asked, strict=True):
            version = next(found) if selector is not None else None
            head = next(heads) if selector is None else ()
            holds, seen = _holds(precondition, version, head)
            if not holds:
                raise ConflictError(
                    f"{precondition} does not hold: the store has {seen}", precondition=precondition, found=seen
                )
        for put, identity in zip(self._commit.puts, self._ids, strict=True):
            if identity in written.taken:
                raise ConflictError(f"{put.version.ref} is there already", precondition=None, found=put.version.ref)
        there = {str(point.id) for point in self._held(answers)}
        for ref in self._commit.erases:
            if point_id(ref) not in there:
                raise ConflictError(f"{ref} is not there, so it cannot be erased", precondition=None)

    def _held(self, answers: Sequence[Answer]) -> Answer:
        """Return the points of the versions that shall be erased."""
        return answers[-1] if self._erased else ()

    def plan(self, answers: Sequence[Answer], written: Written, position: int) -> Intent:
        """Return what the commit writes at a position."""
        stubs = [self._stub(point, position) for point in self._held(answers)]
        newest, firsts = written.newest, written.firsts
        spread: set[str] = set()
        for put in self._commit.puts:
            version = put.version
            line = firsts.setdefault(version.memory_id, {})
            if line and version.branch not in line:
                spread.add(version.memory_id)
            line.setdefault(version.branch, position)
        inserts = [_insert(put.version, position, firsts[put.version.memory_id]) for put in self._commit.puts]
        lines = [(put.version.memory_id, put.version.branch) for put in self._commit.puts]
        return Intent(
            inserts=inserts,
            stubs=stubs,
            superseded=[Superseded(newest[line], position) for line in lines if line in newest],
            spreads=[Spread(memory_id, position, firsts[memory_id]) for memory_id in sorted(spread)],
        )

    def _stub(self, point: Found, position: int) -> PointWrite:
        [version] = stored.versions_of([point], Projection(), self._dimension)
        payload = point.payload
        stub = stub_of(version)
        write = write_of(stub, int(payload[FIRST]))
        write.payload.update({name: payload[name] for name in KEPT_FIELDS if name in payload})
        if write.payload[CURRENT]:
            write.payload[CURRENT] = current_on(stub.branch, class_of(stub))
        else:
            write.payload[LIVE] = []
        write.payload.setdefault(ERASED_AT, position)
        return write


def join(intents: Iterable[Intent]) -> Intent:
    """Return one intent that writes what several do."""
    every = list(intents)
    return Intent(
        inserts=[one for intent in every for one in intent.inserts],
        stubs=[one for intent in every for one in intent.stubs],
        superseded=[one for intent in every for one in intent.superseded],
        spreads=[one for intent in every for one in intent.spreads],
    )


def position_after(last: int, asked: int | None) -> int:
    """Return the position of a commit.

    Raises:
        ConflictError: A position was asked for, and it is not greater than the last one.
    """
    if asked is None:
        return next_position(last)
    if asked <= last:
        raise ConflictError(
            f"the position {asked} is not after the store's last one, {last}", precondition=None, found=last
        )
    return asked


def _selector(precondition: Precondition) -> Selector | None:
    match precondition:
        case VersionIs(memory_id):
            return ById(memory_id)
        case KeyIs(namespace, key):
            return ByKey(namespace, key)
        case ContentIsNew(namespace, content_hash):
            return ByContent(namespace, content_hash)
        case HeadIs():
            return None


def _holds(
    precondition: Precondition, version: Version | None, head: Answer
) -> tuple[bool, VersionRef | str | int | None]:
    match precondition:
        case VersionIs(_, expected):
            ref = version.ref if version else None
            return ref == expected, ref
        case KeyIs(_, _, expected_id):
            holder = version.memory_id if version else None
            return holder == expected_id, holder
        case ContentIsNew():
            return version is None, version.ref if version else None
        case HeadIs(_, expected_position):
            position = int(head[0].payload[POSITION]) if head else 0
            return position == expected_position, position


def _head_of(branch: str, cap: int) -> models.QueryRequest:
    newest_first = models.OrderByQuery(order_by=models.OrderBy(key=POSITION, direction=models.Direction.DESC))
    there = selecting.up_to(cap, branch)
    return models.QueryRequest(query=newest_first, filter=there, limit=1, with_payload=[POSITION])


def _insert(version: Version, position: int, firsts: Mapping[str, int]) -> PointWrite:
    write = write_of(replace(version, position=position), firsts[version.branch])
    if len(firsts) > 1:
        write.payload.update(branches_of(firsts, position))
    return write
