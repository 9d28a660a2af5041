"""What a store on Qdrant can hold and can be asked: refused before anything is sent or written."""

import math
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.errors import InvalidRequestError, InvalidVectorError
from recollect.adapters.port import Commit, SimilarityQuery
from recollect.adapters.qdrant.points import Body, encode_body, encode_head, encode_provenance, point_id
from recollect.adapters.qdrant.tokens import tokens_of
from recollect.adapters.versions import Provenance, SparseVector, Vector, Version

_INT64_MAX = 2**63 - 1
_VERSION = msgspec.json.Decoder(Version)
_PROVENANCE = msgspec.json.Decoder(Provenance)
_BODY = msgspec.json.Decoder(Body)


def validate_commit(commit: Commit, dimension: int) -> None:
    """Refuse a commit that cannot be stored as it is. It looks at nothing but the commit.

    Raises:
        InvalidRequestError: Two puts are for the same memory and branch, or a value cannot be stored.
        InvalidVectorError: A vector is not finite, not of the store's dimension, or all zeros.
    """
    targets = {(put.version.memory_id, put.version.branch) for put in commit.puts}
    if len(targets) != len(commit.puts):
        raise InvalidRequestError("a commit holds at most one version for each memory and branch")
    if commit.position is not None and not 0 < commit.position <= POSITION_MAX:
        raise InvalidRequestError(f"a position lies between 1 and {POSITION_MAX}, unlike {commit.position}")
    for put in commit.puts:
        _validate_version(put.version, dimension)


def _validate_version(version: Version, dimension: int) -> None:
    if not is_memory_id(version.memory_id):
        raise InvalidRequestError(f"a memory id is a UUID in lower-case text, not {version.memory_id!r:.60}")
    whole = (version.number, version.created_at_ms, version.updated_at_ms, version.expires_at_ms or 0)
    if not all(-_INT64_MAX <= number <= _INT64_MAX for number in whole):
        raise InvalidRequestError(f"{version.memory_id}: a number is outside of 64 bits")
    if not (math.isfinite(version.importance) and math.isfinite(version.confidence)):
        raise InvalidRequestError(f"{version.memory_id}: importance and confidence must be finite")
    if version.metadata and not _all_finite(version.metadata):
        raise InvalidRequestError(f"{version.memory_id}: metadata holds NaN or infinity, which JSON cannot say")
    try:
        # Structs do not check the types they are made of; a wrong one must not get into the store.
        _VERSION.decode(encode_head(version))
        _validate_body(version)
        if version.provenance is not None:
            _PROVENANCE.decode(encode_provenance(version.provenance))
        point_id(version.ref)
        tokens_of(version)
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{version.memory_id}: a text holds half a surrogate pair, which is no UTF-8"
        ) from error
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"{version.memory_id}: cannot be stored as JSON: {error}") from error
    if version.vectors is not None:
        validate_rows(version.vectors, dimension)
    if version.sparse is not None:
        validate_terms(version.sparse)


def _validate_body(version: Version) -> None:
    if not isinstance(version.content, str | None) or not isinstance(version.metadata, dict | None):
        raise TypeError("content is text, metadata an object")
    body = encode_body(version)
    if body is not None:
        _BODY.decode(body)


def is_memory_id(text: str) -> bool:
    """Say whether a text is a UUID as a store names memories; what is none names nothing that a store holds."""
    try:
        return str(UUID(text)) == text
    except (ValueError, AttributeError, TypeError):
        return False


def _all_finite(node: Any) -> bool:
    match node:
        case float():
            return math.isfinite(node)
        case dict():
            return all(map(_all_finite, node.values()))
        case list() | tuple():
            return all(map(_all_finite, node))
        case _:
            return True


def validate_query(query: SimilarityQuery, dimension: int) -> None:
    """Refuse a search that has no answer.

    Raises:
        InvalidVectorError: The vector is not finite, not of the store's dimension, or all zeros.
        InvalidRequestError: It has neither a vector nor terms.
    """
    if query.dense is None and query.sparse is None:
        raise InvalidRequestError("a query needs a dense vector, terms, or both")
    if query.dense is not None:
        validate_rows(query.dense[np.newaxis], dimension)
    if query.sparse is not None:
        validate_terms(query.sparse)


def validate_rows(vectors: Vector, dimension: int) -> None:
    """Refuse rows that point nowhere in the store's space.

    Raises:
        InvalidVectorError: They have another shape, are not finite, or one is all zeros.
    """
    try:
        array = np.ascontiguousarray(vectors, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(f"vectors are arrays of float32: {error}") from error
    if array.ndim != 2 or array.shape[1] != dimension:  # noqa: PLR2004 - rows and columns
        raise InvalidVectorError(f"the store holds vectors of {dimension} numbers; these have the shape {array.shape}")
    if not math.isfinite(float(np.vecdot(array, array).sum())):
        raise InvalidVectorError("a vector holds NaN, infinity, or numbers too large to compare")
    if not array.any(axis=1).all():
        raise InvalidVectorError("a vector is all zeros, which points nowhere; leave it out instead")


def validate_terms(sparse: SparseVector) -> None:
    """Refuse terms that cannot be ranked.

    Raises:
        InvalidVectorError: Their arrays differ in length, they are not sorted and unique, or a weight is not finite.
    """
    terms, weights = np.asarray(sparse.terms), np.asarray(sparse.weights)
    if terms.ndim != 1 or terms.shape != weights.shape:
        raise InvalidVectorError("terms and weights of a sparse vector are of the same length")
    if not np.isfinite(weights).all():
        raise InvalidVectorError("a term's weight is NaN or infinity")
    if (terms[1:] <= terms[:-1]).any():
        raise InvalidVectorError("the terms of a sparse vector are sorted and unique")
