"""What can go wrong in the service, and how it is told.

    ServiceError                        has a code, an HTTP status and a title
    ├── InvalidInputError               422  the request is well-formed but cannot be carried out
    │   ├── ReservedNamespaceError      422  the namespace is the system's
    │   ├── ContentTooLargeError        422  one memory is larger than the service takes
    │   └── InvalidCursorError          422  the cursor is not one of ours
    ├── NotFoundError
    │   ├── MemoryNotFoundError         404
    │   │   └── MemoryQuarantinedError  404  it is kept, and not recalled until it is released
    │   ├── BranchNotFoundError         404
    │   ├── TagNotFoundError            404
    │   ├── ConflictNotFoundError       404
    │   ├── RelationNotFoundError       404
    │   ├── ErasureNotFoundError        404
    │   └── QuarantineNotFoundError     404
    ├── NameTakenError                  409  a branch or a tag has this name
    ├── ProtectedError                  409  the branch or tag is protected
    ├── MergeConflictError              409  both sides changed it
    ├── PlanChangedError                409  an erasure was confirmed for another plan than there is now
    ├── QuarantineStateError            409  the quarantine was released before
    ├── VersionConflictError            409  the memory is at another version than expected
    ├── MigrationRefusedError           409  the target holds something else than the source
    ├── StoresDifferError               500  two stores that should hold the same do not
    ├── IdempotencyConflictError        409  the idempotency key was used for another request
    └── BatchRefusedError               422  a memory of an atomic batch was refused, so none was stored

Errors of the store and the embedder pass through; `problem_of` tells all of them as RFC 9457 problem details.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import ValidationError

from recollect.adapters import errors as storage
from recollect.embeddings import errors as embedding
from recollect.service.answers import Problem

MISTAKES_MAX = 1000
MISTAKES_TOLD_MAX = 100


class ServiceError(Exception):
    """The base of the service's own errors."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, found: Any = None) -> None:
        super().__init__(detail)
        self.found = found


class InvalidInputError(ServiceError):
    """The request is well-formed but cannot be carried out."""

    status = 422
    code = "invalid_request"
    title = "The request is not valid"


class ReservedNamespaceError(InvalidInputError):
    """The namespace is the system's, or its name is not one."""

    code = "namespace_reserved"
    title = "This namespace is not for users"


class ContentTooLargeError(InvalidInputError):
    """One memory is larger than the service takes."""

    code = "content_too_large"
    title = "The memory is too large"


class InvalidCursorError(InvalidInputError):
    """The cursor is not one that the service gave."""

    code = "invalid_cursor"
    title = "The cursor is not valid"


class NotFoundError(ServiceError):
    """What was named is not there."""

    status = 404
    code = "not_found"
    title = "Not found"


class MemoryNotFoundError(NotFoundError):
    """No visible memory has this id or key."""

    code = "memory_not_found"
    title = "There is no such memory"


class MemoryQuarantinedError(MemoryNotFoundError):
    """The memory is in quarantine: kept, and not recalled until it is released."""

    code = "memory_quarantined"
    title = "The memory is in quarantine"


class BranchNotFoundError(NotFoundError):
    """No branch has this name."""

    code = "branch_not_found"
    title = "There is no such branch"


class TagNotFoundError(NotFoundError):
    """No tag has this name."""

    code = "tag_not_found"
    title = "There is no such tag"


class ConflictNotFoundError(NotFoundError):
    """No conflict has this id."""

    code = "conflict_not_found"
    title = "There is no such conflict"


class NameTakenError(ServiceError):
    """A branch or a tag has this name."""

    status = 409
    code = "name_taken"
    title = "The name is taken"


class ProtectedError(ServiceError):
    """The branch or tag is protected from what was asked for."""

    status = 409
    code = "protected"
    title = "It is protected"


class MergeConflictError(ServiceError):
    """Both sides changed the memory; `found` is the version that stands in the way."""

    status = 409
    code = "merge_conflict"
    title = "Both sides changed it"


class RelationNotFoundError(NotFoundError):
    """No relation has this id."""

    code = "relation_not_found"
    title = "There is no such relation"


class VersionConflictError(ServiceError):
    """The memory is at another version than the caller expected; `found` is that version."""

    status = 409
    code = "version_conflict"
    title = "The memory has changed"


class IdempotencyConflictError(ServiceError):
    """The idempotency key was used for another request."""

    status = 409
    code = "idempotency_conflict"
    title = "The idempotency key was used before"


class MigrationRefusedError(ServiceError):
    """The source cannot be copied into the target, which holds something else."""

    status = 409
    code = "migration_refused"
    title = "The target holds something else"


class StoresDifferError(ServiceError):
    """Two stores that should hold the same do not; the message names the first difference."""

    code = "stores_differ"
    title = "The stores differ"


class ErasedMeanwhileError(StoresDifferError):
    """All in which a copy differs is that something was erased in its source after it had been copied."""


class BatchRefusedError(InvalidInputError):
    """A memory of an atomic batch was refused, so none was stored."""

    code = "batch_refused"
    title = "Nothing of the batch was stored"


class PlanChangedError(ServiceError):
    """An erasure was confirmed for another plan than there is now; nothing was erased. `found` is the new digest."""

    status = 409
    code = "plan_changed"
    title = "The plan has changed"


class ErasureNotFoundError(NotFoundError):
    """No receipt of an erasure has this id."""

    code = "erasure_not_found"
    title = "There is no such erasure"


class QuarantineNotFoundError(NotFoundError):
    """No quarantine has this id."""

    code = "quarantine_not_found"
    title = "There is no such quarantine"


class QuarantineStateError(ServiceError):
    """The quarantine was released before."""

    status = 409
    code = "quarantine_released"
    title = "The quarantine is over"


class _Kind(NamedTuple):
    status: int
    code: str
    title: str


# The most specific class first: the first that matches tells.
_KINDS: tuple[tuple[type[Exception], _Kind], ...] = (
    (storage.ConflictError, _Kind(409, "conflict", "The store has changed")),
    (storage.FilterError, _Kind(422, "invalid_filter", "The filter is not valid")),
    (storage.InvalidVectorError, _Kind(422, "invalid_vector", "The vector is not valid")),
    (storage.UnknownBackendError, _Kind(422, "unknown_backend", "There is no such storage backend")),
    (storage.InvalidRequestError, _Kind(422, "invalid_request", "The request is not valid")),
    (storage.StoreFullError, _Kind(507, "store_full", "The store is full")),
    (storage.StoreBusyError, _Kind(503, "store_busy", "The store is busy")),
    (storage.ProfileMismatchError, _Kind(503, "profile_mismatch", "The store holds vectors of another model")),
    (storage.StoreUnavailableError, _Kind(503, "store_unavailable", "The store cannot be reached")),
    (storage.StoreDamagedError, _Kind(500, "store_damaged", "The store is damaged")),
    (storage.StorageError, _Kind(500, "storage_error", "The store failed")),
    (embedding.EmbedderBusyError, _Kind(429, "overloaded", "Too much is waiting to be embedded")),
    (embedding.EmbeddingError, _Kind(503, "embedding_failed", "The text could not be embedded")),
)


def problem_of(error: Exception, request_id: str | None = None) -> Problem:
    """Tell an error as problem details.

    An error that no one planned for says nothing of its text: that belongs into the logs, under the request's id.
    """
    if isinstance(error, ValidationError):
        return _problem_of_validation(error, request_id)
    if isinstance(error, ServiceError):
        kind = _Kind(error.status, error.code, error.title)
        detail, found = str(error), error.found
    else:
        kind = next(
            (kind for cls, kind in _KINDS if isinstance(error, cls)), _Kind(500, "internal_error", "Internal error")
        )
        known = kind.code != "internal_error"
        detail = str(error) if known else "the service failed; its log holds the reason under this request id"
        found = None
    return Problem(
        title=kind.title, status=kind.status, code=kind.code, detail=detail, request_id=request_id, found=found
    )


def _problem_of_validation(error: ValidationError, request_id: str | None) -> Problem:
    count = error.error_count()
    if count > MISTAKES_MAX:  # naming them would take many times the memory of the request itself
        return problem_of_mistakes([], request_id, count=count)
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    return problem_of_mistakes([dict(item) for item in mistakes], request_id)


def problem_of_mistakes(
    mistakes: Sequence[Mapping[str, Any]], request_id: str | None = None, *, count: int | None = None
) -> Problem:
    """Tell the mistakes of a request.

    Args:
        mistakes: As pydantic reports them: `loc`, `msg` and `type` each. What was said is never repeated.
        request_id: The request's id.
        count: How many there are, where they are too many to be told.
    """
    told = [
        {
            "loc": [str(part)[:200] for part in item["loc"]],
            "msg": item["msg"].removeprefix("Value error, "),
            "type": item["type"],
        }
        for item in mistakes[:MISTAKES_TOLD_MAX]
    ]
    if not told:
        detail = f"the request has {count:,} mistakes, which are too many to name; is it what this path takes?"
    else:
        place = ".".join(told[0]["loc"])
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        detail = f"{place}: {told[0]['msg']}{more}" if place else f"{told[0]['msg']}{more}"
    syntax = any(item["type"] == "json_invalid" for item in told)
    return Problem(
        title="The body is not JSON" if syntax else "The request is not valid",
        status=400 if syntax else 422,
        code="invalid_json" if syntax else "invalid_request",
        detail=detail,
        request_id=request_id,
        errors=told,
    )
