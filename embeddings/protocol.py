"""The port: what the rest of the product may ask of an embedder, and what a model runtime owes it.

Two protocols, because two things vary on their own. A `Runtime` turns windows of one text into vectors, synchronously,
on one thread; it knows a model. An `Embedder` is what callers hold: asynchronous, shared, bounded; it knows queues,
caches or a network, and no model.
"""

from collections.abc import Sequence, Sized
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How near a runtime's vectors are to the same weights in float32, measured when it was made.

    Attributes:
        cosine_mean: Mean cosine over the built-in sentences.
        cosine_worst: The lowest of them.
        texts: How many sentences were compared.
    """

    cosine_mean: float
    cosine_worst: float
    texts: int


class EmbedderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedder is and how it fares, for a status page. Taking it costs nothing.

    Attributes:
        model_id: As recorded in a store.
        dimension: Of every vector.
        runtime: `openvino-int8`, `openvino-bf16`, `openvino-fp32`, `torch-fp32`, `http` or `hash`.
        window_tokens: Most tokens in one window; longer texts have several. None where windows are cut by characters.
        window_characters: Most characters in one window, or None where windows are cut by tokens.
        agreement: Against float32; None where the runtime is the reference itself or has none.
        degraded: Why a slower runtime than the asked one runs, or None when all is as it should be.
        queued_texts: Texts taken in and not yet answered.
        queue_texts_max: Most texts of one kind that may wait; more raise `EmbedderBusyError`.
        cached_queries: Query vectors held.
        query_cache_entries: Most query vectors held.
        threads: Threads of one inference, or None where the embedder does not decide it.
    """

    model_id: str
    dimension: int
    runtime: str
    window_tokens: int | None = None
    window_characters: int | None = None
    agreement: Agreement | None = None
    degraded: str | None = None
    queued_texts: int = 0
    queue_texts_max: int = 0
    cached_queries: int = 0
    query_cache_entries: int = 0
    threads: int | None = None


class Embedder(Protocol):
    """Texts to vectors, for many concurrent callers, from any event loop.

    A text that holds no word (empty, white space) has a vector too: the model's vector of the empty text. Lone
    surrogates, which no encoding can carry, count as `?`.
    """

    @property
    def model_id(self) -> str:
        """The name recorded in a store; the same for every runtime of the same weights."""
        ...

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed texts that will be stored.

        Args:
            texts: Any number of texts of any length; none gives an empty list.

        Returns:
            One array per text, in the order given, float32 of shape (windows, dimension), rows of length 1. A text
            that fits one window has one row; a longer one has a row for each of its overlapping windows.

        Raises:
            TypeError: `texts` is a string, or holds something that is none.
            EmbedderBusyError: Too many texts wait already.
            EmbeddingError: The model or its endpoint failed, or the embedder is closed.
        """
        ...

    async def embed_query(self, text: str) -> Vectors:
        """Embed a text to search with.

        Args:
            text: The query. Beyond one window it is the normalised mean of its windows.

        Returns:
            float32 of shape (dimension,) and length 1; read-only, for it may be shared with other callers.

        Raises:
            TypeError: `text` is no string.
            EmbedderBusyError: Too many queries wait already.
            EmbeddingError: The model or its endpoint failed, or the embedder is closed.
        """
        ...

    def describe(self) -> EmbedderStatus:
        """Say what runs and how much waits."""
        ...

    async def aclose(self) -> None:
        """Refuse new work, fail what still waits with `EmbedderClosedError`, and free the model. May be repeated."""
        ...


Window = TypeVar("Window", bound=Sized)


class Runtime(Protocol[Window]):
    """One model on one thread: `windows`, then `infer`. Never called from two threads at once.

    A window is whatever the runtime computes a vector from (token ids, a piece of text); its `len()` is its cost in
    tokens, by which batches are packed.
    """

    @property
    def status(self) -> EmbedderStatus:
        """The facts about the model; figures about queues are left at their defaults."""
        ...

    def windows(self, texts: Sequence[str], *, query: bool) -> list[list[Window]]:
        """Cut texts into windows.

        Args:
            texts: Well-formed texts, without lone surrogates.
            query: Whether they are searched with rather than stored; some models prefix the two differently.

        Returns:
            For each text at least one window, in the text's order.
        """
        ...

    def infer(self, windows: Sequence[Window]) -> Vectors:
        """Compute one vector per window.

        Args:
            windows: One batch: at least one, similar in length, all queries or all documents.

        Returns:
            float32 of shape (len(windows), dimension), rows of length 1, owned by the caller.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...
