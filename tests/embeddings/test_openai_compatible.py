"""An endpoint that speaks OpenAI's embeddings API: a real server on loopback, well behaved and not."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from recollect.embeddings import (
    Embedder,
    EmbedderBusyError,
    EmbedderClosedError,
    EmbedderSettings,
    EmbeddingServiceError,
    EmbeddingServiceTimeoutError,
    ModelLoadError,
    create_embedder,
    openai_compatible,
)

KEY = "sk-very-secret"
Handler = Callable[["Endpoint", list[str]], Awaitable[Response]]


def embedding(text: str) -> list[float]:
    return [float(len(text)), float(text.count("e")), 1.0]


def answer(texts: list[str]) -> JSONResponse:
    items = [{"object": "embedding", "index": place, "embedding": embedding(text)} for place, text in enumerate(texts)]
    # Out of order, as the API allows: the index says which is which.
    return JSONResponse({"object": "list", "data": items[::-1], "model": "m", "usage": {"total_tokens": 1}})


@dataclass
class Endpoint:
    url: str
    behaviour: Handler | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    failures: list[Response] = field(default_factory=list)
    now: int = 0
    most_at_once: int = 0

    async def handle(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.add(request.headers.get("authorization"))
        if self.failures:
            return self.failures.pop(0)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self.behaviour(self, body["input"]) if self.behaviour else answer(body["input"])
        finally:
            self.now -= 1


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    listener = socket.create_server(("127.0.0.1", 0))
    served = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")
    application = Starlette(routes=[Route("/v1/embeddings", served.handle, methods=["POST"])])
    configuration = uvicorn.Config(application, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(configuration)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield served
    server.should_exit = True
    await serving


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_compatible, "_BACKOFF_FIRST_S", 0.001)


def connected(endpoint: Endpoint, **settings: Any) -> AbstractAsyncContextManager[Embedder]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Embedder]:
        chosen = EmbedderSettings(
            **{"model": endpoint.url, "http_model": "m", "http_api_key": KEY, "query_cache_entries": 0, **settings}
        )
        embedder = await asyncio.to_thread(create_embedder, chosen)
        endpoint.requests.clear()
        try:
            yield embedder
        finally:
            await embedder.aclose()

    return opened()


async def test_vectors_come_back_in_the_order_of_the_texts_and_normalised(endpoint: Endpoint) -> None:
    texts = ["e" * number + "x" * (9 - number) for number in range(9)]
    async with connected(endpoint) as embedder:
        vectors = await embedder.embed_documents(texts)
        query = await embedder.embed_query(texts[3])
    for text, rows in zip(texts, vectors, strict=True):
        expected = np.array([embedding(text)]) / np.linalg.norm(embedding(text))
        np.testing.assert_allclose(rows, expected, rtol=1e-5)
        assert rows.dtype == np.float32
    np.testing.assert_array_equal(query, vectors[3][0])
    assert endpoint.requests[0] == {"model": "m", "input": texts, "encoding_format": "float"}
    assert endpoint.keys == {f"Bearer {KEY}"}


async def test_the_facts_come_from_the_endpoint_and_the_settings(endpoint: Endpoint) -> None:
    async with connected(endpoint) as embedder:
        status = embedder.describe()
    assert (status.model_id, status.dimension, status.runtime) == ("m", 3, "http")
    assert status.window_characters == 1200


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/embeddings"])
async def test_the_base_url_may_end_where_it_likes(path: str, endpoint: Endpoint) -> None:
    endpoint.url += path
    async with connected(endpoint) as embedder:
        assert (await embedder.embed_query("x")).shape == (3,)


async def test_many_texts_go_in_several_requests_a_few_at_a_time(endpoint: Endpoint) -> None:
    everyone_is_here = asyncio.Event()

    async def crowd(served: Endpoint, texts: list[str]) -> Response:
        if served.now == 3:
            everyone_is_here.set()
        await everyone_is_here.wait()
        return answer(texts)

    async with connected(endpoint, http_batch_texts_max=10, http_concurrency_max=3) as embedder:
        endpoint.behaviour = crowd
        texts = ["e" * (number % 7) + "x" for number in range(95)]
        vectors = await embedder.embed_documents(texts)
    assert sorted(len(request["input"]) for request in endpoint.requests) == [5, *[10] * 9]
    assert endpoint.most_at_once == 3
    for text, rows in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(rows[0], np.array(embedding(text)) / np.linalg.norm(embedding(text)), rtol=1e-5)


async def test_a_long_text_is_sent_in_windows(endpoint: Endpoint) -> None:
    async with connected(endpoint, http_window_characters=100) as embedder:
        rows, short = await embedder.embed_documents(["words and more " * 50, "short"])
    assert len(rows) > 7
    assert len(short) == 1
    assert max(len(text) for text in endpoint.requests[0]["input"]) <= 100


@pytest.mark.parametrize("text", ["", "  \n", "\ud800"])
async def test_odd_texts_are_sent_in_a_form_an_endpoint_takes(text: str, endpoint: Endpoint) -> None:
    async with connected(endpoint) as embedder:
        assert (await embedder.embed_documents([text]))[0].shape == (1, 3)
    assert endpoint.requests[0]["input"][0].strip()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_failure_that_may_pass_is_tried_again(status: int, endpoint: Endpoint) -> None:
    async with connected(endpoint) as embedder:
        endpoint.failures = [PlainTextResponse("later", status, {"retry-after": "0.001"}) for _ in range(3)]
        assert (await embedder.embed_query("x")).shape == (3,)
    assert len(endpoint.requests) == 4


async def test_an_endpoint_that_keeps_failing_is_given_up_with_its_last_words(endpoint: Endpoint) -> None:
    async with connected(endpoint, http_attempts_max=3) as embedder:
        endpoint.failures = [PlainTextResponse("the model is loading", 503) for _ in range(9)]
        with pytest.raises(EmbeddingServiceError, match="answered 503: the model is loading") as caught:
            await embedder.embed_query("x")
    assert caught.value.status_code == 503
    assert len(endpoint.requests) == 3


async def test_a_refused_key_is_not_tried_again_and_never_shown(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(endpoint) as embedder:
        endpoint.failures = [PlainTextResponse(f"Incorrect API key provided: {KEY}", 401)]
        with pytest.raises(EmbeddingServiceError, match=r"answered 401.*Check http_api_key") as caught:
            await embedder.embed_query("x")
    assert len(endpoint.requests) == 1
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text


async def test_an_endpoint_that_hangs_is_left_at_the_deadline(endpoint: Endpoint) -> None:
    async def hang(served: Endpoint, texts: list[str]) -> Response:
        del served, texts
        await asyncio.Event().wait()
        return PlainTextResponse("")

    async with connected(endpoint, http_deadline_s=0.2) as embedder:
        endpoint.behaviour = hang
        with pytest.raises(EmbeddingServiceTimeoutError, match=r"within 0\.2 s.*Raise http_deadline_s"):
            await embedder.embed_query("x")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}, "dimension"),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0, 0.0]}]}, "zero or infinite"),
        ({"data": [{"index": 0, "embedding": [1e300, 1.0, 1.0]}]}, "zero or infinite"),
        ({"data": []}, "0 vectors for 1 texts"),
        ({"data": [{"index": 1, "embedding": [1.0, 2.0, 3.0]}]}, "1 vectors for 1 texts"),
        ({"data": [{"index": 0, "embedding": ["a", "b", "c"]}]}, "no embeddings"),
        ({"error": "none"}, "no embeddings"),
    ],
)
async def test_an_answer_that_is_no_embedding_is_refused(body: object, message: str, endpoint: Endpoint) -> None:
    async def misbehave(served: Endpoint, texts: list[str]) -> Response:
        del served, texts
        return JSONResponse(body)

    async with connected(endpoint) as embedder:
        endpoint.behaviour = misbehave
        with pytest.raises(EmbeddingServiceError, match=message):
            await embedder.embed_query("x")


async def test_another_dimension_than_asked_for_fails_at_the_start(endpoint: Endpoint) -> None:
    with pytest.raises(EmbeddingServiceError, match=r"dimension \[3\], expected 384"):
        async with connected(endpoint, http_dimension=384):
            pass


async def test_an_endpoint_that_is_not_there_fails_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(EmbeddingServiceError, match=r"cannot be reached.*Is the endpoint running"):
        async with connected(Endpoint(url), http_attempts_max=2):
            pass


def test_an_endpoint_without_a_model_name_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="http_model is missing"):
        create_embedder("http://127.0.0.1:1")


async def test_more_texts_than_may_wait_are_refused(endpoint: Endpoint) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(served: Endpoint, texts: list[str]) -> Response:
        del served
        arrived.set()
        await release.wait()
        return answer(texts)

    async with connected(endpoint, queue_texts_max=5) as embedder:
        endpoint.behaviour = hold
        held = asyncio.create_task(embedder.embed_documents(["x"] * 4))
        await arrived.wait()
        with pytest.raises(EmbedderBusyError):
            await embedder.embed_documents(["y"] * 2)
        assert embedder.describe().queued_texts == 4
        release.set()
        assert len(await held) == 4
        assert len(await embedder.embed_documents(["y"] * 2)) == 2


async def test_a_closed_embedder_says_so(endpoint: Endpoint) -> None:
    async with connected(endpoint) as embedder:
        await embedder.aclose()
        with pytest.raises(EmbedderClosedError):
            await embedder.embed_query("x")


async def test_what_is_no_text_is_refused_before_it_is_sent(endpoint: Endpoint) -> None:
    async with connected(endpoint) as embedder:
        with pytest.raises(TypeError, match=r"texts\[1\] must be str"):
            await embedder.embed_documents(["fine", 5])  # type: ignore[list-item]
    assert endpoint.requests == []
