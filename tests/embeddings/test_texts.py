"""Cutting and repairing text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.embeddings import EmbedderSettings
from recollect.embeddings.texts import character_windows, normalised_mean, well_formed


@given(st.text(alphabet=st.sampled_from("ab \n語"), max_size=400), st.integers(16, 60))
def test_windows_cover_every_character_and_none_is_too_long(text: str, size: int) -> None:
    windows = character_windows(text, characters_max=size, overlap_characters=size // 8)
    assert max(map(len, windows)) <= size
    position = 0
    for window in windows:
        # Each window begins at or before the end of the one before it, but for blanks between words.
        start = text.find(window, max(0, position - size))
        assert start >= 0
        assert text[position:start].strip() == ""
        position = start + len(window)
    assert position == len(text)


def test_a_text_that_fits_is_one_window() -> None:
    assert character_windows("just this", characters_max=16, overlap_characters=2) == ["just this"]
    assert character_windows("", characters_max=16, overlap_characters=2) == [""]


def test_words_are_not_cut_where_there_are_blanks() -> None:
    text = "alpha beta gamma delta " * 20
    known = set(text.split())
    for window in character_windows(text, characters_max=64, overlap_characters=8):
        assert set(window.split()) <= known


@given(st.text())
def test_well_formed_text_is_left_alone(text: str) -> None:
    assert well_formed(text) == text


def test_lone_surrogates_become_question_marks() -> None:
    assert well_formed("a\ud800b\udfffc") == "a?b?c"


def test_rows_that_cancel_out_give_the_first_of_them() -> None:
    rows = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert normalised_mean(rows).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_tokens_max", 0),
        ("queue_texts_max", 0),
        ("threads", 0),
        ("query_cache_entries", -1),
        ("http_deadline_s", 0),
        ("http_deadline_s", float("nan")),
        ("http_window_characters", 3),
        ("runtime", "onnx"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        EmbedderSettings(**{name: value})  # type: ignore[arg-type]


def test_the_key_of_an_endpoint_is_not_shown() -> None:
    assert "s3cret" not in repr(EmbedderSettings(http_api_key="s3cret"))
