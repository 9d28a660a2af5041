"""A shard with a journal in front of it: what is acknowledged is in the journal, what is read is in the shard.

A commit is planned from what the shard holds, written to the journal, synced together with the others that wait,
acknowledged, and applied before anything else is done. What the shard was flushed behind is cut from the journal.
"""

import errno
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from recollect.adapters.clock import next_position
from recollect.adapters.errors import StorageError, StoreDamagedError, StoreFullError, StoreUnavailableError
from recollect.adapters.port import Commit, CommitReceipt, StoreProfile
from recollect.adapters.qdrant.edge import flushed, reserve
from recollect.adapters.qdrant.edge.journal import Journal, Place, Record, records_after
from recollect.adapters.qdrant.folder import (
    SHARD_FOLDER,
    SPACE_BYTES_MIN,
    STORE_FILE,
    free_bytes,
    shard_in,
    sync_folder,
    write_current,
)
from recollect.adapters.qdrant.mutations import decode_mutations, encode_mutations, joined
from recollect.adapters.qdrant.planning import Plan
from recollect.adapters.qdrant.shard import ShardStore

JOURNAL_FOLDER = "journal"
ERASED_FILE = "erased"
"""There while the store's files may hold something that was erased."""

TOKENS_MAX = 65_536
"""How many commits are remembered by their token, in case one is sent again."""

FLUSH_SPACE_BYTES_MIN = 8 * 2**20
"""What must be free before a flush: less, so that what was committed last is flushed while the disk fills up."""

SPACE_PER_BYTE = 4
"""What a byte of a commit may take up: in the journal, in the shard, and in its indexes."""


class Waiting(Struct, frozen=True, eq=False):
    """A commit that waits for its turn, and what to do with the answer."""

    token: bytes
    commit: Commit
    done: Callable[[CommitReceipt | StorageError], None]


class Retired(Struct, frozen=True, eq=False):
    """A shard in whose place another one is read now."""

    store: ShardStore
    path: Path


class JournalFailedError(Exception):
    """It is unknown what of the journal is on disk: the process must end, and the next one reads what is there."""


class Keeper:
    """An open store, in one thread.

    Attributes:
        store: What is read.
        has_unflushed: Whether the shard was changed since it was flushed.
        erased_since: Whether something was erased since a rebuild began.
    """

    def __init__(self, folder: Path, profile: StoreProfile | None) -> None:
        self._folder = folder
        self._tokens: OrderedDict[bytes, int] = OrderedDict()
        _remove_others(folder)
        reserve.give_up(folder)
        if not (folder / STORE_FILE).exists():
            self._check_space(0)
        self.store = ShardStore.open(folder, profile)
        self._journal = Journal(folder / JOURNAL_FOLDER)
        self._kept_from: int | None = None
        self.erased_since = False
        self.has_unflushed = False
        before = flushed.read(shard_in(folder))
        if self.store.points() < before.points:
            raise StoreDamagedError(
                f"{shard_in(folder)} has lost {before.points - self.store.points():,} of the {before.points:,} points "
                f"that it held when it was flushed; restore the store from a backup",
                place=shard_in(folder).name,
            )
        for record, segment in self._journal.replay():
            self._remember(record.token, record.position)
            if segment >= before.segment:
                self.store.apply(decode_mutations(record.content))
                self.has_unflushed = True
        if self.has_unflushed and not self.is_full:
            # After a sync that failed the journal can be read and yet not be on disk.
            self.flush()
        reserve.set_aside(folder)

    @property
    def unflushed_bytes(self) -> int:
        """How much of the journal the shard was not flushed behind."""
        return self._journal.bytes_written

    @property
    def is_full(self) -> bool:
        """Whether there is too little space for a flush; the journal holds what is not flushed."""
        return free_bytes(self._folder) < FLUSH_SPACE_BYTES_MIN

    # --- Commits ---

    def commit(self, group: Sequence[Waiting]) -> None:
        """Do commits in their order, all that are independent of each other with one sync.

        Raises:
            JournalFailedError: See there.
        """
        pending: list[tuple[Waiting, Plan]] = []
        last, lines = self.store.last_position, None
        for place, waiting in enumerate(group):
            known = self._tokens.get(waiting.token)
            if known is not None or self._must_settle(waiting.commit, pending):
                self._settle(pending)
                pending, last, lines = [], self.store.last_position, None
            if known is not None:
                waiting.done(CommitReceipt(known, durable=self._synced_for(waiting.commit)))
                continue
            if lines is None:
                # One question for all that wait: it costs as much as one for each of them.
                lines = self.store.lines([other.commit for other in group[place:]])
            position = waiting.commit.position
            try:
                plan = self.store.plan(waiting.commit, next_position(last) if position is None else position, lines)
            except StorageError as error:
                waiting.done(error)
                continue
            pending.append((waiting, plan))
            last = plan.mutations.position
        self._settle(pending)

    def _must_settle(self, commit: Commit, pending: Sequence[tuple[Waiting, Plan]]) -> bool:
        if not pending:
            return False
        # A position that was asked for is compared with those that were given.
        return commit.position is not None or self.store.must_wait_for(commit, [plan for _, plan in pending])

    def _synced_for(self, commit: Commit) -> bool:
        if commit.durability == "durable":
            self._sync()
        return self._journal.synced

    def _settle(self, pending: Sequence[tuple[Waiting, Plan]]) -> None:
        """Write planned commits to the journal, acknowledge them, and apply them."""
        if not pending:
            return
        records = [
            Record(plan.mutations.position, waiting.token, encode_mutations(plan.mutations))
            for waiting, plan in pending
        ]
        try:
            self._check_space(sum(len(record.content) for record in records))
            if any(waiting.commit.erases for waiting, _ in pending):
                self._mark_erased()
            self._journal.append(records)
        except (OSError, StoreFullError) as error:
            for waiting, _ in pending:
                waiting.done(_refusal(error))
            return
        if any(waiting.commit.durability == "durable" for waiting, _ in pending):
            self._sync()
        for waiting, plan in pending:
            waiting.done(CommitReceipt(plan.mutations.position, durable=self._journal.synced))
        self.has_unflushed = True
        self.store.apply(joined([plan.mutations for _, plan in pending]))
        for waiting, plan in pending:
            self._remember(waiting.token, plan.mutations.position)

    def _check_space(self, content_bytes: int) -> None:
        free = free_bytes(self._folder)
        needed = SPACE_BYTES_MIN + SPACE_PER_BYTE * content_bytes
        if free < needed:
            raise StoreFullError(
                f"no space left: {free / 2**20:.0f} MiB are free below {self._folder}, a commit needs "
                f"{needed / 2**20:.0f}; nothing was written, reads go on"
            )

    def _remember(self, token: bytes, position: int) -> None:
        self._tokens[token] = position
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)

    def _sync(self) -> None:
        try:
            self._journal.sync()
        except OSError as error:
            raise JournalFailedError(f"the journal in {self._folder} could not be synced: {error}") from error

    # --- Upkeep ---

    def sync(self) -> None:
        """Make every commit durable.

        Raises:
            JournalFailedError: See there.
        """
        self._sync()

    def flush(self) -> None:
        """Write the shard to disk and cut the journal behind it.

        The last commits stay in the journal: their callers may not have heard of them yet, and ask again.
        """
        before = self._journal.newest_segment()
        self._journal.begin_segment()
        self.store.flush()
        self.has_unflushed = False
        flushed.note(shard_in(self._folder), self._journal.newest_segment(), self.store.points())
        self._journal.cut(before if self._kept_from is None else min(before, self._kept_from))

    @property
    def holds_erased(self) -> bool:
        """Whether a file may still hold something that was erased."""
        return (self._folder / ERASED_FILE).exists()

    def forget_erased(self) -> None:
        """Note that no shard holds anything erased any more, and begin the journal anew."""
        self._journal.begin_segment()
        self.store.flush()
        self.has_unflushed = False
        self._journal.cut(self._journal.newest_segment())
        (self._folder / ERASED_FILE).unlink(missing_ok=True)
        sync_folder(self._folder)

    def begin_rebuild(self) -> tuple[Path, Place]:
        """Prepare for another shard to be filled with what this one holds, and then with what the journal holds.

        Returns:
            Where it shall lie, and from where on the journal must be applied to it. Until `switch` or `give_up` the
            journal is not cut behind that place.

        Raises:
            StoreFullError: There is not enough space for another shard.
        """
        self._check_space(self.store.status().bytes_on_disk // SPACE_PER_BYTE)
        self._journal.begin_segment()
        self._kept_from = self._journal.newest_segment()
        self.erased_since = False
        current = shard_in(self._folder)
        number = int(current.name.rpartition("-")[2]) if "-" in current.name else 0
        new = self._folder / f"{SHARD_FOLDER}-{number + 1}"
        shutil.rmtree(new, ignore_errors=True)
        return new, (self._kept_from, 0)

    def switch(self, new: Path, place: Place) -> Retired:
        """Read from another shard, which holds everything up to a place in the journal, from now on.

        Returns:
            The shard that was read before. It may be read on, and must be removed then.
        """
        old, path = self.store, shard_in(self._folder)
        write_current(new)
        self.store = ShardStore.open(self._folder, old.profile)
        for record, _ in records_after(self._folder / JOURNAL_FOLDER, place):
            self.store.apply(decode_mutations(record.content))
        self.has_unflushed = True
        self._kept_from = None
        return Retired(old, path)

    def give_up(self, new: Path) -> None:
        """Drop a shard that was begun."""
        self._kept_from = None
        shutil.rmtree(new, ignore_errors=True)

    def remove(self, retired: Retired) -> None:
        """Close a shard that is not read any more and remove it."""
        retired.store.close()
        shutil.rmtree(retired.path, ignore_errors=True)
        sync_folder(self._folder)

    def _mark_erased(self) -> None:
        self.erased_since = True
        path = self._folder / ERASED_FILE
        if not path.exists():
            path.touch(mode=0o600)
            sync_folder(self._folder)

    def close(self) -> None:
        """Write everything to disk and release the store."""
        self._sync()
        if not self.is_full:
            points = self.store.points()
            self.store.close()
            self._journal.begin_segment()
            flushed.note(shard_in(self._folder), self._journal.newest_segment(), points)
            self._journal.cut(self._journal.newest_segment())
        self._journal.close()


def _remove_others(folder: Path) -> None:
    """Remove shards that were never finished, or left behind."""
    if not (folder / STORE_FILE).exists():
        return
    current = shard_in(folder)
    for path in folder.glob(f"{SHARD_FOLDER}*"):
        if path.is_dir() and path != current and current.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _refusal(error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"no space left on the device; nothing was written, reads go on ({error})")
    return StoreUnavailableError(f"the store could not be written: {error}")
