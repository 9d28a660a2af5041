"""A write with an idempotency key happens once: asked again, it is answered as it was the first time.

The answer is stored in the same commit as what it answers, in a namespace of the system, and expires.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.port import FULL, ByKey, KeyIs, ProvenanceStorageAdapter, Put, ReadPoint
from recollect.adapters.versions import Action, Provenance, Version
from recollect.service.answers import Problem, Refused, Remembered
from recollect.service.errors import IdempotencyConflictError, InvalidInputError
from recollect.service.hashing import canonical_json, sha256_hex
from recollect.service.presenting import JSON_TYPE

NAMESPACE = "_idempotency"
KEY_CHARS_MAX = 255
_SYSTEM = "recollect"


class _Stored(Struct, tag=True):
    answer: Remembered


class _Refused(Struct, tag=True):
    problem: Problem


class _Record(Struct):
    digest: str
    results: list[_Stored | _Refused]


class IdempotentRequest(Struct, frozen=True):
    """A request with its idempotency key.

    Attributes:
        key: What the caller chose.
        digest: The SHA-256 of the request, by which another request under the same key is known.
        ttl_ms: How long the answer is kept.
    """

    key: str
    digest: str
    ttl_ms: int

    @classmethod
    def of(cls, key: str | None, request: Any, ttl_s: float) -> "IdempotentRequest | None":
        """Return the request under its key, or None without a key.

        Raises:
            InvalidInputError: The key is empty or longer than 255 characters.
        """
        if key is None:
            return None
        if not 0 < len(key) <= KEY_CHARS_MAX:
            raise InvalidInputError(f"an idempotency key has 1 to {KEY_CHARS_MAX} characters, this one {len(key)}")
        return cls(key, sha256_hex(canonical_json(request)), int(ttl_s * 1000))

    async def answered(
        self, store: ProvenanceStorageAdapter, read_point: ReadPoint
    ) -> list[Remembered | Refused] | None:
        """Return the answer that was given, or None if the request is new.

        Raises:
            IdempotencyConflictError: The key was used for another request.
        """
        (found,) = await store.get([ByKey(NAMESPACE, self.key)], read_point, FULL)
        if found is None or found.content is None:
            return None
        record = msgspec.json.decode(found.content, type=_Record)
        if record.digest != self.digest:
            raise IdempotencyConflictError(
                f"the idempotency key {self.key!r} was used for another request; use a new key for a new request"
            )
        return [_answer(kept, found.position) for kept in record.results]

    def record(self, results: Sequence[Remembered | Refused], branch: str) -> tuple[Put, KeyIs]:
        """Return what keeps the answer when it is committed together with the write.

        Args:
            results: The answer; position 0 stands for that of the commit.
            branch: The branch that is written, from where the key is looked for when it is used again.
        """
        now = now_ms()
        kept: list[_Stored | _Refused] = [
            _Stored(result) if isinstance(result, Remembered) else _Refused(result.error) for result in results
        ]
        version = Version(
            memory_id=str(uuid7()),
            branch=branch,
            namespace=NAMESPACE,
            key=self.key,
            kind="answer",
            created_at_ms=now,
            updated_at_ms=now,
            expires_at_ms=now + self.ttl_ms,
            actor=_SYSTEM,
            content=msgspec.json.encode(_Record(self.digest, kept)).decode(),
            content_type=JSON_TYPE,
            metadata={},
            provenance=Provenance(action=Action.CREATED, actor=_SYSTEM, time_ms=now, level="minimal"),
        )
        return Put(version), KeyIs(NAMESPACE, self.key, None)


def _answer(kept: _Stored | _Refused, position: int) -> Remembered | Refused:
    if isinstance(kept, _Refused):
        return Refused(error=kept.problem)
    return kept.answer if kept.answer.position else msgspec.structs.replace(kept.answer, position=position)
