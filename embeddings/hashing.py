"""An embedder without a model: words and pieces of words, hashed into a vector.

Feature hashing after Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009): a feature's hash
chooses a component and a sign, and the vector is the normalised sum. Texts that share words or parts of words are
similar; texts that mean the same in other words are not. It is exactly repeatable on every machine and takes
microseconds, which is what tests need. It is no substitute for a model.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from recollect.embeddings.batching import BatchingEmbedder
from recollect.embeddings.errors import ModelNotFoundError
from recollect.embeddings.protocol import EmbedderStatus, Vectors
from recollect.embeddings.sparse import words
from recollect.embeddings.texts import character_windows

DIMENSION_DEFAULT = 64
DIMENSION_MAX = 65_536
WINDOW_CHARACTERS = 1200
OVERLAP_CHARACTERS = 150
_GRAM_CHARACTERS = 3
_WORD_WEIGHT = 1.0
_GRAM_WEIGHT = 0.4
"""A word has several grams, so each counts less than the word, and together they count about as much."""


class HashRuntime:
    """Feature hashing as a runtime. A window is a piece of text."""

    def __init__(self, dimension: int = DIMENSION_DEFAULT) -> None:
        """Choose the length of the vectors.

        Raises:
            ModelNotFoundError: It is not from 2 to 65,536.
        """
        if not 2 <= dimension <= DIMENSION_MAX:  # noqa: PLR2004 - a vector of one component tells nothing apart
            raise ModelNotFoundError(f"hash:{dimension} is no model: the dimension must be from 2 to {DIMENSION_MAX}")
        self._status = EmbedderStatus(
            model_id=f"hash-{dimension}", dimension=dimension, runtime="hash", window_characters=WINDOW_CHARACTERS
        )

    @property
    def status(self) -> EmbedderStatus:
        """The facts about the model."""
        return self._status

    def windows(self, texts: Sequence[str], *, query: bool) -> list[list[str]]:
        """Cut texts by characters; queries and documents alike."""
        del query
        return [
            character_windows(text, characters_max=WINDOW_CHARACTERS, overlap_characters=OVERLAP_CHARACTERS)
            for text in texts
        ]

    def infer(self, windows: Sequence[str]) -> Vectors:
        """Hash each window."""
        return np.stack([_hashed(window, self._status.dimension) for window in windows])

    def close(self) -> None:
        """Nothing is held."""


class HashEmbedder(BatchingEmbedder[str]):
    """The deterministic embedder for tests, behind the same queue as any model."""

    def __init__(self, dimension: int = DIMENSION_DEFAULT, *, queue_texts_max: int = 8192) -> None:
        """Choose the length of the vectors, and how many texts may wait.

        Raises:
            ModelNotFoundError: The dimension is not from 2 to 65,536.
        """
        super().__init__(HashRuntime(dimension), batch_tokens_max=1 << 16, queue_texts_max=queue_texts_max)


def _hashed(text: str, dimension: int) -> Vectors:
    features = [_features(word) for word in words(text)]
    vector = np.zeros(dimension, dtype=np.float32)
    if features:
        hashes = np.concatenate([of_word[0] for of_word in features])
        weights = np.concatenate([of_word[1] for of_word in features])
        vector = np.bincount(hashes % np.uint32(dimension), weights, dimension).astype(np.float32)
    length = np.linalg.norm(vector)
    if length == 0.0:
        # No word at all, or features that cancel out: still a vector one can store and compare.
        vector[0] = length = np.float32(1.0)
    return (vector / length).astype(np.float32)


@lru_cache(maxsize=1 << 15)
def _features(word: str) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Return the hashes and signed weights of a word and of its character grams, its ends marked."""
    marked = f"<{word[:64]}>"
    grams = {marked[start : start + _GRAM_CHARACTERS] for start in range(len(marked) - _GRAM_CHARACTERS + 1)}
    names = [f"w:{word}", *sorted(grams)]
    hashes = np.array([zlib.crc32(name.encode(errors="replace")) for name in names], dtype=np.uint32)
    # The sign comes from the top bit, the component from the rest.
    weights = np.where(hashes >> np.uint32(31), np.float32(-_GRAM_WEIGHT), np.float32(_GRAM_WEIGHT))
    weights[0] *= np.float32(_WORD_WEIGHT / _GRAM_WEIGHT)
    return hashes & np.uint32(0x7FFFFFFF), weights
