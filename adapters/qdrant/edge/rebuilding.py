"""A rebuild as the engine's process sees it: points are sent between requests, and the rest is the builder's."""

import socket
import subprocess
import sys
from pathlib import Path

from recollect.adapters.qdrant.edge import wire
from recollect.adapters.qdrant.edge.keeper import JOURNAL_FOLDER, Keeper
from recollect.adapters.qdrant.edge.protocol import Kind
from recollect.adapters.qdrant.edge.serving import Client

BATCH_POINTS = 32
"""How many points are sent at a time: few, as a request may be waiting."""


class Rebuild:
    """One rebuild, from its beginning to the place in the journal up to which the new shard goes.

    Attributes:
        new: Where the new shard lies.
        link: The connection with the builder.
        place: The number of a segment and a byte in it; set when the builder has finished.
        left_unindexed: How many rows its index left out. What it took from the journal came after, and is not counted.
    """

    def __init__(self, folder: Path, keeper: Keeper) -> None:
        self.new, (segment, _) = keeper.begin_rebuild()
        self.left_unindexed = 0
        self.place: tuple[int, int] | None = None
        self._points = keeper.store.whole_points(BATCH_POINTS)
        self._all_sent = False
        ours, theirs = socket.socketpair()
        arguments = (self.new, keeper.store.profile.dimension, folder / JOURNAL_FOLDER, segment, theirs.fileno())
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with a module of this package
                [sys.executable, "-P", "-m", "recollect.adapters.qdrant.edge.builder", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self.link = Client(ours)

    @property
    def may_send(self) -> bool:
        """Whether there are points to send, and the builder takes them."""
        return not self._all_sent and not self.link.unsent

    def step(self) -> None:
        """Send some points, if the builder takes them, and look whether it has finished."""
        while self.link.asked:
            _, _, body = self.link.asked.popleft()
            segment, byte, self.left_unindexed = wire.decode(body, list[int])
            self.place = segment, byte
        if self.may_send:
            points = next(self._points, None)
            if points is None:
                self._all_sent = True
                self.link.send(Kind.END, 0)
            else:
                self.link.send(Kind.BATCH, 0, wire.encode(points))

    def end(self) -> int:
        """End the builder, if it has not ended, and return its status."""
        self.link.connection.close()
        if self.place is None:
            self._process.kill()
        return self._process.wait()
