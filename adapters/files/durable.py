"""File operations that survive a crash: every file of a store is created, synced and written here.

A new file is written under a temporary name, synced, linked to its name, and its folder is synced: at any
moment the name is absent or the file is whole.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def create_folder(path: Path) -> None:
    """Create a folder, and those above it, readable by the owner only; do nothing if it is there.

    Raises:
        OSError: It cannot be created, or a file is in its place.
    """
    if path.is_dir():
        return
    if path.parent != path:
        create_folder(path.parent)
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(path: Path, fill: Callable[[Path], None]) -> bool:
    """Create a file all at once: absent before, whole and durable after.

    Args:
        path: The name of the new file.
        fill: Writes the content to the temporary name that it is given.

    Returns:
        False when a file of that name is there already; it is left as it is.
    """
    if path.exists():
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
    try:
        fill(temporary)
        handle = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fchmod(handle, FILE_MODE)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def create_file(path: Path, content: bytes = b"") -> bool:
    """Create a file with its content; see `publish`."""

    def fill(temporary: Path) -> None:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            write_at(handle, content, 0)
        finally:
            os.close(handle)

    return publish(path, fill)


def open_file(path: Path, *, writable: bool) -> int:
    """Open an existing regular file, closed on exec; a link in its place is refused.

    Raises:
        OSError: It is missing, a link, or not a regular file.
    """
    flags = os.O_RDWR if writable else os.O_RDONLY
    handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no regular file")
    return handle


def write_at(handle: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of the content at an offset; a short write is carried on.

    Raises:
        OSError: The device is full or failed.
    """
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, offset)
        view = view[written:]
        offset += written


def read_at(handle: int, length: int, offset: int) -> bytes:
    """Return `length` bytes from an offset, fewer where the file ends."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(handle, length, offset)
        if not part:
            break
        parts.append(part)
        length -= len(part)
        offset += len(part)
    return b"".join(parts)


def size_on_disk(folder: Path) -> int:
    """Return the bytes that the files of a folder take up; holes in sparse files count nothing."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
