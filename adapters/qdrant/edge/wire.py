"""How the port's values travel between processes: msgpack that msgspec reads into the types it was written from.

Arrays travel as their bytes, little-endian, with the number of rows where there are rows. Nothing that is read can name
code to run.
"""

import typing
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from recollect.adapters import errors
from recollect.adapters.errors import ConflictError, InvalidRequestError, StorageError, StoreDamagedError
from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    Commit,
    Precondition,
    Projection,
    Put,
    ReadPoint,
    Selector,
    StoreProfile,
)
from recollect.adapters.versions import VersionRef

Body = TypeVar("Body")


class Open(Struct, frozen=True, array_like=True):
    """Asks for the store to be opened, or for its profile if it is."""

    profile: StoreProfile | None


class Write(Struct, frozen=True, array_like=True, eq=False):
    """A commit whose puts are encoded one by one, with a name by which it is known if it must be sent again."""

    token: bytes
    commit: Commit
    puts: tuple[msgspec.Raw, ...]


class Get(Struct, frozen=True, array_like=True):
    """The arguments of the port's `get`."""

    selectors: tuple[Selector, ...]
    read_point: ReadPoint
    projection: Projection


class Count(Struct, frozen=True, array_like=True):
    """The arguments of the port's `count`."""

    read_point: ReadPoint
    namespaces: tuple[str, ...] | None
    matching: Filter | None


class History(Struct, frozen=True, array_like=True):
    """The arguments of the port's `history`."""

    memory_id: str
    read_point: ReadPoint | None
    projection: Projection


class Failure(Struct, frozen=True, array_like=True):
    """An error of a store."""

    kind: str
    message: str
    place: str = ""
    precondition: Precondition | None = None
    found: VersionRef | str | int | None = None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        content = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
        return content if value.ndim == 1 else [len(value), content]
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _typed(kind: Any, plain: Any) -> Any:
    """Return the array of a type such as `NDArray[np.float32]`, from its bytes."""
    _, holder = typing.get_args(kind)
    [number] = typing.get_args(holder)
    if isinstance(plain, bytes):
        return np.frombuffer(plain, dtype=np.dtype(number))
    rows, content = plain
    return np.frombuffer(content, dtype=np.dtype(number)).reshape(rows, -1)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return a value as bytes.

    Raises:
        InvalidRequestError: It holds a text without a UTF-8 form, or a number beyond 64 bits.
    """
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise InvalidRequestError(f"this cannot be stored or asked for: {error}") from error


def decode(content: bytes | memoryview, kind: type[Body]) -> Body:
    """Return the value of a type from its bytes.

    Raises:
        msgspec.MsgspecError: They are none of this type.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind, dec_hook=_typed)
    return typing.cast("Body", decoder.decode(content))


def write_of(token: bytes, commit: Commit) -> Write:
    """Return a commit as it is sent. Each put is encoded on its own, so that other threads get a turn in between."""
    puts = tuple(msgspec.Raw(encode(put)) for put in commit.puts)
    return Write(token, msgspec.structs.replace(commit, puts=()), puts)


def commit_of(write: Write) -> Commit:
    """Return the commit that was sent."""
    return msgspec.structs.replace(write.commit, puts=tuple(decode(put, Put) for put in write.puts))


def failure_of(error: StorageError) -> Failure:
    """Return an error as it is sent."""
    message = str(error)
    kind = type(error).__name__
    if isinstance(error, ConflictError):
        return Failure(kind, message, precondition=error.precondition, found=error.found)
    return Failure(kind, message, place=error.place if isinstance(error, StoreDamagedError) else "")


def error_of(failure: Failure) -> StorageError:
    """Return the error that was sent."""
    if failure.kind == ConflictError.__name__:
        return ConflictError(failure.message, precondition=failure.precondition, found=failure.found)
    if failure.kind == StoreDamagedError.__name__:
        return StoreDamagedError(failure.message, place=failure.place)
    kind = getattr(errors, failure.kind, StorageError)
    return typing.cast("StorageError", kind(failure.message))
