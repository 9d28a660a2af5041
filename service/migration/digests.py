"""A digest of a version that is the same on every backend: of all that it holds, to the last bit of its vectors."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import numpy as np

from recollect.adapters.versions import Version

_encoder = msgspec.json.Encoder(order="sorted")


def digest_of(commit: Sequence[Version]) -> bytes:
    """Return the SHA-256 of the versions of one commit, which are in a fixed order."""
    digest = sha256()
    for version in commit:
        # A tombstone has no metadata, which backends may give back as none or as empty.
        metadata = None if version.forgotten else version.metadata
        fields = _encoder.encode(msgspec.structs.replace(version, vectors=None, sparse=None, metadata=metadata))
        # Each part says how long it is, so that no two versions run together to the same bytes.
        for part in (fields, *_numbers(version)):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.digest()


def _numbers(version: Version) -> tuple[bytes, ...]:
    vectors = b"" if version.vectors is None else version.vectors.astype("<f4").tobytes()
    if version.sparse is None:
        return (vectors, b"", b"")
    terms, weights = np.asarray(version.sparse.terms), np.asarray(version.sparse.weights)
    return (vectors, terms.astype("<u4").tobytes(), weights.astype("<f4").tobytes())
