"""From what a caller says to what could be stored: checked, normalised and hashed, before anything is looked up."""

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from uuid_utils import uuid7

from recollect.adapters.clock import now_ms
from recollect.adapters.errors import InvalidVectorError
from recollect.adapters.versions import Action, Provenance, Vector, Version, VersionRef
from recollect.service.errors import ContentTooLargeError, InvalidInputError, ReservedNamespaceError
from recollect.service.hashing import canonical_json, content_hash
from recollect.service.presenting import JSON_TYPE, milliseconds_of
from recollect.service.requests import NAMESPACE_NAME, ImportedMemory, NewMemory, ProvenanceInput
from recollect.service.settings import Settings
from recollect.service.summaries import summarise
from recollect.service.tracking import TrackingPolicy

WORKING = "working"
GHOST = "ghost"


class Draft(Struct, frozen=True, kw_only=True, eq=False):
    """A memory that is ready to be stored but for its vectors.

    Attributes:
        request: What the caller said.
        version: What it comes to, with a new id; provenance is added when it is written.
        text: What is embedded.
        vectors: The caller's own embedding, shape (1, dimension), or None.
        keeps_full: Whether the full provenance is kept.
        has_id: Whether the caller fixed the id, as imports do.
        same_hashes: The content hashes that mean exactly this: an import gives the time a memory came about, which its
            first writer may not have given.
    """

    request: NewMemory
    version: Version
    text: str
    vectors: Vector | None
    keeps_full: bool
    has_id: bool
    same_hashes: frozenset[str]

    def is_same_as(self, stored: Version) -> bool:
        """Say whether a stored version is exactly this."""
        return stored.content_hash in self.same_hashes and (
            not self.has_id or stored.created_at_ms == self.version.created_at_ms
        )


class Drafter:
    """Makes drafts, by the limits and policies of the settings."""

    def __init__(self, settings: Settings, dimension: int) -> None:
        self._settings = settings
        self._dimension = dimension
        self._policy = TrackingPolicy.of(settings)

    def draft(self, request: NewMemory) -> Draft:
        """Check a new memory and make a draft of it.

        Raises:
            ReservedNamespaceError: The namespace is the system's, or its name is not one.
            ContentTooLargeError: Content and metadata are larger than the settings allow.
            InvalidInputError: Text that is not Unicode, or an expiry in the past.
            InvalidVectorError: The vector given does not fit the store.
        """
        namespace = check_namespace(request.namespace)
        text, content_type = self.content_text(request.content)
        self.check_size(text, request.metadata)
        now = now_ms()
        created = now if request.created_at is None else milliseconds_of(request.created_at)
        keeps_full = self._policy.keeps_full(namespace, request.track_provenance, request.provenance)
        said: dict[str, Any] = {
            "kind": request.kind,
            "key": request.key,
            "tags": sorted(set(request.tags)),
            "metadata": request.metadata,
            "created_at_ms": None if request.created_at is None else created,
        }
        given_id = request.id if isinstance(request, ImportedMemory) else None
        hashes = [content_hash(request.content, said=said)]
        if given_id is not None:
            hashes.append(content_hash(request.content, said={**said, "created_at_ms": None}))
        version = Version(
            memory_id=given_id or str(uuid7()),
            branch=request.branch,
            namespace=namespace,
            key=request.key,
            kind=request.kind,
            summary=request.summary or summarise(text),
            tags=tuple(said["tags"]),
            importance=request.importance,
            confidence=request.confidence,
            created_at_ms=created,
            updated_at_ms=now,
            expires_at_ms=self._expiry_ms(request, now),
            content_hash=hashes[-1],
            actor=request.provenance.actor or self._settings.default_actor,
            source=request.provenance.source if keeps_full else None,
            content=text,
            content_type=content_type,
            metadata=request.metadata,
        )
        return Draft(
            request=request,
            version=version,
            text=text,
            vectors=None if request.vector is None else self.unit_vector(request.vector)[None, :],
            keeps_full=keeps_full,
            has_id=given_id is not None,
            same_hashes=frozenset(hashes),
        )

    def content_text(self, content: Any) -> tuple[str, str]:
        """Return content as text, and its type."""
        if isinstance(content, str):
            return content, "text/plain"
        return canonical_json(content).decode(), JSON_TYPE

    def check_size(self, text: str, metadata: dict[str, Any]) -> None:
        """Refuse what is too large or cannot be written as UTF-8."""
        try:
            size = len(text.encode()) + len(msgspec.json.encode(metadata))
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                "the text holds half of a surrogate pair, which is not Unicode; remove it"
            ) from error
        if size > self._settings.content_bytes_max:
            raise ContentTooLargeError(
                f"content and metadata are {size:,} bytes; at most {self._settings.content_bytes_max:,} are taken: "
                "split the text, or raise content_bytes_max"
            )

    def unit_vector(self, numbers: list[float]) -> Vector:
        """Return a caller's vector with length 1, shape (dimension,).

        Raises:
            InvalidVectorError: It has the wrong dimension, or no direction, or is not finite.
        """
        if len(numbers) != self._dimension:
            raise InvalidVectorError(
                f"the vector has {len(numbers)} numbers, but this store's have {self._dimension}; "
                "embed the text with the store's model (see /v1/status), or give the text alone"
            )
        vector = np.asarray(numbers, dtype=np.float64)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length < np.finfo(np.float32).tiny:
            raise InvalidVectorError("the vector is all zeros or not finite; it points nowhere")
        return (vector / length).astype(np.float32)

    def provenance(
        self,
        given: ProvenanceInput,
        action: Action,
        derived_from: tuple[VersionRef, ...],
        time_ms: int,
        *,
        keeps_full: bool,
    ) -> Provenance:
        """Return the record of a write: the full one, or action, actor and time alone."""
        actor = given.actor or self._settings.default_actor
        if not keeps_full:
            return Provenance(action=action, actor=actor, time_ms=time_ms, level="minimal")
        return Provenance(
            action=action,
            actor=actor,
            time_ms=time_ms,
            source=given.source,
            derived_from=derived_from,
            note=given.note,
            confidence=given.confidence,
        )

    def keeps_full(self, namespace: str, asked: bool | None, given: ProvenanceInput) -> bool:  # noqa: FBT001
        """Say whether a write to a namespace keeps the full record."""
        return self._policy.keeps_full(namespace, asked, given)

    def _expiry_ms(self, request: NewMemory, now: int) -> int | None:
        if request.expires_at is not None:
            expires = milliseconds_of(request.expires_at)
            if expires <= now:
                raise InvalidInputError(
                    f"expires_at is {request.expires_at.isoformat()}, which is over; give a later time"
                )
            return expires
        return now + int(self._settings.ghost_ttl_s * 1000) if request.kind == GHOST else None


def check_namespace(namespace: str) -> str:
    """Return a namespace that users may write to.

    Raises:
        ReservedNamespaceError: It starts with an underscore, or holds what a name may not hold.
    """
    if namespace.startswith("_"):
        raise ReservedNamespaceError(
            f"the namespace {namespace!r} is the system's; choose a name without the underscore"
        )
    if not NAMESPACE_NAME.match(namespace):
        raise ReservedNamespaceError(
            f"the namespace {namespace!r} is no name: use letters, digits and _ . : / @ + - (128 at most), "
            "starting with a letter or digit"
        )
    return namespace
