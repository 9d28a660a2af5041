"""From a folder to a connection with the engine's process of it: the one that runs, or a new one.

The lock of a folder belongs to the engine's process. Whoever starts one locks the folder first and hands the locked
file down, so that there is never a second. It runs on when its starter ends, as long as anyone is connected.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from msgspec import Struct

from recollect.adapters.errors import StoreBusyError, StoreUnavailableError
from recollect.adapters.folders import refuse_other_kind
from recollect.adapters.port import StoreProfile
from recollect.adapters.qdrant.edge.places import LOCK_FILE, connect
from recollect.adapters.qdrant.folder import read_profile

REACH_LIMIT_S = 10.0
"""How long to wait for a process that has the folder locked and does not listen: it is opening or closing the store."""

RETRY_S = 0.01
EXIT_LIMIT_S = 10.0
_STARTED: list["subprocess.Popen[bytes]"] = []
"""The processes that this one has started and not seen the end of."""

_GUARD = threading.Lock()


class Reached(Struct, frozen=True, eq=False):
    """A connection with the engine's process, its number, and the process if this one started it."""

    connection: socket.socket
    pid: int
    process: "subprocess.Popen[bytes] | None" = None


def reach(folder: Path, profile: StoreProfile | None) -> Reached:
    """Return a connection with the engine's process of a folder; it is started if none runs. It blocks meanwhile.

    Args:
        folder: The store's.
        profile: The one that a new store is made with; None if only an existing one is wanted.

    Raises:
        StoreUnavailableError: There is no store and no profile, or a store of another kind; the folder cannot be used,
            or no process can be started.
        StoreBusyError: Another process is opening or closing the store and does not finish.
        StoreDamagedError: What is there is no store.
    """
    try:
        if read_profile(folder) is None:
            refuse_other_kind(folder, "edge")
            if profile is None:
                raise StoreUnavailableError(f"there is no store in {folder}; give a profile to create one")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _reach(folder)
    except OSError as error:
        raise StoreUnavailableError(f"the store in {folder} cannot be opened: {error}") from error


def _reach(folder: Path) -> Reached:
    deadline = time.monotonic() + REACH_LIMIT_S
    while True:
        connection = connect(folder)
        if connection is not None:
            return Reached(connection, _peer(connection))
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        else:
            return _start(folder, lock)
        finally:
            os.close(lock)
        if time.monotonic() > deadline:
            raise StoreBusyError(
                f"the store in {folder} is held by the process {holder}, which has neither opened nor closed it within "
                f"{REACH_LIMIT_S:.0f} s; try again, or end that process"
            )
        time.sleep(RETRY_S)


def _start(folder: Path, lock: int) -> Reached:
    """Start the process, with the locked file and one end of a connection handed down."""
    ours, theirs = socket.socketpair()
    program = [sys.executable, "-P", "-m", "recollect.adapters.qdrant.edge.worker"]
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, with a module of this package
            [*program, str(folder), str(lock), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(lock, theirs.fileno()),
            # A Ctrl-C in a terminal is for the program in front, which closes the store in its own time.
            start_new_session=True,
            # One thread does all that is done with NumPy there.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{process.pid}\n".encode(), 0)
    with _GUARD:
        _STARTED.append(process)
    return Reached(ours, process.pid, process)


def reap() -> None:
    """Take note of the end of processes that were started and have ended, so that nothing of them is left."""
    with _GUARD:
        _STARTED[:] = [process for process in _STARTED if process.poll() is None]


def await_end(process: "subprocess.Popen[bytes]") -> int | None:
    """Wait for the end of a process that is about to end, and return its status; None if it goes on. It blocks."""
    try:
        status = process.wait(EXIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    reap()
    return status


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])
