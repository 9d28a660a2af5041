"""What embeds, each in a process of its own.

Two runtimes in one process get in each other's way: the threads of one go on spinning for a while after its call, on
the cores that the other one is measured on. So each system has a process, which waits while another one is measured.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.embeddings import BatchingEmbedder, Embedder, EmbedderSettings, create_embedder
from recollect.embeddings.bundled import model_folder
from recollect.embeddings.openvino_runtime import OpenVinoRuntime, prepare_export

BASELINE = "sentence-transformers"
DEFAULT = "default"
PRECISIONS = {"openvino-bf16": "bf16", "openvino-fp32": "f32"}
"""The default runtime in other precisions than the one that it takes on this processor, perhaps."""
TORCH = "torch-fp32, our queue"
WRITERS = 16

Rows = NDArray[np.float32]
Bulk = Callable[[list[str]], Rows]
Single = Callable[[list[str]], list[float]]
"""Embeds texts one after another; returns the seconds that each took."""
Writers = Callable[[list[str]], None]


class System:
    """A system in a process of its own, and what was measured of it, one entry a round."""

    def __init__(self, kind: str, cache: Path | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._ask, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, cache, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.name = str(self._ask.recv())
        self.texts_per_s: list[float] = []
        self.single_ms: list[float] = []
        self.writers_per_s: list[float] = []

    def embed(self, texts: list[str]) -> Rows:
        """Embed texts in bulk, for their vectors, shape (texts, dimension)."""
        return np.asarray(self._call("rows", texts), dtype=np.float32)

    def measure(self, texts: list[str], singles: list[str]) -> None:
        """Measure one round: texts in bulk, others alone, and (ours) many callers with one each."""
        self.texts_per_s.append(len(texts) / self._call("bulk", texts))
        self.single_ms.append(1e3 * self._call("single", singles))
        if self.name != BASELINE:
            self.writers_per_s.append(len(texts) / self._call("writers", texts))

    def begin(self) -> None:
        """Forget what was measured."""
        self.texts_per_s, self.single_ms, self.writers_per_s = [], [], []

    def stop(self) -> None:
        """End the process."""
        self._ask.close()
        self._process.join(30)

    def _call(self, what: str, texts: list[str]) -> Any:
        self._ask.send((what, texts))
        return self._ask.recv()


def _serve(kind: str, cache: Path | None, connection: Connection) -> None:
    """Load a system, say its name, and do what is asked until the other side hangs up."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with asyncio.Runner() as runner:
        name, bulk, single, writers = _load(kind, cache, runner)
        connection.send(name)
        while True:
            try:
                what, texts = connection.recv()
            except EOFError:
                return
            match what:
                case "rows":
                    connection.send(bulk(texts))
                case "bulk":
                    connection.send(_seconds(bulk, texts))
                case "single":
                    connection.send(median(single(texts)))
                case _:
                    connection.send(_seconds(writers, texts))


def _seconds(work: Callable[[list[str]], object], texts: list[str]) -> float:
    start = time.perf_counter()
    work(texts)
    return time.perf_counter() - start


def _load(kind: str, cache: Path | None, runner: asyncio.Runner) -> tuple[str, Bulk, Single, Writers]:
    if kind == BASELINE:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - only this process needs it

        model: Any = SentenceTransformer(str(model_folder()), device="cpu", local_files_only=True)

        def encode(texts: list[str]) -> Any:
            return model.encode(texts, batch_size=32, show_progress_bar=False)

        return BASELINE, encode, lambda texts: [_seconds(encode, [text]) for text in texts], lambda _: None
    if kind in PRECISIONS:
        folder = prepare_export(cache, PRECISIONS[kind])
        return kind, *_ours(runner, BatchingEmbedder(OpenVinoRuntime(folder, precision=PRECISIONS[kind])))
    runtime = EmbedderSettings(runtime="torch" if kind == TORCH else "auto", cache_folder=cache, query_cache_entries=0)
    embedder = create_embedder(runtime)
    return TORCH if kind == TORCH else embedder.describe().runtime, *_ours(runner, embedder)


def _ours(runner: asyncio.Runner, embedder: Embedder) -> tuple[Bulk, Single, Writers]:
    """Wrap one of our embedders, queue and all."""

    async def bulk(texts: list[str]) -> Rows:
        return np.concatenate(await embedder.embed_documents(texts))

    async def single(texts: list[str]) -> list[float]:
        # In one loop that goes on running, as a service's does: starting it for each text takes longer than the text.
        seconds = []
        for text in texts:
            start = time.perf_counter()
            await embedder.embed_documents([text])
            seconds.append(time.perf_counter() - start)
        return seconds

    async def writers(texts: list[str]) -> None:
        async def writer(number: int) -> None:
            for text in texts[number::WRITERS]:
                await embedder.embed_documents([text])

        await asyncio.gather(*map(writer, range(WRITERS)))

    return (
        lambda texts: runner.run(bulk(texts)),
        lambda texts: runner.run(single(texts)),
        lambda texts: runner.run(writers(texts)),
    )
