"""Checks and repairs every embedder does to what it is given."""

from collections.abc import Sequence

import numpy as np

from recollect.embeddings.protocol import Vectors


def require_texts(texts: Sequence[str]) -> None:
    """Refuse what is no sequence of texts, before any work.

    Raises:
        TypeError: `texts` is itself a string or bytes, or holds something that is no string; the message says where.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts must be a sequence of str, not one {type(texts).__name__}: wrap it in a list")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] must be str, not {type(text).__name__}")


def require_text(text: str) -> None:
    """Refuse what is no text.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")


def well_formed(text: str) -> str:
    """Return the text with each lone surrogate, which UTF-8 cannot carry, replaced by `?`."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def character_windows(text: str, *, characters_max: int, overlap_characters: int) -> list[str]:
    """Cut a text into overlapping windows, between words where it has any.

    Args:
        text: Any text.
        characters_max: Most characters in a window.
        overlap_characters: About how many a window shares with the one before it; at most a quarter of the window.

    Returns:
        The text itself when it fits one window; else windows that together hold every character.
    """
    windows = []
    start = 0
    while len(text) - start > characters_max:
        limit = start + characters_max
        blank = max(
            text.rfind(" ", limit - characters_max // 4, limit), text.rfind("\n", limit - characters_max // 4, limit)
        )
        end = limit if blank < 0 else blank
        windows.append(text[start:end])
        back = end - overlap_characters
        blank = text.find(" ", back, end)
        start = back if blank < 0 else blank + 1
    windows.append(text[start:])
    return windows


def normalised_mean(rows: Vectors) -> Vectors:
    """Return the mean of the rows, of shape (dimension,) and length 1; the first row should they cancel out."""
    if len(rows) == 1:
        only: Vectors = rows[0]
        return only
    mean: Vectors = rows.mean(axis=0, dtype=np.float32)
    length = np.float32(np.linalg.norm(mean))
    vector: Vectors = rows[0] if length == 0.0 else mean / length
    return vector
