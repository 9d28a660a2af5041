"""Sparse terms: the words of a text, for recall by exact wording beside recall by meaning.

A document's weight of a term is the term-frequency part of BM25,

    tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average_length))

after Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with k1 = 1.2, b = 0.75.
The part that needs the whole collection, a term's rarity, belongs to the store that searches, which knows it. The
average length is a constant, so that a document's terms never change when others arrive.
"""

import re
import unicodedata
import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

TermIds = NDArray[np.uint32]
TermWeights = NDArray[np.float32]

TERM_SATURATION_K1 = 1.2
LENGTH_NORMALISATION_B = 0.75
AVERAGE_LENGTH_WORDS = 48
"""What a memory usually has; only how strongly much longer texts are discounted hangs on it."""

# Chinese and Japanese are written without blanks, so each of their characters is a term of its own.
_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TERM = re.compile(rf"[{_CHARACTERS}]|[^\W{_CHARACTERS}]+")


def words(text: str) -> list[str]:
    """Return the words of a text in order: NFKC-normalised, casefolded runs of letters and digits."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _TERM.findall(text.casefold())


def term_id(word: str) -> int:
    """Return the id of a normalised word: the CRC-32 of its UTF-8 form, the same on every machine and in every run."""
    return zlib.crc32(word.encode(errors="replace"))


def sparse_terms(text: str) -> tuple[TermIds, TermWeights]:
    """Return the terms of a text that is stored.

    Args:
        text: Any text.

    Returns:
        Term ids, uint32, ascending, each once; and their weights, float32, above 0 and below k1 + 1 = 2.2. Both are
        empty when the text holds no word.
    """
    found = [term_id(word) for word in words(text)]
    counts = sorted(Counter(found).items())
    ids = np.fromiter((identifier for identifier, _ in counts), np.uint32, len(counts))
    frequency = np.fromiter((count for _, count in counts), np.float32, len(counts))
    relative_length = len(found) / AVERAGE_LENGTH_WORDS
    damping = TERM_SATURATION_K1 * (1.0 - LENGTH_NORMALISATION_B + LENGTH_NORMALISATION_B * relative_length)
    weights = frequency * np.float32(TERM_SATURATION_K1 + 1.0) / (frequency + np.float32(damping))
    return ids, weights.astype(np.float32, copy=False)


def sparse_query_terms(text: str) -> tuple[TermIds, TermWeights]:
    """Return the terms of a text to search with.

    Args:
        text: Any text.

    Returns:
        Term ids, uint32, ascending, each once; and their weights, float32, all 1.0, so that the inner product with a
        document's weights is its BM25 score before rarity. Both are empty when the text holds no word.
    """
    found = sorted({term_id(word) for word in words(text)})
    return np.array(found, dtype=np.uint32), np.ones(len(found), dtype=np.float32)
