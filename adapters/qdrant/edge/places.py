"""What lies in a store's folder for the processes that share it: the lock of the engine's process, and its socket."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = "lock"
SOCKET_FILE = "engine.sock"
WAITING_CONNECTIONS_MAX = 128


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give the socket's address in a short form: the system takes no more than 107 bytes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET_FILE}"
    finally:
        os.close(handle)


def listen(folder: Path) -> socket.socket:
    """Return a socket on which other processes reach this one; only the owner of the lock may ask for it."""
    (folder / SOCKET_FILE).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _address(folder) as address:
        listener.bind(address)
    listener.listen(WAITING_CONNECTIONS_MAX)
    listener.setblocking(False)
    return listener


def connect(folder: Path) -> socket.socket | None:
    """Return a connection to the engine's process of a folder; None if there is none that listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(folder) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection
