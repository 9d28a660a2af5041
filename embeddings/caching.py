"""Remembers the vectors of recent queries, in front of any embedder."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from recollect.embeddings.protocol import Embedder, EmbedderStatus, Vectors
from recollect.embeddings.texts import require_text

QUERY_CHARACTERS_MAX = 4096
"""Longer queries are rarely asked twice, and would make the cache's memory unbounded."""


class QueryCachingEmbedder:
    """An embedder that answers a query asked again from memory; the least recently used leaves first."""

    def __init__(self, inner: Embedder, *, entries_max: int) -> None:
        """Wrap an embedder.

        Args:
            inner: What computes; it is closed with this one.
            entries_max: Most vectors kept, each of `dimension` floats; 0 keeps none.
        """
        self._inner = inner
        self._entries_max = entries_max
        self._entries: OrderedDict[str, Vectors] = OrderedDict()
        # An embedder may serve several event loops, and two steps on the dictionary belong together.
        self._lock = threading.Lock()

    @property
    def model_id(self) -> str:
        """The name recorded in a store."""
        return self._inner.model_id

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._inner.dimension

    async def embed_documents(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed texts that will be stored; not cached, for they rarely repeat."""
        return await self._inner.embed_documents(texts)

    async def embed_query(self, text: str) -> Vectors:
        """Embed a text to search with, or return its vector of before."""
        require_text(text)
        with self._lock:
            vector = self._entries.get(text)
            if vector is not None:
                self._entries.move_to_end(text)
                return vector
        vector = await self._inner.embed_query(text)
        # Many callers may hold it from now on.
        vector.flags.writeable = False
        if len(text) <= QUERY_CHARACTERS_MAX:
            with self._lock:
                self._entries[text] = vector
                if len(self._entries) > self._entries_max:
                    self._entries.popitem(last=False)
        return vector

    def forget_queries(self) -> None:
        """Drop all queries and their vectors."""
        with self._lock:
            self._entries.clear()

    def describe(self) -> EmbedderStatus:
        """Say what runs and how much is remembered."""
        return msgspec.structs.replace(
            self._inner.describe(), cached_queries=len(self._entries), query_cache_entries=self._entries_max
        )

    async def aclose(self) -> None:
        """Close the embedder behind it. May be repeated."""
        await self._inner.aclose()
