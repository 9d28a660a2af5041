"""What the engine's process does between requests: flushes, indexes, and the removal of what was erased."""

import os
import selectors
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from msgspec import Struct
from msgspec.structs import replace

from recollect.adapters.errors import StorageError, StoreBusyError, StoreUnavailableError
from recollect.adapters.port import StoreStatus
from recollect.adapters.qdrant.edge.keeper import Keeper, Retired
from recollect.adapters.qdrant.edge.rebuilding import Rebuild
from recollect.adapters.qdrant.edge.serving import Stream
from recollect.adapters.qdrant.folder import shard_in

FLUSH_BYTES = 32 * 2**20
"""The shard is flushed when the journal has grown by so much, whoever waits."""

RETRY_S = 30.0
"""How long to wait after something failed, before it is tried again."""

LOOK_S = 1.0
"""How often to look whether an index is wanted."""

INDEX_POINTS_MIN = 20_000
INDEX_SHARE = 0.25
"""An index is built when so many points, and so great a share of all, are in none: a search looks at each of them."""

RETIRE_LIMIT_S = 20.0
"""How long a stream may go on reading a shard in whose place there is another one."""


class Compaction(Struct, eq=False):
    """A request to compact: what to do with its outcome, and whether a rebuild began since."""

    done: Callable[[StorageError | None], None]
    begun: bool = False


class Upkeep:
    """Upkeep of one store, a step at a time."""

    def __init__(self, folder: Path, keeper: Keeper, selector: selectors.BaseSelector) -> None:
        self._folder = folder
        self._keeper = keeper
        self._selector = selector
        self._rebuild: Rebuild | None = None
        self._compactions: list[Compaction] = []
        self._retired: list[tuple[Retired, float]] = []
        self._write_back: Thread | None = None
        self._not_before = 0.0
        self._look_at = 0.0
        self._unindexed_after_build = 0

    @property
    def has_work(self) -> bool:
        """Whether a turn would do something now."""
        return self._rebuild is not None and self._rebuild.may_send

    @property
    def is_waiting(self) -> bool:
        """Whether a turn will have something to do soon, though nobody will say so."""
        return bool(self._retired) or self._write_back is not None

    def status(self) -> StoreStatus:
        """Return facts about the store, with what is degraded."""
        status = self._keeper.store.status()
        unindexed = self._keeper.store.unindexed()
        if unindexed - self._unindexed_after_build < INDEX_POINTS_MIN:
            return status
        under_way = "is being built" if self._rebuild is not None else "will be built soon"
        note = f"{unindexed} of {status.versions} versions are in no index yet: searches look at each; one {under_way}"
        return replace(status, notes=(*status.notes, note))

    def compact(self, done: Callable[[StorageError | None], None]) -> None:
        """Leave nothing of erased versions in any file, and say when that is so."""
        if not self._keeper.holds_erased and not self._compactions:
            done(None)
        else:
            self._compactions.append(Compaction(done))

    def turn(self, streams: list[Stream], *, idle: bool) -> None:
        """Do a step.

        Args:
            streams: Those under way.
            idle: Whether nothing was asked for a while.
        """
        try:
            self._flush(idle=idle)
            self._step()
            self._begin()
            self._retire(streams)
        except (OSError, StorageError) as error:
            # The journal holds everything. Nothing that fails here, such as a full disk, may keep anyone from reading.
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        print(f"recollect: upkeep of the store in {self._folder} failed: {error}", file=sys.stderr, flush=True)  # noqa: T201
        self._not_before = time.monotonic() + RETRY_S
        if self._rebuild is not None:
            self._give_up(self._rebuild)
        refusal = error if isinstance(error, StorageError) else StoreUnavailableError(f"compacting failed: {error}")
        for compaction in self._compactions:
            compaction.done(refusal)
        self._compactions.clear()

    # --- Flushing ---

    def _flush(self, *, idle: bool) -> None:
        """Flush the shard, if it is time."""
        wanted = self._keeper.unflushed_bytes > FLUSH_BYTES or (idle and self._keeper.has_unflushed)
        if not wanted or self._retired or time.monotonic() < self._not_before or self._keeper.is_full:
            return
        if self._written_back(shard_in(self._folder)):
            self._keeper.flush()

    def _written_back(self, *folders: Path) -> bool:
        """Say whether a thread has written folders to disk; it is started first. A flush is short then."""
        if self._write_back is None:
            self._write_back = Thread(target=write_back, args=(folders,), daemon=True)
            self._write_back.start()
        if self._write_back.is_alive():
            return False
        self._write_back = None
        return True

    # --- Rebuilding ---

    def _begin(self) -> None:
        if self._rebuild is not None or self._retired or time.monotonic() < self._not_before:
            return
        if not self._compactions and not self._index_wanted():
            return
        for compaction in self._compactions:
            compaction.begun = True
        self._rebuild = Rebuild(self._folder, self._keeper)
        self._selector.register(self._rebuild.link.connection, selectors.EVENT_READ, self._rebuild.link)

    def _index_wanted(self) -> bool:
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        unindexed = self._keeper.store.unindexed() - self._unindexed_after_build
        return unindexed >= INDEX_POINTS_MIN and unindexed >= INDEX_SHARE * self._keeper.store.points()

    def _step(self) -> None:
        rebuild = self._rebuild
        if rebuild is None:
            return
        rebuild.step()
        if rebuild.place is not None:
            self._rebuild = None
            self._selector.unregister(rebuild.link.connection)
            rebuild.end()
            retired = self._keeper.switch(rebuild.new, rebuild.place)
            self._retired.append((retired, time.monotonic() + RETIRE_LIMIT_S))
            self._unindexed_after_build = rebuild.left_unindexed
        elif rebuild.link.gone:
            status = self._give_up(rebuild)
            raise StoreUnavailableError(f"the process that builds an index has ended (status {status})")

    def _give_up(self, rebuild: Rebuild) -> int:
        self._rebuild = None
        self._selector.unregister(rebuild.link.connection)
        status = rebuild.end()
        self._keeper.give_up(rebuild.new)
        return status

    def _retire(self, streams: list[Stream]) -> None:
        """Remove shards that no stream reads any more; then nothing is left of what was erased before."""
        for retired, until in list(self._retired):
            readers = [stream for stream in streams if stream.store is retired.store]
            if readers and time.monotonic() < until:
                continue
            for stream in readers:
                stream.fail(StoreBusyError("the stream was read too slowly while its store was rebuilt; ask again"))
            if not self._written_back(retired.path, shard_in(self._folder)):
                return
            self._retired.remove((retired, until))
            self._keeper.remove(retired)
            if not self._keeper.erased_since:
                self._keeper.forget_erased()
            done = [compaction for compaction in self._compactions if compaction.begun]
            self._compactions = [compaction for compaction in self._compactions if not compaction.begun]
            for compaction in done:
                compaction.done(None)

    def end(self) -> None:
        """Stop what is under way."""
        if self._rebuild is not None:
            self._give_up(self._rebuild)
        for retired, _ in self._retired:
            self._keeper.remove(retired)
        if self._write_back is not None:
            self._write_back.join()


def write_back(folders: tuple[Path, ...]) -> None:
    """Have the system write the files below folders to disk. Other threads go on meanwhile."""
    for parent, _, names in (found for folder in folders for found in os.walk(folder)):
        for name in names:
            try:
                handle = os.open(Path(parent) / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # The engine removes files of its own at any time.
            try:
                os.fdatasync(handle)
            except OSError:
                return  # The flush that follows meets the same, and says so.
            finally:
                os.close(handle)
