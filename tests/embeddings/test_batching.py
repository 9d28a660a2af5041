"""The queue in front of a model, seen from both of its ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest

from recollect.embeddings import (
    BatchingEmbedder,
    EmbedderBusyError,
    EmbedderClosedError,
    EmbedderStatus,
    InferenceError,
)
from recollect.embeddings.protocol import Vectors

DIMENSION = 4


class GatedRuntime:
    """A runtime whose every batch waits at a gate, and which keeps what it was given.

    A window is a list of characters; its vector points where the text's first characters say.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.rounds: list[int] = []
        self.threads: set[int] = set()
        self.closed = False
        self.status = EmbedderStatus(model_id="gated", dimension=DIMENSION, runtime="test", window_tokens=10)

    def windows(self, texts: Sequence[str], *, query: bool) -> list[list[str]]:
        del query
        self.rounds.append(len(texts))
        if any("untokenisable" in text for text in texts):
            raise ValueError("cannot be cut")
        return [[text[start : start + 1000] for start in range(0, max(len(text), 1), 1000)] for text in texts]

    def infer(self, windows: Sequence[str]) -> Vectors:
        self.threads.add(threading.get_ident())
        self.batches.append(list(windows))
        self.entered.release()
        self.gate.wait()
        if any("explosive" in window for window in windows):
            raise ZeroDivisionError("no such vector")
        return np.stack([vector_of(window) for window in windows])

    def close(self) -> None:
        self.closed = True


def vector_of(text: str) -> Vectors:
    codes = np.array([ord(character) for character in f"{text:<{DIMENSION}}"[-DIMENSION:]], dtype=np.float32)
    unit: Vectors = codes / np.float32(np.linalg.norm(codes))
    return unit


@pytest.fixture
def runtime() -> GatedRuntime:
    return GatedRuntime()


@pytest.fixture
async def make(runtime: GatedRuntime) -> AsyncIterator[Callable[..., BatchingEmbedder[str]]]:
    made: list[BatchingEmbedder[str]] = []

    def make_embedder(**bounds: int) -> BatchingEmbedder[str]:
        made.append(BatchingEmbedder(runtime, **bounds))
        return made[-1]

    yield make_embedder
    runtime.gate.set()
    for embedder in made:
        await embedder.aclose()


async def entered(runtime: GatedRuntime) -> None:
    """Return once a batch stands at the gate."""
    await asyncio.to_thread(runtime.entered.acquire)


async def let_run() -> None:
    """Let every task that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


Make = Callable[..., BatchingEmbedder[str]]


async def test_each_caller_gets_the_vectors_of_its_own_texts_in_order(make: Make) -> None:
    embedder = make(batch_tokens_max=40)

    async def call(number: int) -> None:
        texts = [f"{'x' * (number * place % 17)}{number:02}{place:02}" for place in range(number % 7 + 1)]
        vectors = await embedder.embed_documents(texts)
        assert [rows.shape for rows in vectors] == [(1, DIMENSION)] * len(texts)
        for rows, text in zip(vectors, texts, strict=True):
            np.testing.assert_array_equal(rows[0], vector_of(text))

    await asyncio.gather(*(call(number) for number in range(100)))


async def test_a_text_that_comes_alone_is_computed_alone(make: Make, runtime: GatedRuntime) -> None:
    await make().embed_documents(["alone"])
    assert runtime.batches == [["alone"]]


async def test_texts_that_come_while_a_batch_runs_share_the_next_one(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(embedder.embed_documents(["first"]))
        await entered(runtime)
        for number in range(16):
            group.create_task(embedder.embed_documents([f"later {number:02}"]))
        await let_run()
        runtime.gate.set()
    assert [len(batch) for batch in runtime.batches] == [1, 16]


async def test_a_batch_holds_no_more_padded_tokens_than_allowed(make: Make, runtime: GatedRuntime) -> None:
    await make(batch_tokens_max=100).embed_documents(["x" * length for length in range(1, 90)])
    padded = [len(batch) * max(map(len, batch)) for batch in runtime.batches]
    assert max(padded) <= 100
    assert sum(map(len, runtime.batches)) == 89


async def test_texts_of_a_batch_are_near_in_length(make: Make, runtime: GatedRuntime) -> None:
    await make(batch_tokens_max=200).embed_documents(["x" * (1 + number * 37 % 50) for number in range(200)])
    computed = sum(len(batch) * max(map(len, batch)) for batch in runtime.batches)
    needed = sum(len(text) for batch in runtime.batches for text in batch)
    assert computed < 1.1 * needed


async def test_a_query_goes_before_documents_that_wait(make: Make, runtime: GatedRuntime) -> None:
    embedder = make(batch_tokens_max=10)
    runtime.gate.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(embedder.embed_documents(["0123456789", "9876543210", "5555555555"]))
        await entered(runtime)
        group.create_task(embedder.embed_query("urgent"))
        await let_run()
        runtime.gate.set()
    assert runtime.batches[1] == ["urgent"]
    assert len(runtime.batches) == 4


async def test_work_cancelled_while_it_waits_never_reaches_the_model(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    first = asyncio.create_task(embedder.embed_documents(["first"]))
    await entered(runtime)
    waiting = [asyncio.create_task(embedder.embed_documents([f"gone {number}"])) for number in range(5)]
    query = asyncio.create_task(embedder.embed_query("gone too"))
    kept = asyncio.create_task(embedder.embed_documents(["kept"]))
    await let_run()
    for task in (*waiting, query):
        task.cancel()
    await asyncio.wait([*waiting, query])
    assert embedder.describe().queued_texts == 2
    assert len(embedder._documents) == 1, "cancelled work still fills the queue"
    runtime.gate.set()
    await asyncio.gather(first, kept)
    assert runtime.batches == [["first"], ["kept"]]


async def test_a_call_cancelled_in_its_midst_computes_no_further_batch(make: Make, runtime: GatedRuntime) -> None:
    embedder = make(batch_tokens_max=10)
    runtime.gate.clear()
    call = asyncio.create_task(embedder.embed_documents([f"text {number:05}" for number in range(400)]))
    await entered(runtime)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    runtime.gate.set()
    # A document, for a query would overtake whatever is wrongly left.
    await embedder.embed_documents(["afterwards"])
    assert len(runtime.batches) == 2


async def test_more_texts_than_the_queue_takes_are_refused_until_there_is_room(
    make: Make, runtime: GatedRuntime
) -> None:
    embedder = make(queue_texts_max=10)
    runtime.gate.clear()
    held = asyncio.create_task(embedder.embed_documents(["x"] * 8))
    await entered(runtime)
    with pytest.raises(EmbedderBusyError, match=r"8 texts wait.*takes 10.*again in a moment"):
        await embedder.embed_documents(["y"] * 3)
    query = asyncio.create_task(embedder.embed_query("has a queue of its own"))
    await let_run()
    assert embedder.describe().queued_texts == 9
    runtime.gate.set()
    await asyncio.gather(held, query)
    assert len(await embedder.embed_documents(["y"] * 3)) == 3
    assert embedder.describe().queued_texts == 0


async def test_a_giant_call_takes_turns_and_is_never_whole_in_the_queue(make: Make, runtime: GatedRuntime) -> None:
    embedder = make(batch_tokens_max=1000)
    runtime.gate.clear()
    giant = asyncio.create_task(embedder.embed_documents([f"{number:06}" for number in range(20_000)]))
    await entered(runtime)
    assert embedder.describe().queued_texts <= 512
    small = asyncio.create_task(embedder.embed_documents(["small call"]))
    await let_run()
    runtime.gate.set()
    await small
    assert not giant.done()
    vectors = await giant
    assert max(runtime.rounds) <= 512
    np.testing.assert_array_equal(vectors[19_999][0], vector_of("019999"))
    assert len(vectors) == 20_000


async def test_a_call_larger_than_the_whole_queue_is_served_when_nothing_waits(make: Make) -> None:
    assert len(await make(queue_texts_max=5).embed_documents(["x"] * 100)) == 100


async def test_a_text_the_tokenizer_fails_on_spoils_only_its_own_call(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    first = asyncio.create_task(embedder.embed_documents(["first"]))
    await entered(runtime)
    good = asyncio.create_task(embedder.embed_documents(["good"]))
    bad = asyncio.create_task(embedder.embed_documents(["untokenisable"]))
    await let_run()
    runtime.gate.set()
    await asyncio.gather(first, good)
    with pytest.raises(InferenceError, match="ValueError: cannot be cut"):
        await bad


async def test_a_batch_the_model_fails_on_is_reported_and_the_next_one_works(make: Make) -> None:
    embedder = make()
    with pytest.raises(InferenceError, match="ZeroDivisionError"):
        await embedder.embed_documents(["explosive"])
    assert len(await embedder.embed_documents(["calm"])) == 1


async def test_a_failing_piece_of_a_long_call_leaves_no_other_piece_behind(make: Make, runtime: GatedRuntime) -> None:
    embedder = make(batch_tokens_max=10)
    with pytest.raises(InferenceError):
        await embedder.embed_documents(["explosive", *(["calm"] * 2000)])
    # A document, for a query would overtake whatever is wrongly left.
    await embedder.embed_documents(["afterwards"])
    assert sum(map(len, runtime.batches)) < 1000
    assert embedder.describe().queued_texts == 0


async def test_closing_fails_what_waits_and_frees_the_model(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    running = asyncio.create_task(embedder.embed_documents(["running"]))
    await entered(runtime)
    waiting = asyncio.create_task(embedder.embed_documents(["waiting"]))
    await let_run()
    closing = asyncio.create_task(embedder.aclose())
    await let_run()
    runtime.gate.set()
    await closing
    assert len(await running) == 1
    with pytest.raises(EmbedderClosedError):
        await waiting
    with pytest.raises(EmbedderClosedError, match="create a new one"):
        await embedder.embed_query("late")
    assert runtime.closed
    await embedder.aclose()


async def test_closing_does_not_wait_for_the_rest_of_a_long_call(make: Make, runtime: GatedRuntime) -> None:
    embedder = make(batch_tokens_max=10)
    runtime.gate.clear()
    call = asyncio.create_task(embedder.embed_documents([f"text {number:05}" for number in range(200)]))
    await entered(runtime)
    closing = asyncio.create_task(embedder.aclose())
    await let_run()
    runtime.gate.set()
    await closing
    with pytest.raises(EmbedderClosedError):
        await call
    assert len(runtime.batches) == 1


@pytest.mark.parametrize("texts", [["fine", None], [b"bytes"], "one string", b"bytes", [1.5]])
async def test_what_is_no_text_is_refused_before_anything_is_computed(
    texts: Sequence[str], make: Make, runtime: GatedRuntime
) -> None:
    with pytest.raises(TypeError, match="must be"):
        await make().embed_documents(texts)
    assert runtime.rounds == []


async def test_a_query_that_is_no_text_is_refused(make: Make) -> None:
    with pytest.raises(TypeError, match="must be str, not int"):
        await make().embed_query(5)  # type: ignore[arg-type]


async def test_no_texts_give_no_vectors(make: Make, runtime: GatedRuntime) -> None:
    assert await make().embed_documents([]) == []
    assert runtime.rounds == []


async def test_a_text_of_several_windows_has_a_row_for_each(make: Make) -> None:
    short, long = await make().embed_documents(["ab", "x" * 2500])
    assert short.shape == (1, DIMENSION)
    assert long.shape == (3, DIMENSION)


async def test_a_query_of_several_windows_is_their_normalised_mean(make: Make) -> None:
    vector = await make().embed_query("a" * 1000 + "z" * 500)
    mean = vector_of("aaaa") + vector_of("zzzz")
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-5)
    assert not vector.flags.writeable


async def test_a_callers_vectors_do_not_keep_those_of_others_alive(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    first = asyncio.create_task(embedder.embed_documents(["first"]))
    await entered(runtime)
    calls = [asyncio.create_task(embedder.embed_documents([f"text {number}"])) for number in range(9)]
    await let_run()
    runtime.gate.set()
    await first
    owners = {id(vectors[0].base) for vectors in await asyncio.gather(*calls)}
    assert len(owners) == 9


@pytest.mark.requirement("B1")
async def test_the_event_loop_runs_on_while_the_model_computes(make: Make, runtime: GatedRuntime) -> None:
    embedder = make()
    runtime.gate.clear()
    call = asyncio.create_task(embedder.embed_documents(["slow"]))
    await entered(runtime)
    # Were the model run on the loop, this line would never be reached.
    runtime.gate.set()
    await call
    assert threading.get_ident() not in runtime.threads
    assert len(runtime.threads) == 1


async def test_several_event_loops_share_one_embedder(make: Make) -> None:
    embedder = make()

    def another_loop(number: int) -> Vectors:
        return asyncio.run(embedder.embed_query(f"loop {number}"))

    vectors = await asyncio.gather(*(asyncio.to_thread(another_loop, number) for number in range(4)))
    for number, vector in enumerate(vectors):
        np.testing.assert_array_equal(vector, vector_of(f"loop {number}"))
