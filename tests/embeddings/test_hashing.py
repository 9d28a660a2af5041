"""The embedder without a model."""

import numpy as np
import pytest

from recollect.embeddings import HashEmbedder, ModelNotFoundError, create_embedder


async def similarity(a: str, b: str, dimension: int = 64) -> float:
    embedder = HashEmbedder(dimension)
    vectors = await embedder.embed_documents([a, b])
    await embedder.aclose()
    return float(vectors[0][0] @ vectors[1][0])


async def test_texts_that_share_words_are_more_similar_than_texts_that_do_not() -> None:
    near = await similarity("the cat sat on the mat", "a cat sat upon a mat")
    far = await similarity("the cat sat on the mat", "quarterly revenue grew")
    assert near > far + 0.3


async def test_inflected_words_are_similar_through_their_parts() -> None:
    assert await similarity("lighthouse", "lighthouses", 512) > 0.4


async def test_the_vectors_are_the_same_in_every_run_on_every_machine() -> None:
    embedder = create_embedder("hash:8")
    vector = await embedder.embed_query("Remember the milk")
    # Written down once: a store made with this embedder must stay readable.
    expected = [0.134535, -0.134535, 0.0, -0.470871, 0.269069, -0.134535, 0.0, -0.807207]
    np.testing.assert_allclose(vector, expected, atol=1e-6)
    await embedder.aclose()


@pytest.mark.parametrize("text", ["", "   \n", "!!!", "\ud800", "\x00\x07", "x" * 100_000, "语 " * 3000, "🌧️"])
async def test_every_text_has_a_finite_vector_of_length_one(text: str) -> None:
    embedder = HashEmbedder(2)
    for row in (await embedder.embed_documents([text]))[0]:
        assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-6)
    assert np.linalg.norm(await embedder.embed_query(text)) == pytest.approx(1.0, abs=1e-6)
    await embedder.aclose()


async def test_a_needle_at_the_end_of_a_long_text_is_found_in_its_window() -> None:
    embedder = HashEmbedder(256)
    text = "plain hay and more of it " * 400 + "the silver needle of Aunt Augusta"
    windows = (await embedder.embed_documents([text]))[0]
    scores = windows @ await embedder.embed_query("Aunt Augusta's silver needle")
    assert len(windows) > 2
    assert scores.argmax() == len(windows) - 1
    await embedder.aclose()


def test_the_dimension_is_part_of_the_name() -> None:
    assert create_embedder("hash").dimension == 64
    assert create_embedder("hash:128").model_id == "hash-128"


@pytest.mark.parametrize(
    "name", ["hash:", "hash:zero", "hash:0", "hash:1", "hash:-5", "hash:1e9", "hash:99999999", "hash:²"]
)
def test_a_dimension_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="is no model"):
        create_embedder(name)
