"""Words as weighted terms."""

import numpy as np
import pytest

from recollect.embeddings import sparse_query_terms, sparse_terms
from recollect.embeddings.sparse import term_id, words


def test_terms_are_ascending_and_each_once() -> None:
    ids, weights = sparse_terms("to be or not to be, that is the question")
    assert ids.dtype == np.uint32
    assert weights.dtype == np.float32
    assert len(ids) == len(weights) == 8
    assert (np.diff(ids.astype(np.int64)) > 0).all()


def test_case_width_and_composition_make_no_difference() -> None:
    a, _ = sparse_query_terms("Straße CAFÉ \uff26\uff55\uff4c\uff4c")
    b, _ = sparse_query_terms("STRASSE cafe\u0301 full")
    np.testing.assert_array_equal(a, b)


def test_weights_follow_bm25_with_a_fixed_average_length() -> None:
    ids, weights = sparse_terms("echo echo echo delta")
    damping = 1.2 * (1 - 0.75 + 0.75 * 4 / 48)
    expected = {term_id("echo"): 3 * 2.2 / (3 + damping), term_id("delta"): 2.2 / (1 + damping)}
    assert dict(zip(ids.tolist(), weights.tolist(), strict=True)) == pytest.approx(expected)


def test_a_word_repeated_without_end_saturates() -> None:
    _, weights = sparse_terms("spam " * 10_000)
    assert 0 < weights[0] < 2.2


def test_a_query_weighs_each_word_once() -> None:
    ids, weights = sparse_query_terms("where where where is it")
    assert len(ids) == 3
    assert weights.tolist() == [1.0, 1.0, 1.0]


def test_the_ids_are_the_same_in_every_run_on_every_machine() -> None:
    assert sparse_query_terms("milk")[0].tolist() == [0xBC269C16]


@pytest.mark.parametrize("text", ["", "  ", "?!…", "\ud800", "\x00"])
def test_a_text_without_words_has_no_terms(text: str) -> None:
    for ids, weights in (sparse_terms(text), sparse_query_terms(text)):
        assert ids.shape == weights.shape == (0,)


def test_text_written_without_blanks_is_found_by_its_characters() -> None:
    assert words("明日、駅前で") == ["明", "日", "駅", "前", "で"]
    assert words("GPU駅 v2") == ["gpu", "駅", "v2"]
