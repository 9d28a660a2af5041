import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.service.hashing import canonical_json, content_hash
from recollect.service.summaries import SUMMARY_CHARS_MAX, summarise

ABOUT_WHALES = (
    "I had breakfast early today. Whales are large mammals that live in the sea. "
    "The sea is home to whales, and whales feed on krill in the sea. My shoes are brown. "
    "Many whales travel through the sea each year to find krill. The weather was nothing special. "
    "A neighbour painted his fence on Tuesday."
)


@pytest.mark.requirement("C1")
def test_a_summary_keeps_the_sentences_that_the_others_are_about() -> None:
    summary = summarise(ABOUT_WHALES)
    assert "whales" in summary.lower()
    assert "fence" not in summary
    assert "breakfast" not in summary


def test_a_short_text_stands_for_itself_on_one_line() -> None:
    assert summarise("tea,\n  not coffee ") == "tea, not coffee"


@given(st.text(max_size=3000), st.integers(min_value=8, max_value=400))
def test_a_summary_is_never_longer_than_it_may_be(text: str, chars_max: int) -> None:
    assert len(summarise(text, chars_max)) <= chars_max


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Zs", "Cc"]), min_size=1, max_size=2000))
def test_a_text_with_something_to_see_has_a_summary(text: str) -> None:
    assert bool(summarise(text)) == bool(text.split())


def test_one_endless_sentence_is_cut_at_a_word() -> None:
    summary = summarise("word " * 200)
    assert summary.endswith("word…")
    assert len(summary) <= SUMMARY_CHARS_MAX


def test_equal_documents_have_equal_json_whatever_the_order_of_their_keys() -> None:
    assert canonical_json({"b": [1, {"d": 1, "c": 2}], "a": None}) == b'{"a":null,"b":[1,{"c":2,"d":1}]}'


@pytest.mark.requirement("B2")
def test_content_of_another_type_has_another_hash() -> None:
    hashes = {content_hash(content, said={}) for content in ("1", 1, True, [1], {"1": 1}, 1.5)}
    assert len(hashes) == 6
