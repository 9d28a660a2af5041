"""Stable hashes of what callers say, so that the same memory is recognised however its JSON was written."""

import hashlib
import unicodedata
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _encoder.encode(value)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def normalised(value: Any) -> Any:
    """Return text without what readers do not see: Unicode NFC, line ends as LF, no white space around it.

    Values other than text are returned as they are. Only the hash is taken of this; what is stored is what was said.
    """
    if not isinstance(value, str):
        return value
    text = value if value.isascii() else unicodedata.normalize("NFC", value)
    return text.replace("\r\n", "\n").strip()


def content_hash(content: Any, *, said: dict[str, Any]) -> str:
    """Return the hash by which an exact duplicate is known.

    Args:
        content: The memory's content, text or JSON.
        said: What else the caller said that makes this a memory of its own: kind, key, tags, metadata, and the time
            it came about where one was given. Leaving them out would drop what a second writer says.
    """
    return sha256_hex(canonical_json({"content": normalised(content), **said}))
