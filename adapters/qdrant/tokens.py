"""Tokens: what a version equals, as words that an index of keywords finds exactly.

A token stands for one field with one value of one type, so that true is not 1 and "1" is not 1, while 1 is 1.0. It is
a digest: no value can be too long, hold a character that an engine reads as its own, or be found by a look into the
index. With 96 bits no two of a store's values meet by chance.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from recollect.adapters.errors import InvalidRequestError
from recollect.adapters.filters import FieldPath, Scalar, is_number, leaf_values
from recollect.adapters.versions import Version

DIGEST_BYTES = 12
MISSING_FIELDS = frozenset({"key", "source", "tags"})
"""The fields of text that a version may lack."""

COMMON = "="
"""What the token of a value begins with that several versions are likely to have, unlike a key."""

MARK_LETTERS = 8
"""The mark of a class and branch is shorter: it goes with a token, and few branches share a store."""

EXACT_INTEGER_MAX = 2**53
"""Up to this size a float64, in which engines compare, holds every whole number."""

KEPT_BYTES_MAX = 256
"""Longer values are not kept in memory for the next time."""

_ENCODE = msgspec.json.Encoder().encode
_KEY = ("key",)
_TEXT_FIELDS = ("kind", "key", "actor", "source")


def _digest(*parts: object) -> str:
    try:
        encoded = _ENCODE(parts)
    except UnicodeEncodeError as error:
        raise InvalidRequestError("a text holds half a surrogate pair, which is no UTF-8: no store holds it") from error
    return _kept_word(encoded) if len(encoded) <= KEPT_BYTES_MAX else _word(encoded)


def _word(encoded: bytes) -> str:
    return urlsafe_b64encode(blake2b(encoded, digest_size=DIGEST_BYTES).digest()).decode()


# The same few fields and values come again and again, and each value twice: when it is checked and when it is written.
_kept_word = lru_cache(maxsize=4_096)(_word)


def value_token(path: FieldPath, value: Scalar) -> str:
    """Return the token of a field that has this value, or a list that holds it."""
    common = "" if path == _KEY else COMMON
    if isinstance(value, bool):
        return common + _digest(path, "truth", str(value))
    if isinstance(value, int):
        return common + _digest(path, "number", str(value))
    if isinstance(value, float):
        return common + _digest(path, "number", str(int(value)) if value.is_integer() else repr(value))
    return common + _digest(path, "text", value)


def exists_token(path: FieldPath) -> str:
    """Return the token of a field that is there."""
    return _digest(path, "there")


def content_token(content_hash: str) -> str:
    """Return the token of a version's content."""
    return _digest("content", content_hash)


def number_name(path: FieldPath) -> str:
    """Return the name under which a payload holds the numbers of a path into the metadata."""
    return "n" + _digest(path)


def is_common(token: str) -> bool:
    """Say whether many versions may hold a token, so that it is worth having with the mark of a class and branch."""
    return token.startswith(COMMON)


def live_tokens(tokens: Sequence[str], current: str) -> list[str]:
    """Return the common ones of tokens with the mark of a class and branch, as `fields.current_on` names them."""
    mark = _digest("current", current)[:MARK_LETTERS]
    return [mark + token for token in tokens if is_common(token)]


def comparable(number: float) -> float:
    """Return a number as engines hold it: a whole number of more than 53 bits as the nearest float."""
    return number if -EXACT_INTEGER_MAX <= number <= EXACT_INTEGER_MAX else float(number)


def _walk(metadata: Mapping[str, Any]) -> Iterator[tuple[FieldPath, list[Any]]]:
    """Yield every path into the metadata with the values that a condition on it is tried on."""
    left: list[tuple[FieldPath, Any]] = [(("metadata", name), node) for name, node in metadata.items()]
    while left:
        path, node = left.pop()
        if isinstance(node, Mapping):
            left += [((*path, name), inner) for name, inner in node.items()]
        values = leaf_values(node)
        if values:
            yield path, values


def tokens_of(version: Version) -> tuple[list[str], dict[str, list[float]]]:
    """Return all tokens of a version, and the numbers of its metadata by the names of their paths.

    Raises:
        OverflowError: A number is too large for a float.
    """
    tokens = {content_token(version.content_hash)}
    numbers: dict[str, list[float]] = {}
    for name in _TEXT_FIELDS:
        value = getattr(version, name)
        if value is not None:
            tokens.add(value_token((name,), value))
            if name in MISSING_FIELDS:
                tokens.add(exists_token((name,)))
    if version.tags:
        tokens.add(exists_token(("tags",)))
        tokens.update(value_token(("tags",), tag) for tag in version.tags)
    for path, values in _walk(version.metadata or {}):
        tokens.add(exists_token(path))
        tokens.update(value_token(path, value) for value in values if isinstance(value, str | int | float))
        found = [comparable(value) for value in values if is_number(value)]
        if found:
            numbers[number_name(path)] = found
    return sorted(tokens), numbers
