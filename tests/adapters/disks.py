"""A disk of a test's own: a file system in an image, which can lose its power and become full."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

SHUTDOWN_IOCTL = 0x8004587D
DROP_ALL_UNSYNCED = struct.pack("I", 2)
IMAGE_BYTES = 64 * 2**20
LEFT_BYTES = 4096


class Disk:
    """A file system of 64 MiB, mounted at `path`.

    Raises:
        CalledProcessError: It cannot be made or mounted here.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._image = folder / "image"
        self._ballast = self.path / "ballast"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self._image)], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True, capture_output=True)

    def unmount(self, *options: str) -> None:
        subprocess.run(["umount", *options, str(self.path)], check=True, capture_output=True)

    def cut(self) -> None:
        """Drop everything that was not synced, and refuse all writes from now on."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN_IOCTL, DROP_ALL_UNSYNCED)
        finally:
            os.close(handle)

    def power_up(self) -> None:
        self.unmount()
        self.mount()

    def fill(self, left_bytes: int = 0) -> None:
        """Have a file of somebody else take all space but some."""
        with self._ballast.open("ab") as ballast:
            state = os.statvfs(self.path)
            while (taken := state.f_bavail * state.f_frsize - left_bytes) > 0:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), max(1, taken // 2))
                except OSError:
                    return
                state = os.statvfs(self.path)

    def make_room(self) -> None:
        """Remove that file."""
        self._ballast.unlink()
