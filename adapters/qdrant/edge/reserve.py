"""Space set aside for one purpose: that a store can still be opened and read when its disk is full.

The engine writes small files of its own when it opens a shard, and what the journal holds is applied anew.
"""

import os
from pathlib import Path

from recollect.adapters.qdrant.folder import SPACE_BYTES_MIN, free_bytes

RESERVE_FILE = "reserve"
RESERVE_BYTES = 4 * 2**20


def give_up(folder: Path) -> None:
    """Let go of the reserve if there is hardly any other space."""
    if folder.is_dir() and free_bytes(folder) < RESERVE_BYTES:
        (folder / RESERVE_FILE).unlink(missing_ok=True)


def set_aside(folder: Path) -> None:
    """Make the reserve, unless it is there or space is scarce.

    Raises:
        OSError: The file system cannot do so.
    """
    path = folder / RESERVE_FILE
    if path.exists() or free_bytes(folder) < SPACE_BYTES_MIN + RESERVE_BYTES:
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, RESERVE_BYTES)
    finally:
        os.close(handle)
