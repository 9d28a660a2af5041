"""Selectors as few questions, and their answers as versions."""

from collections.abc import Sequence

from qdrant_client import models

from recollect.adapters.port import ByContent, ById, ByKey, ByRef, Projection, ReadPoint, Selector
from recollect.adapters.qdrant import fields
from recollect.adapters.qdrant.client_conditions import client_filter
from recollect.adapters.qdrant.conditions import Condition, Matching, of_memories
from recollect.adapters.qdrant.points import point_id
from recollect.adapters.qdrant.server import selecting, stored
from recollect.adapters.qdrant.server.stored import Found
from recollect.adapters.qdrant.tokens import content_token, value_token
from recollect.adapters.qdrant.validation import is_memory_id
from recollect.adapters.versions import Version

SPARE = 64
"""By how many versions a question asks for more than it should find: a key has more than one holder in rare cases."""

Answer = Sequence[Found]
Place = tuple[int, str, str, int]


def place_of(version: Version) -> Place:
    """Return where a version stands in the order of positions."""
    return (version.position, version.memory_id, version.branch, version.number)


class Lookup:
    """Selectors that are answered together: one question for all refs, one for all ids, one for each namespace."""

    def __init__(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection, dimension: int
    ) -> None:
        """Sort the selectors into questions."""
        self._selectors = selectors
        self._read_point = read_point
        self._projection = projection
        self._dimension = dimension
        self._spare = SPARE
        self._refs = [point_id(one.ref) for one in selectors if isinstance(one, ByRef) and _can_be(one.ref.branch)]
        self._ids = [one.memory_id for one in selectors if isinstance(one, ById) and is_memory_id(one.memory_id)]
        self._tokens: dict[str, list[str]] = {}
        for one in selectors:
            match one:
                case ByKey(namespace, key) if _can_be(namespace) and _can_be(key):
                    self._tokens.setdefault(namespace, []).append(value_token(("key",), key))
                case ByContent(namespace, content_hash) if _can_be(namespace) and _can_be(content_hash):
                    self._tokens.setdefault(namespace, []).append(content_token(content_hash))
                case _:
                    pass

    @property
    def count(self) -> int:
        """How many questions there are."""
        return bool(self._refs) + bool(self._ids) + len(self._tokens)

    def requests(self, cap: int) -> list[models.QueryRequest]:
        """Return the questions, as of a cap."""
        asked: list[tuple[models.Filter, int]] = []
        if self._refs:
            asked.append((selecting.by_ids(self._refs, cap), len(self._refs)))
        if self._ids:
            asked.append((self._seen(cap, of_memories(self._ids)), len(self._ids)))
        for namespace, tokens in self._tokens.items():
            named = Matching(fields.TOKENS, tuple(tokens))
            asked.append((self._seen(cap, Matching(fields.NAMESPACE, (namespace,)), named), len(tokens)))
        return [
            models.QueryRequest(
                filter=condition,
                limit=count + self._spare,
                with_payload=stored.payload_fields(self._projection),
                with_vector=stored.vector_names(self._projection),
            )
            for condition, count in asked
        ]

    def _seen(self, cap: int, *also: Condition) -> models.Filter:
        """Select what the read point shows in any namespace, the system's too."""
        wanted = selecting.selection(self._read_point, cap, None, None, also=also, everywhere=True)
        return client_filter(wanted.condition)

    def is_cut(self, answers: Sequence[Answer]) -> bool:
        """Say whether more was found than was asked for; the next questions then ask for more."""
        limits = [request.limit or 0 for request in self.requests(0)]
        cut = any(len(answer) >= limit for answer, limit in zip(answers, limits, strict=True))
        if cut:
            self._spare *= 8
        return cut

    def found(self, answers: Sequence[Answer]) -> list[Version | None]:
        """Return what each selector names, in order."""
        points = {str(point.id): point for answer in answers for point in answer}
        read = stored.versions_of(list(points.values()), self._projection, self._dimension)
        versions = dict(zip(points, read, strict=True))
        seen = {str(point.id) for answer in answers[bool(self._refs) :] for point in answer}
        visible = sorted((versions[name] for name in seen), key=place_of)
        by_ref = {version.ref: version for version in read}
        by_name: dict[tuple[str, ...], Version] = {("id", version.memory_id): version for version in visible}
        by_name |= {
            ("key", version.namespace, version.key or ""): version for version in visible if version.key is not None
        }
        by_name |= {("content", version.namespace, version.content_hash): version for version in reversed(visible)}
        return [by_ref.get(one.ref) if isinstance(one, ByRef) else by_name.get(_name(one)) for one in self._selectors]


def _name(selector: ById | ByKey | ByContent) -> tuple[str, ...]:
    match selector:
        case ById(memory_id):
            return ("id", memory_id)
        case ByKey(namespace, key):
            return ("key", namespace, key)
        case ByContent(namespace, content_hash):
            return ("content", namespace, content_hash)


def _can_be(text: str) -> bool:
    """Say whether a text has a UTF-8 form; what has none names nothing that a store holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
