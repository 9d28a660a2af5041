"""One bounded queue in front of a model, shared by all callers.

    callers, any loop                      worker thread
    ─────────────────                      ─────────────
    reserve room, or EmbedderBusyError
    queue a piece of work     ──────────▶  take all queries, then some documents
    await its future                       drop what was cancelled, cut the rest into windows
                                           sort by length, pack by padded tokens
                                           for each batch: drop what was cancelled; compute;
    future resolved           ◀──────────  answer all calls it completed with one wake-up per loop;
                                           serve queries that came meanwhile

The worker takes whatever waits the moment it is free. So a text that comes alone is computed alone at once, texts that
come while a batch runs form the next one, and no timer holds anybody back.

A call with many texts enters piece by piece, two at a time: it takes turns with other calls, and only two pieces of it
exist as tokens, whatever its size.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Generic

import msgspec
import numpy as np

from recollect.embeddings.errors import EmbedderBusyError, EmbedderClosedError, EmbeddingError, InferenceError
from recollect.embeddings.protocol import EmbedderStatus, Runtime, Vectors, Window
from recollect.embeddings.texts import normalised_mean, require_text, require_texts, well_formed

PIECE_TEXTS_MAX = 256
PIECE_CHARACTERS_MAX = 65_536
"""About 16,000 tokens: half a second on two cores, which is how long other callers wait for a piece."""
PIECES_IN_FLIGHT_MAX = 2
ROUND_TEXTS_MAX = 512
BATCH_OVERHEAD_TOKENS = 24
"""What one more batch costs (measured: 0.6 ms), in the tokens that could be computed in that time."""

logger = logging.getLogger(__name__)


class _Work:
    """One piece of one call: its texts, and the future its caller awaits."""

    __slots__ = ("first_window", "future", "loop", "missing", "query", "texts", "window_counts")

    def __init__(self, texts: Sequence[str], *, query: bool) -> None:
        self.texts = texts
        self.query = query
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.window_counts: list[int] = []
        self.first_window = 0
        self.missing = 0


class BatchingEmbedder(Generic[Window]):
    """An embedder over a synchronous runtime, which it alone uses, from one thread of its own."""

    def __init__(self, runtime: Runtime[Window], *, batch_tokens_max: int = 2048, queue_texts_max: int = 8192) -> None:
        """Wrap a runtime; the thread starts with the first text.

        Args:
            runtime: The model. It is closed with the embedder.
            batch_tokens_max: Padded tokens in one batch; a window longer than that is a batch of its own.
            queue_texts_max: Documents, and apart from them queries, that may be in the queue.
        """
        self._runtime = runtime
        self._batch_tokens_max = batch_tokens_max
        self._queue_texts_max = queue_texts_max
        self._changed = threading.Condition()
        self._queries: deque[_Work] = deque()
        self._documents: deque[_Work] = deque()
        self._reserved_texts = {True: 0, False: 0}
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def model_id(self) -> str:
        """The name recorded in a store."""
        return self._runtime.status.model_id

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._runtime.status.dimension

    def describe(self) -> EmbedderStatus:
        """Say what runs and how much waits."""
        return msgspec.structs.replace(
            self._runtime.status,
            queued_texts=sum(self._reserved_texts.values()),
            queue_texts_max=self._queue_texts_max,
        )

    async def embed_documents(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed texts that will be stored; see `Embedder.embed_documents`."""
        require_texts(texts)
        if not texts:
            return []
        with self._reserved(min(len(texts), PIECES_IN_FLIGHT_MAX * PIECE_TEXTS_MAX), query=False):
            vectors: list[Vectors] = []
            in_flight: deque[_Work] = deque()
            try:
                for piece in _pieces(texts):
                    if len(in_flight) == PIECES_IN_FLIGHT_MAX:
                        vectors += await in_flight.popleft().future
                    in_flight.append(self._submit(piece, query=False))
                while in_flight:
                    work = in_flight[0]
                    vectors += await work.future
                    in_flight.popleft()
            finally:
                for work in in_flight:
                    self._withdraw(work)
            return vectors

    async def embed_query(self, text: str) -> Vectors:
        """Embed a text to search with; see `Embedder.embed_query`."""
        require_text(text)
        with self._reserved(1, query=True):
            work = self._submit((text,), query=True)
            try:
                vector: Vectors = await work.future
            finally:
                self._withdraw(work)
            return vector

    async def aclose(self) -> None:
        """Refuse new work, fail what waits, and free the model once its present batch is done. May be repeated."""
        with self._changed:
            first = not self._closed
            self._closed = True
            waiting = [*self._queries, *self._documents]
            self._queries.clear()
            self._documents.clear()
            self._changed.notify()
        _answer([(work, _closed_error()) for work in waiting])
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        elif first:
            await asyncio.to_thread(self._runtime.close)

    @contextmanager
    def _reserved(self, texts: int, *, query: bool) -> Iterator[None]:
        with self._changed:
            queued = self._reserved_texts[query]
            if queued + texts > self._queue_texts_max and queued:
                raise EmbedderBusyError(queued_texts=queued, queue_texts_max=self._queue_texts_max)
            self._reserved_texts[query] += texts
        try:
            yield
        finally:
            with self._changed:
                self._reserved_texts[query] -= texts

    def _submit(self, texts: Sequence[str], *, query: bool) -> _Work:
        work = _Work(texts, query=query)
        with self._changed:
            if self._closed:
                raise _closed_error()
            (self._queries if query else self._documents).append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recollect-embedding", daemon=True)
                self._thread.start()
            self._changed.notify()
        return work

    def _withdraw(self, work: _Work) -> None:
        """Take work out whose caller has gone, so that it neither is computed nor fills the queue."""
        if work.future.done() and not work.future.cancelled():
            work.future.exception()  # marks it as seen: the caller already has an error of its own
            return
        work.future.cancel()
        with self._changed:
            lane = self._queries if work.query else self._documents
            if work in lane:
                lane.remove(work)

    # --- The worker thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._queries or self._documents or self._closed):
                    self._changed.wait()
                if self._closed:
                    break
                queries, documents = self._take_queries(), self._take_documents()
            # Both in turn, so that a stream of queries cannot starve the documents.
            self._serve(queries)
            self._serve(documents)
        self._runtime.close()

    def _take_queries(self) -> list[_Work]:
        """Take all queries that wait."""
        works = list(self._queries)
        self._queries.clear()
        return works

    def _take_documents(self) -> list[_Work]:
        """Take documents in the order they came, as many as one round sorts together."""
        works: list[_Work] = []
        texts = 0
        while self._documents and (not works or texts + len(self._documents[0].texts) <= ROUND_TEXTS_MAX):
            works.append(self._documents.popleft())
            texts += len(works[-1].texts)
        return works

    def _serve(self, works: list[_Work]) -> None:
        works = [work for work in works if not work.future.cancelled()]
        if not works:
            return
        try:
            texts = [well_formed(text) for work in works for text in work.texts]
            windows_by_text = self._runtime.windows(texts, query=works[0].query)
        except Exception as error:  # noqa: BLE001 - handed to whoever sent the text; the worker must outlive it
            if len(works) == 1:
                _answer([(works[0], _failure(error))])
                return
            # One text spoils the round for all; served one by one, it spoils only its own call.
            for work in works:
                self._serve([work])
            return
        windows = [window for of_text in windows_by_text for window in of_text]
        owners = _number_windows(works, windows_by_text)
        self._compute(works, windows, owners)

    def _compute(self, works: list[_Work], windows: list[Window], owners: list[_Work]) -> None:
        """Compute the windows of a round batch by batch, answering each piece of work as its last window is done."""
        rows = np.empty((len(windows), self._runtime.status.dimension), dtype=np.float32)
        for batch in _batches(windows, self._batch_tokens_max):
            if self._closed:
                _answer([(work, _closed_error()) for work in works])
                return
            live = [index for index in batch if not owners[index].future.done()]
            if not live:
                continue
            try:
                rows[live] = self._runtime.infer([windows[index] for index in live])
            except Exception as error:
                logger.exception("the model failed on a batch of %d texts", len(live))
                _answer([(work, _failure(error)) for work in {owners[index] for index in live}])
                continue
            complete = []
            for index in live:
                work = owners[index]
                work.missing -= 1
                if not work.missing:
                    complete.append((work, _result(work, rows)))
            _answer(complete)
            # Queries go before the documents that are left. Read without the lock: at worst they wait one batch more.
            if self._queries and not works[0].query:
                with self._changed:
                    queries = self._take_queries()
                self._serve(queries)


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a call into pieces that each take a bounded time."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        if piece and (len(piece) == PIECE_TEXTS_MAX or characters + len(text) > PIECE_CHARACTERS_MAX):
            yield piece
            piece = []
            characters = 0
        piece.append(text)
        characters += len(text)
    yield piece


def _number_windows(works: list[_Work], windows_by_text: list[list[Window]]) -> list[_Work]:
    """Note in each work which windows are its own; return the owner of each window."""
    owners: list[_Work] = []
    position = 0
    for work in works:
        work.first_window = len(owners)
        work.window_counts = [len(of_text) for of_text in windows_by_text[position : position + len(work.texts)]]
        work.missing = sum(work.window_counts)
        position += len(work.texts)
        owners += [work] * work.missing
    return owners


def _batches(windows: list[Window], tokens_max: int) -> Iterator[list[int]]:
    """Pack indices of windows into batches, shortest first, where a batch of its own costs less than the padding."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(windows)), key=lambda index: len(windows[index])):
        length = len(windows[index])
        padded = (len(batch) + 1) * length
        if batch and (padded > tokens_max or padded - length - tokens > BATCH_OVERHEAD_TOKENS):
            yield batch
            batch = []
            tokens = 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch


def _result(work: _Work, rows: Vectors) -> Vectors | list[Vectors]:
    total = sum(work.window_counts)
    # A copy, because a view would keep the vectors of everybody's texts alive.
    own = rows[work.first_window : work.first_window + total].copy()
    if work.query:
        vector = normalised_mean(own)
        vector.flags.writeable = False
        return vector
    if total == len(work.texts):
        return list(own[:, np.newaxis, :])
    ends = accumulate(work.window_counts)
    return [own[end - count : end] for end, count in zip(ends, work.window_counts, strict=True)]


def _failure(error: Exception) -> EmbeddingError:
    """Return an error of our own for one caller; each gets one, for raising it writes into it."""
    if isinstance(error, EmbeddingError):
        return error
    failure = InferenceError(f"the model failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _closed_error() -> EmbedderClosedError:
    return EmbedderClosedError("the embedder is closed: create a new one with create_embedder()")


def _answer(answers: Sequence[tuple[_Work, Any]]) -> None:
    """Resolve futures, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Work, Any]]] = {}
    for answer in answers:
        by_loop.setdefault(answer[0].loop, []).append(answer)
    for loop, own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, own)
        except RuntimeError:
            # That loop is closed, so nobody is left to answer.
            logger.debug("dropped %d answers whose event loop is closed", len(own))


def _resolve(answers: Sequence[tuple[_Work, Any]]) -> None:
    for work, answer in answers:
        if work.future.done():
            continue
        if isinstance(answer, EmbeddingError):
            work.future.set_exception(answer)
        else:
            work.future.set_result(answer)
