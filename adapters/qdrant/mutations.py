"""What a commit does to points: whole points written, fields of older points changed. All of it may be done twice."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct


class PointWrite(Struct, frozen=True, array_like=True, eq=False):
    """A point as a whole; it replaces one with the same id.

    Attributes:
        point_id: A UUID in canonical text.
        payload: Its fields.
        dense: float32, little-endian: the version's only row, if it has just one.
        windows: Its rows one after the other, if it has several.
        terms: uint32 terms, then float32 weights; None without terms.
    """

    point_id: str
    payload: dict[str, Any]
    dense: bytes | None = None
    windows: bytes | None = None
    terms: bytes | None = None


class PayloadPatch(Struct, frozen=True, array_like=True, eq=False):
    """Fields that are set on points which are there; the other fields stay."""

    point_ids: tuple[str, ...]
    payload: dict[str, Any]


class Mutations(Struct, frozen=True, array_like=True, eq=False):
    """One commit: the writes are done first, then the patches in their order."""

    position: int
    writes: tuple[PointWrite, ...]
    patches: tuple[PayloadPatch, ...]


def joined(commits: Sequence[Mutations]) -> Mutations:
    """Return what several commits do as one; none of them changes a point that another one writes or changes."""
    if len(commits) == 1:
        return commits[0]
    return Mutations(
        max(commit.position for commit in commits),
        tuple(write for commit in commits for write in commit.writes),
        tuple(patch for commit in commits for patch in commit.patches),
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Mutations)


def encode_mutations(mutations: Mutations) -> bytes:
    """Return mutations as one record."""
    return _ENCODER.encode(mutations)


def decode_mutations(record: bytes) -> Mutations:
    """Return the mutations of a record.

    Raises:
        msgspec.DecodeError: The bytes are no such record.
    """
    return _DECODER.decode(record)
