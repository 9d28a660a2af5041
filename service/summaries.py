"""Summaries of text without a model: its most central sentences.

Centrality is LexRank (Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text
Summarization", JAIR 2004): sentences that are similar to many others score high. Similarity is the cosine of
TF-IDF vectors; scores are the stationary distribution of a random walk over similarities.
"""

import math
import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

SUMMARY_CHARS_MAX = 240
SENTENCES_MAX = 64
_DAMPING = 0.85
_STEPS = 20

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n{2,}|\n(?=\s*[-*#\d])")  # noqa: RUF001
_WORD = re.compile(r"\w+")


def summarise(text: str, chars_max: int = SUMMARY_CHARS_MAX) -> str:
    """Return a summary of at most `chars_max` characters; a text that short stands for itself.

    Sentences keep their order and wording. Only the first 64 sentences are weighed, so that the time is bounded.
    """
    words = " ".join(text[: 40 * chars_max].split()) if len(text) > 40 * chars_max else " ".join(text.split())
    if len(words) <= chars_max:
        return words
    sentences = [" ".join(part.split()) for part in _SENTENCE_END.split(text[: 40 * chars_max]) if part.strip()]
    sentences = sentences[:SENTENCES_MAX]
    order = np.argsort(-_centrality(sentences), kind="stable") if len(sentences) > 1 else np.array([0])
    chosen: list[int] = []
    left = chars_max
    for index in order.tolist():
        if len(sentences[index]) <= left:
            chosen.append(index)
            left -= len(sentences[index]) + 1
    if not chosen:
        return _cut(sentences[int(order[0])], chars_max)
    return " ".join(sentences[index] for index in sorted(chosen))


def _centrality(sentences: list[str]) -> NDArray[np.float64]:
    bags = [Counter(_WORD.findall(sentence.casefold())) for sentence in sentences]
    seen_in = Counter(word for bag in bags for word in bag)
    column = {word: i for i, word in enumerate(seen_in)}
    weights = np.zeros((len(bags), max(len(column), 1)))
    for row, bag in enumerate(bags):
        for word, count in bag.items():
            weights[row, column[word]] = count * math.log(1 + len(bags) / seen_in[word])
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights /= np.where(lengths > 0, lengths, 1)
    similar = weights @ weights.T
    np.fill_diagonal(similar, 0)
    totals = similar.sum(axis=1, keepdims=True)
    walk = np.where(totals > 0, similar / np.where(totals > 0, totals, 1), 1 / len(bags))
    scores = np.full(len(bags), 1 / len(bags))
    for _ in range(_STEPS):
        scores = (1 - _DAMPING) / len(bags) + _DAMPING * (scores @ walk)
    # Rounded, so that sentences that are equally central keep the order of the text on every machine.
    return np.round(scores, 9)


def _cut(sentence: str, chars_max: int) -> str:
    head, space, _ = sentence[:chars_max].rpartition(" ")
    return (head if space else sentence[: chars_max - 1]) + "…"
