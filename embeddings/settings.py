"""What a user may choose about embedding, in one place."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DEFAULT_MODEL = "all-MiniLM-L6-v2"
HTTP_WINDOW_CHARACTERS_MIN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """Which model, by which runtime, within which bounds.

    Attributes:
        model: `all-MiniLM-L6-v2` (bundled, needs no network); any other sentence-transformers model by name or folder;
            `hash` or `hash:DIMENSION` for the deterministic embedder meant for tests; or the `http(s)://` base URL of
            an OpenAI-compatible endpoint, with or without `/v1`.
        runtime: `auto` takes OpenVINO for the bundled model where its vectors agree with float32, and says so in the
            status when it had to fall back; `openvino` fails instead of falling back; `torch` is the float32 reference.
        cache_folder: Where the exported model is kept; None means the user's cache folder.
        threads: Threads of one inference; None lets the runtime take the cores it may use.
        batch_tokens_max: Padded tokens computed at once. It bounds memory, and how long a query waits for a batch.
        queue_texts_max: Documents, and apart from them queries, that may wait; more raise `EmbedderBusyError`.
        window_overlap_tokens: What neighbouring windows of a long text share.
        query_cache_entries: Query vectors remembered; 0 remembers none.
        http_model: The name sent to the endpoint, and the model id of the store.
        http_api_key: Sent as a bearer token; never logged, never shown.
        http_dimension: What the endpoint must answer; None takes what its first answer has.
        http_batch_texts_max: Texts in one request.
        http_concurrency_max: Requests in flight.
        http_window_characters: Longer texts are cut into windows of that size, for the endpoint's tokens are unknown.
        http_deadline_s: Time for one request with all its retries.
        http_attempts_max: Tries of one request that failed in a way that may pass.
    """

    model: str = DEFAULT_MODEL
    runtime: Literal["auto", "openvino", "torch"] = "auto"
    cache_folder: Path | None = None
    threads: int | None = None
    batch_tokens_max: int = 2048
    queue_texts_max: int = 8192
    window_overlap_tokens: int = 32
    query_cache_entries: int = 4096
    http_model: str | None = None
    http_api_key: str | None = field(default=None, repr=False)
    http_dimension: int | None = None
    http_batch_texts_max: int = 128
    http_concurrency_max: int = 4
    http_window_characters: int = 1200
    http_deadline_s: float = 30.0
    http_attempts_max: int = 4

    def __post_init__(self) -> None:
        """Refuse bounds that bound nothing.

        Raises:
            ValueError: A value is out of its range; the message names it.
        """
        at_least_one = (
            "batch_tokens_max",
            "queue_texts_max",
            "http_batch_texts_max",
            "http_concurrency_max",
            "http_attempts_max",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.http_window_characters < HTTP_WINDOW_CHARACTERS_MIN:
            raise ValueError(
                f"http_window_characters is {self.http_window_characters}, but must be at least "
                f"{HTTP_WINDOW_CHARACTERS_MIN}"
            )
        for name in ("window_overlap_tokens", "query_cache_entries"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must not be negative")
        for name in ("threads", "http_dimension"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1, or None")
        if not self.http_deadline_s > 0:
            raise ValueError(f"http_deadline_s is {self.http_deadline_s}, but must be above 0")
        if self.runtime not in ("auto", "openvino", "torch"):
            raise ValueError(f"runtime is {self.runtime!r}, but must be one of auto, openvino, torch")
