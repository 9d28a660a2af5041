"""Fills another shard in a process of its own: with every point, then an index, then what the journal holds since.

Building an index takes its process as a whole, so the engine's process has it done here and goes on answering. The same
makes a shard that holds nothing of what was erased.

Run as `python -m recollect.adapters.qdrant.edge.builder SHARD DIMENSION JOURNAL SEGMENT CONNECTION`.
"""

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from recollect.adapters.errors import StorageError
from recollect.adapters.qdrant.edge import wire
from recollect.adapters.qdrant.edge.journal import Place, records_after
from recollect.adapters.qdrant.edge.protocol import FrameReader, Kind, frame
from recollect.adapters.qdrant.engine import Engine
from recollect.adapters.qdrant.mutations import Mutations, PointWrite, decode_mutations

READ_BYTES = 2**18
REST_COMMITS_MAX = 64
"""How many commits may be left to the engine's process, which applies them while it answers nobody."""

ROUNDS_MAX = 50
NICENESS = 10
_PR_SET_PDEATHSIG = 1


def build(shard: Path, dimension: int, journal: Path, segment: int, connection: socket.socket) -> None:
    """Fill a shard from a connection and the journal.

    Sends up to where the journal is in it, and how many rows no index took: too few of a kind, or of several windows.
    """
    engine = Engine.create(shard, dimension)
    _receive(engine, connection)
    engine.optimize()
    unindexed = engine.unindexed_rows()
    place: Place = (segment, 0)
    for _ in range(ROUNDS_MAX):
        commits = 0
        for record, end in records_after(journal, place):
            engine.apply(decode_mutations(record.content))
            place = end
            commits += 1
        if commits <= REST_COMMITS_MAX:
            break
    engine.close()
    connection.sendall(frame(Kind.ANSWER, 0, wire.encode((*place, unindexed))))


def _receive(engine: Engine, connection: socket.socket) -> None:
    reader = FrameReader()
    while content := connection.recv(READ_BYTES):
        for kind, _, body in reader.feed(content):
            if kind is Kind.END:
                return
            engine.apply(Mutations(0, tuple(wire.decode(body, list[PointWrite])), ()))
    raise StorageError("the engine's process has gone")


def main() -> None:
    """Build, as the arguments say."""
    shard, dimension, journal, segment, connection = sys.argv[1:6]
    # Nothing else ends this process when the engine's process dies while an index is built.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(NICENESS)
    try:
        build(Path(shard), int(dimension), Path(journal), int(segment), socket.socket(fileno=int(connection)))
    except (StorageError, OSError) as error:
        print(f"recollect: the shard {shard} is not finished: {error}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
