"""The folder of an embedded store: what it holds is written down once, beside the shard."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from recollect.adapters.errors import StoreDamagedError, StoreUnavailableError
from recollect.adapters.folders import MARKS
from recollect.adapters.port import StoreProfile

FORMAT = 1
STORE_FILE = MARKS["edge"]
SHARD_FOLDER = "shard"
NEW_SHARD_FOLDER = "shard.new"
CURRENT_FILE = "current"
"""Names the folder of the shard, once another one has taken the place of the first."""

SPACE_BYTES_MIN = 32 * 2**20
"""What must be free before a commit: the engine fills files that it has made long before, and dies where it cannot."""


class StoreFile(Struct, frozen=True):
    """What `store.json` says: which form the store has, and what its vectors are."""

    format: int
    model_id: str
    dimension: int


def read_profile(folder: Path) -> StoreProfile | None:
    """Return the profile of the store in a folder; None if there is none yet.

    Raises:
        StoreDamagedError: What is there cannot be read.
        StoreUnavailableError: It was written by a later program.
    """
    path = folder / STORE_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=StoreFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreDamagedError(
            f"{path} cannot be read ({error}); restore it from a backup", place=STORE_FILE
        ) from error
    if found.format != FORMAT:
        raise StoreUnavailableError(
            f"{path} has the format {found.format}, this program reads {FORMAT}; use the program that wrote it"
        )
    return StoreProfile(found.model_id, found.dimension)


def shard_in(folder: Path) -> Path:
    """Return where the shard of the store in a folder lies.

    Raises:
        StoreDamagedError: It is written down, and cannot be read.
    """
    try:
        name = (folder / CURRENT_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        name = SHARD_FOLDER
    except (OSError, UnicodeDecodeError) as error:
        raise StoreDamagedError(
            f"{folder / CURRENT_FILE} cannot be read ({error}); restore it from a backup", place=CURRENT_FILE
        ) from error
    return folder / name


def write_current(shard: Path) -> None:
    """Make a shard the store's: wholly or not at all, also if the power fails."""
    _write(shard.parent / CURRENT_FILE, shard.name.encode("ascii"))


def write_profile(folder: Path, profile: StoreProfile) -> None:
    """Write down the profile of a store: all of it or nothing, also if the power fails."""
    content = msgspec.json.encode(StoreFile(FORMAT, profile.model_id, profile.dimension))
    _write(folder / STORE_FILE, content)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int:
    """Return how much may be written below a folder before its disk is full."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def bytes_in(folder: Path) -> int:
    """Return what the files below a folder take up."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue  # The engine removes files of its own at any time.
    return total
