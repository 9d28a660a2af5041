"""An embedder behind an OpenAI-compatible endpoint (`POST /v1/embeddings`).

Request `{"model", "input": [texts], "encoding_format": "float"}`, answer `{"data": [{"index", "embedding"}]}`, after
the OpenAI API reference, "Create embeddings". Ollama, vLLM, llama.cpp, LocalAI, text-embeddings-inference and others
answer the same.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import httpx
import msgspec
import numpy as np

from recollect.embeddings.errors import (
    EmbedderBusyError,
    EmbedderClosedError,
    EmbeddingServiceError,
    EmbeddingServiceTimeoutError,
    ModelLoadError,
)
from recollect.embeddings.protocol import EmbedderStatus, Vectors
from recollect.embeddings.settings import EmbedderSettings
from recollect.embeddings.texts import character_windows, normalised_mean, require_text, require_texts, well_formed

_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 8.0
_OVERLAP_PART = 8
"""A window shares an eighth with the one before it, as the windows of the bundled model do."""

Answer = TypeVar("Answer")


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]


class OpenAICompatibleEmbedder:
    """Embeds by HTTP, with a bounded number of texts and of requests in flight."""

    def __init__(self, settings: EmbedderSettings) -> None:
        """Ask the endpoint for one vector, so that a wrong address, key or model shows at once.

        Args:
            settings: `model` is the base URL; see the `http_` fields.

        Raises:
            ModelLoadError: No `http_model` is given.
            EmbeddingServiceError: The endpoint does not answer with embeddings, or of another dimension.
        """
        if not settings.http_model:
            raise ModelLoadError(f"http_model is missing: which model shall {settings.model} embed with?")
        self._settings = settings
        self._url = _endpoint_url(settings.model)
        self._decoder = msgspec.json.Decoder(_Answer)
        self._dimension = settings.http_dimension
        self._clients: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, asyncio.Semaphore]] = {}
        self._lock = threading.Lock()
        self._queued_texts = {True: 0, False: 0}
        self._closed = False
        self._dimension = _run_in_thread(self._probe)

    @property
    def model_id(self) -> str:
        """The model's name as sent to the endpoint."""
        return self._settings.http_model or ""

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._dimension or 0

    def describe(self) -> EmbedderStatus:
        """Say what runs and how much waits."""
        return EmbedderStatus(
            model_id=self.model_id,
            dimension=self.dimension,
            runtime="http",
            window_characters=self._settings.http_window_characters,
            queued_texts=sum(self._queued_texts.values()),
            queue_texts_max=self._settings.queue_texts_max,
        )

    async def embed_documents(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed texts that will be stored; see `Embedder.embed_documents`."""
        require_texts(texts)
        if not texts:
            return []
        with self._queued(len(texts), query=False):
            windows_by_text = [self._windows(text) for text in texts]
            rows = await self._embed([window for windows in windows_by_text for window in windows])
            vectors = []
            start = 0
            for windows in windows_by_text:
                vectors.append(rows[start : start + len(windows)])
                start += len(windows)
            return vectors

    async def embed_query(self, text: str) -> Vectors:
        """Embed a text to search with; see `Embedder.embed_query`."""
        require_text(text)
        with self._queued(1, query=True):
            return normalised_mean(await self._embed(self._windows(text)))

    async def aclose(self) -> None:
        """Refuse new work and close the connections of this event loop. May be repeated."""
        self._closed = True
        client, _ = self._clients.pop(asyncio.get_running_loop(), (None, None))
        if client is not None:
            await client.aclose()

    def _windows(self, text: str) -> list[str]:
        size = self._settings.http_window_characters
        # Many endpoints refuse an empty text; a full stop says as little.
        text = well_formed(text) if text.strip() else "."
        return character_windows(text, characters_max=size, overlap_characters=size // _OVERLAP_PART)

    @contextmanager
    def _queued(self, texts: int, *, query: bool) -> Iterator[None]:
        with self._lock:
            queued, most = self._queued_texts[query], self._settings.queue_texts_max
            if queued and queued + texts > most:
                raise EmbedderBusyError(queued_texts=queued, queue_texts_max=most)
            self._queued_texts[query] += texts
        try:
            yield
        finally:
            with self._lock:
                self._queued_texts[query] -= texts

    async def _embed(self, windows: Sequence[str]) -> Vectors:
        """Embed windows in as many requests as they need; the first that fails stops the others."""
        if self._closed:
            raise EmbedderClosedError("the embedder is closed: create a new one with create_embedder()")
        client, slots = self._connection()
        size = self._settings.http_batch_texts_max
        batches = [windows[start : start + size] for start in range(0, len(windows), size)]

        async def one(batch: Sequence[str]) -> Vectors:
            async with slots:
                return await self._request(client, batch)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(batch)) for batch in batches]
        except* EmbeddingServiceError as errors:
            raise errors.exceptions[0] from None
        return np.concatenate([task.result() for task in tasks])

    def _connection(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        """Return the client of the running event loop; connections cannot be shared between loops."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [known for known in self._clients if known.is_closed()]:
                del self._clients[other]
            if loop not in self._clients:
                self._clients[loop] = (self._new_client(), asyncio.Semaphore(self._settings.http_concurrency_max))
            return self._clients[loop]

    def _new_client(self) -> httpx.AsyncClient:
        key = self._settings.http_api_key
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx.AsyncClient(headers=headers, timeout=self._settings.http_deadline_s)

    async def _probe(self) -> int:
        async with self._new_client() as client:
            return int((await self._request(client, ["dimension"])).shape[1])

    async def _request(self, client: httpx.AsyncClient, texts: Sequence[str]) -> Vectors:
        """Send one request until it succeeds, cannot succeed, or its time is over."""
        body = {"model": self.model_id, "input": list(texts), "encoding_format": "float"}
        content = msgspec.json.encode(body)
        deadline_s = self._settings.http_deadline_s
        last: EmbeddingServiceError | None = None
        try:
            async with asyncio.timeout(deadline_s):
                for attempt in range(self._settings.http_attempts_max):
                    wait_s = _backoff_s(attempt)
                    try:
                        response = await client.post(self._url, content=content)
                    except httpx.TransportError as error:
                        last = EmbeddingServiceError(
                            f"{self._url} cannot be reached: {type(error).__name__}: {error}. Is the endpoint running?"
                        )
                    else:
                        if response.status_code == httpx.codes.OK:
                            return self._vectors(response.content, len(texts))
                        last = self._refusal(response)
                        if response.status_code not in _PASSING_STATUSES:
                            raise last
                        wait_s = max(wait_s, _retry_after_s(response))
                    if attempt + 1 < self._settings.http_attempts_max:
                        await asyncio.sleep(wait_s)
        except TimeoutError as error:
            because = f"; its last answer: {last}" if last else ""
            raise EmbeddingServiceTimeoutError(
                f"{self._url} did not embed {len(texts)} texts within {deadline_s:g} s{because}. Raise "
                "http_deadline_s, or send fewer texts in one request (http_batch_texts_max)",
                status_code=last.status_code if last else None,
            ) from error
        raise last or EmbeddingServiceError(f"{self._url} was not asked")

    def _refusal(self, response: httpx.Response) -> EmbeddingServiceError:
        said = " ".join(response.text.split())[:300]
        if self._settings.http_api_key:
            said = said.replace(self._settings.http_api_key, "***")
        remedy = {401: " Check http_api_key.", 403: " Check http_api_key.", 404: " Check the URL and http_model."}
        return EmbeddingServiceError(
            f"{self._url} answered {response.status_code}: {said}{remedy.get(response.status_code, '')}",
            status_code=response.status_code,
        )

    def _vectors(self, content: bytes, count: int) -> Vectors:
        """Read an answer: as many vectors as were asked for, in the order of `index`, finite, of the one dimension."""
        try:
            items = self._decoder.decode(content).data
        except msgspec.MsgspecError as error:
            raise EmbeddingServiceError(f"{self._url} answered no embeddings: {error}", status_code=200) from error
        places = [position if item.index is None else item.index for position, item in enumerate(items)]
        if sorted(places) != list(range(count)):
            raise EmbeddingServiceError(f"{self._url} answered {len(items)} vectors for {count} texts", status_code=200)
        lengths = {len(item.embedding) for item in items}
        if lengths != {self._dimension or len(items[0].embedding)}:
            raise EmbeddingServiceError(
                f"{self._url} answered vectors of dimension {sorted(lengths)}, expected {self._dimension or 'one'}. "
                "Check http_model and http_dimension",
                status_code=200,
            )
        rows = np.empty((count, lengths.pop()), dtype=np.float32)
        # A number beyond float32 becomes infinite here, and is refused below.
        with np.errstate(over="ignore"):
            for place, item in zip(places, items, strict=True):
                rows[place] = item.embedding
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and norms.all()):
            raise EmbeddingServiceError(f"{self._url} answered a vector that is zero or infinite", status_code=200)
        unit: Vectors = rows / norms
        return unit


def _endpoint_url(base: str) -> str:
    base = base.rstrip("/")
    if base.endswith("/embeddings"):
        return base
    return f"{base}/embeddings" if base.endswith("/v1") else f"{base}/v1/embeddings"


def _retry_after_s(response: httpx.Response) -> float:
    """Return how long the endpoint asks to wait; 0 when it does not say in seconds."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _backoff_s(attempt: int) -> float:
    """Return how long to wait after a failed attempt: doubling, bounded, and spread over callers."""
    spread: float = random.uniform(0.5, 1.0)  # noqa: S311 - guards nothing
    return float(min(_BACKOFF_FIRST_S * 2**attempt, _BACKOFF_MAX_S)) * spread


def _run_in_thread(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Run asynchronous work to its end from synchronous code, whether or not an event loop runs in this thread."""

    async def run() -> Answer:
        return await work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()
