"""What commits need to know before they are written, and what they then write.

Commits that wait are written together as long as none needs to see what another one writes. What a commit looks at or
writes is therefore named (`needs`), and a commit whose names meet those of an earlier one waits for the next group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    Put,
    Selector,
    VersionIs,
)
from recollect.adapters.qdrant.server import conditions
from recollect.adapters.qdrant.server.intents import Intent, Lines, Superseded, with_lines
from recollect.adapters.qdrant.server.reading import Lookup
from recollect.adapters.qdrant.server.records import NewPoint
from recollect.adapters.versions import Version, VersionRef

Name = tuple[str, ...]
Answer = Sequence[models.ScoredPoint]
LINE_FIELDS = ["memory", "branch", "number", "position", "first", "lines"]
LINES_MAX = 100_000


def needs(commit: Commit) -> set[Name]:
    """Return the names of all that a commit looks at or writes."""
    names: set[Name] = set()
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


@dataclass
class Line:
    """What is there of one memory: the newest version on each branch, and from where on it lives on each."""

    newest: dict[str, str] = field(default_factory=dict)
    firsts: dict[str, int] = field(default_factory=dict)


class Facts:
    """What one commit needs to know of the store, as questions and then as answers."""

    def __init__(self, commit: Commit, points: Sequence[NewPoint]) -> None:
        """Prepare the questions.

        Args:
            commit: The commit.
            points: Its puts, as points.
        """
        self._commit = commit
        self._points = points
        self._asked = [_selector(one) for one in commit.preconditions]
        selectors = [one for one in self._asked if one is not None]
        self._lookup = Lookup(selectors, commit.read_point, Projection())
        self._branches = [one.branch for one in commit.preconditions if isinstance(one, HeadIs)]
        self._memories = sorted({put.version.memory_id for put in commit.puts})

    def requests(self, cap: int) -> list[models.QueryRequest]:
        """Return the questions, as of a cap."""
        requests = [*self._lookup.requests(cap), *(_head_of(branch, cap) for branch in self._branches)]
        if self._points:
            ids = [point.point_id for point in self._points]
            taken = models.Filter(must=[models.HasIdCondition(has_id=[*ids])])
            requests.append(models.QueryRequest(filter=taken, limit=len(ids), with_payload=LINE_FIELDS))
            newest = models.IsEmptyCondition(is_empty=models.PayloadField(key="superseded_at"))
            lines = models.Filter(must=[conditions.one_of("memory", self._memories), newest])
            requests.append(models.QueryRequest(filter=lines, limit=LINES_MAX, with_payload=LINE_FIELDS))
        return requests

    def is_cut(self, answers: Sequence[Answer]) -> bool:
        """Say whether the store must be asked for more."""
        return self._lookup.is_cut(answers[: len(self._lookup.requests(0))])

    def judge(self, answers: Sequence[Answer]) -> None:
        """Compare the preconditions with the answers.

        Raises:
            ConflictError: One does not hold, or a version with the same ref is there.
        """
        count = len(self._lookup.requests(0))
        found = iter(self._lookup.found(answers[:count]) if count else [])
        heads = iter(answers[count : count + len(self._branches)])
        for precondition, selector in zip(self._commit.preconditions, self._asked, strict=True):
            version = next(found) if selector is not None else None
            head = next(heads) if selector is None else ()
            holds, seen = _holds(precondition, version, head)
            if not holds:
                raise ConflictError(
                    f"{precondition} does not hold: the store has {seen}", precondition=precondition, found=seen
                )
        if self._points and (taken := answers[-2]):
            ids = {str(point.id) for point in taken}
            refs = [
                put.version.ref
                for put, point in zip(self._commit.puts, self._points, strict=True)
                if point.point_id in ids
            ]
            raise ConflictError(f"{refs[0]} is there already", precondition=None, found=refs[0])

    def plan(self, answers: Sequence[Answer], position: int) -> Intent:
        """Return what the commit writes at a position."""
        if not self._points:
            return Intent()
        lines = _lines(answers[-1])
        superseded: list[Superseded] = []
        grown: dict[str, Line] = {}
        for put in self._commit.puts:
            version = put.version
            line = lines.setdefault(version.memory_id, Line())
            if (older := line.newest.get(version.branch)) is not None:
                superseded.append(Superseded(older, position))
            else:
                line.firsts[version.branch] = position
                grown[version.memory_id] = line
        inserts = [
            _placed(put, point, position, lines[put.version.memory_id])
            for put, point in zip(self._commit.puts, self._points, strict=True)
        ]
        marks = [
            Lines(memory_id, position, _as_payload(line))
            for memory_id, line in grown.items()
            if len(line.firsts) > 1 and line.newest
        ]
        return Intent(inserts=inserts, superseded=superseded, lines=marks)


def join(intents: Iterable[Intent]) -> Intent:
    """Return one intent that writes what several do."""
    all_of = list(intents)
    return Intent(
        inserts=[one for intent in all_of for one in intent.inserts],
        superseded=[one for intent in all_of for one in intent.superseded],
        lines=[one for intent in all_of for one in intent.lines],
    )


def position_after(position: int, asked: int | None) -> int:
    """Return the position of a commit.

    Raises:
        ConflictError: A position was asked for, and it is not greater than the last one.
    """
    if asked is None:
        return next_position(position)
    if asked <= position:
        raise ConflictError(
            f"the position {asked} is not greater than the store's last one, {position}",
            precondition=None,
            found=position,
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
            position = int((head[0].payload or {})["position"]) if head else 0
            return position == expected_position, position


def _head_of(branch: str, cap: int) -> models.QueryRequest:
    on_branch = models.Filter(must=[conditions.equals("branch", branch), conditions.at_most("position", cap)])
    newest_first = models.OrderByQuery(order_by=models.OrderBy(key="position", direction=models.Direction.DESC))
    return models.QueryRequest(query=newest_first, filter=on_branch, limit=1, with_payload=["position"])


def _lines(answer: Answer) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for point in answer:
        payload: dict[str, Any] = point.payload or {}
        line = lines.setdefault(payload["memory"], Line())
        line.newest[payload["branch"]] = str(point.id)
        line.firsts |= {one["branch"]: one["first"] for one in payload.get("lines", [])}
        line.firsts.setdefault(payload["branch"], payload["first"])
    return lines


def _as_payload(line: Line) -> list[dict[str, Any]]:
    return [{"branch": branch, "first": first} for branch, first in sorted(line.firsts.items())]


def _placed(put: Put, point: NewPoint, position: int, line: Line) -> NewPoint:
    added: dict[str, Any] = {"position": position, "first": line.firsts[put.version.branch]}
    if len(line.firsts) > 1:
        added |= with_lines(_as_payload(line), position)
    return replace(point, payload=point.payload | added)


def payload_with_token(point: NewPoint, token: str) -> NewPoint:
    """Return a point that says which move of the head wrote it."""
    return replace(point, payload=point.payload | {"commit": token})
