"""What can go wrong in a store.

    StorageError                        anything below
    ├── StoreUnavailableError           the store cannot be opened or reached now
    │   ├── StoreBusyError              a lock or queue did not become free in time; try again
    │   └── StoreClosedError            used before open() or after close()
    ├── StoreFullError                  no space left; nothing of the commit was written, reads go on
    ├── StoreDamagedError               bytes differ from their checksum; says which
    ├── ProfileMismatchError            opened with another embedding model or dimension than it holds
    ├── ConflictError                   a precondition of a commit does not hold; nothing was written
    └── InvalidRequestError             the caller's words are wrong; the store is untouched
        ├── FilterError                 unknown field or operator, or a value of the wrong type
        ├── InvalidVectorError          wrong dimension, NaN, infinity, or all zeros
        └── UnknownBackendError         no adapter is registered for a URL

No other exception leaves an adapter on purpose: a backend's own errors are translated, with the
original as `__cause__`.
"""

from typing import Any


class StorageError(Exception):
    """Anything a store reports. The message names the problem and, where there is one, the remedy."""


class StoreUnavailableError(StorageError):
    """The store cannot be opened or reached now."""


class StoreBusyError(StoreUnavailableError):
    """A lock or a queue did not become free in time; the same call may succeed later."""


class StoreClosedError(StoreUnavailableError):
    """The adapter was used before `open()` or after `close()`."""


class StoreFullError(StorageError):
    """There is no space left. Nothing of the commit was written; reads go on."""


class StoreDamagedError(StorageError):
    """Stored bytes differ from their checksum. `place` says where they are."""

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(message)
        self.place = place


class ProfileMismatchError(StorageError):
    """The store holds vectors of another model or dimension than it was opened for."""


class ConflictError(StorageError):
    """A precondition of a commit does not hold; nothing was written.

    Attributes:
        precondition: The one that failed, as it was given; None when a version with the same ref is there already.
        found: What the store holds instead: a `VersionRef`, a memory id, a position (0 for none), or None.
    """

    def __init__(self, message: str, *, precondition: Any, found: Any = None) -> None:
        super().__init__(message)
        self.precondition = precondition
        self.found = found


class InvalidRequestError(StorageError):
    """The caller's words are wrong; the store is untouched."""


class FilterError(InvalidRequestError):
    """A filter names an unknown field or operator, or compares with a value of the wrong type."""


class InvalidVectorError(InvalidRequestError):
    """A vector has the wrong dimension, holds NaN or infinity, or is all zeros."""


class UnknownBackendError(InvalidRequestError):
    """No adapter is registered for the scheme of a store's URL."""
