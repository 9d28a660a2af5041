"""The default model, for real: meaning, agreement with float32, long and odd texts."""

import asyncio

import numpy as np
import pytest

from recollect.embeddings import Embedder

TEXTS = [
    "The harbour froze over in January and the ferries stopped.",
    "Ships could not sail because the port was covered in ice.",
    "She prefers her coffee without sugar.",
    "pip install fails behind the company proxy",
    "Die Besprechung ist auf Donnerstag verschoben.",
    "Our dog Pepper is afraid of thunder, so we close the shutters when a storm comes.",
    "The invoice of March was paid twice; the second payment has to be refunded before the end of the quarter. " * 4,
]


async def test_a_paraphrase_is_nearer_than_anything_else(bundled: Embedder) -> None:
    rows = np.concatenate(await bundled.embed_documents(TEXTS))
    scores = rows[1:] @ rows[0]
    assert scores.argmax() == 0
    assert scores[0] > np.sort(scores)[-2] + 0.2


async def test_vectors_agree_with_float32(bundled: Embedder, reference: Embedder) -> None:
    fast = np.concatenate(await bundled.embed_documents(TEXTS))
    exact = np.concatenate(await reference.embed_documents(TEXTS))
    cosines = (fast * exact).sum(axis=1)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.995


async def test_every_runtime_of_the_same_weights_has_the_same_model_id(bundled: Embedder, reference: Embedder) -> None:
    assert bundled.model_id == reference.model_id == "all-MiniLM-L6-v2"
    assert bundled.dimension == reference.dimension == 384
    assert reference.describe().runtime == "torch-fp32"


async def test_the_status_says_which_runtime_runs_and_how_well_it_agrees(bundled: Embedder) -> None:
    status = bundled.describe()
    assert status.runtime in ("openvino-int8", "openvino-bf16", "openvino-fp32")
    assert status.degraded is None
    assert status.agreement is not None
    assert status.agreement.cosine_mean >= 0.999
    assert status.agreement.cosine_worst >= 0.995
    assert status.agreement.texts >= 20
    assert status.window_tokens == 256


async def test_the_company_of_a_text_in_its_batch_does_not_change_its_vector(bundled: Embedder) -> None:
    together = await bundled.embed_documents(TEXTS)
    for text, rows in zip(TEXTS, together, strict=True):
        alone = (await bundled.embed_documents([text]))[0]
        assert (alone * rows).sum(axis=1).min() > 0.999


async def test_a_query_and_a_document_of_the_same_text_have_the_same_vector(bundled: Embedder) -> None:
    document = (await bundled.embed_documents([TEXTS[0]]))[0][0]
    assert float(document @ await bundled.embed_query(TEXTS[0])) > 0.9999


@pytest.mark.parametrize("embedder", ["bundled", "reference"])
@pytest.mark.parametrize("text", ["", " \n\t", "\ud800\udfff", "\x00\x07\x1b[0m", "🌧️👩‍👩‍👧", "明日の朝", "a" * 100_000])
async def test_every_text_has_finite_vectors_of_length_one(
    text: str, embedder: str, request: pytest.FixtureRequest
) -> None:
    chosen: Embedder = request.getfixturevalue(embedder)
    for vectors in (*await chosen.embed_documents([text]), (await chosen.embed_query(text))[np.newaxis]):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == 384
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)


def haystack() -> str:
    hay = "The committee approved the minutes of the previous meeting and adjourned until the following week. "
    return hay * 130 + "Aunt Augusta hid her emerald ring in the flour tin."


@pytest.mark.parametrize("embedder", ["bundled", "reference"])
async def test_a_needle_at_the_end_of_a_long_text_is_found_in_its_last_window(
    embedder: str, request: pytest.FixtureRequest
) -> None:
    chosen: Embedder = request.getfixturevalue(embedder)
    text = haystack()
    assert len(text.split()) > 1900
    windows = (await chosen.embed_documents([text]))[0]
    scores = windows @ await chosen.embed_query("Where is the emerald ring?")
    assert len(windows) > 7
    assert scores.argmax() == len(windows) - 1
    assert scores[-1] > scores[0] + 0.2


async def test_a_query_longer_than_a_window_is_the_normalised_mean_of_its_windows(bundled: Embedder) -> None:
    text = haystack()
    mean = (await bundled.embed_documents([text]))[0].mean(axis=0)
    vector = await bundled.embed_query(text)
    assert float(vector @ mean / np.linalg.norm(mean)) > 0.9999
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


async def test_many_concurrent_callers_each_get_their_own_vectors(bundled: Embedder) -> None:
    expected = np.concatenate(await bundled.embed_documents(TEXTS))

    async def call(number: int) -> None:
        place = number % len(TEXTS)
        rows = (await bundled.embed_documents([TEXTS[place]]))[0]
        assert int((expected @ rows[0]).argmax()) == place

    await asyncio.gather(*(call(number) for number in range(60)))
