"""The store over one embedded shard: what a commit does to it, and every read of the port, one call after the other.

It is synchronous and belongs to one thread. Making a commit durable is the caller's: it plans a commit, keeps the
mutations, and applies them; what is applied is on disk after `flush()`. Applying again, in order and up to the last,
does no harm.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from recollect.adapters.errors import ProfileMismatchError, StoreDamagedError, StoreUnavailableError
from recollect.adapters.port import (
    SUMMARY,
    CheckReport,
    Commit,
    HeadIs,
    Precondition,
    ReadPoint,
    StoreProfile,
    StoreStatus,
)
from recollect.adapters.qdrant import planning
from recollect.adapters.qdrant.conditions import EVERYTHING, All, Between, Matching, of_memories
from recollect.adapters.qdrant.engine import Engine, Parts
from recollect.adapters.qdrant.fields import (
    BRANCH,
    CHANGING,
    CHECKSUMS,
    CLASS,
    EXPIRES,
    FIRST,
    HEAD,
    MEMORY,
    NEVER,
    POSITION,
    UNTIL,
    WINDOWED,
)
from recollect.adapters.qdrant.folder import (
    NEW_SHARD_FOLDER,
    SHARD_FOLDER,
    STORE_FILE,
    bytes_in,
    read_profile,
    shard_in,
    sync_folder,
    write_profile,
)
from recollect.adapters.qdrant.mutations import Mutations, PointWrite
from recollect.adapters.qdrant.planning import LINE_FIELDS, STORE_POINT, Erased, Facts, Lines, Plan
from recollect.adapters.qdrant.points import point_id, read_versions, stored_of
from recollect.adapters.qdrant.reading import SELECTED_MEMORIES, ShardReader
from recollect.adapters.qdrant.scrub import scrub
from recollect.adapters.versions import Version, VersionRef

BATCH_POINTS = 256
"""How many points a check or a copy holds at once."""


class ShardStore(ShardReader):
    """One store in a folder.

    Attributes:
        profile: What its vectors are.
        last_position: The newest position that was given.
    """

    def __init__(self, folder: Path, profile: StoreProfile, engine: Engine) -> None:
        newest = engine.in_order(EVERYTHING, POSITION, descending=True, limit=1, parts=Parts())
        super().__init__(engine, int(newest[0].payload[POSITION]) if newest else 0)
        self.profile = profile
        self._folder = folder
        self._has_store_point = bool(engine.retrieve_payloads([STORE_POINT], [POSITION]))

    @classmethod
    def open(cls, folder: Path, profile: StoreProfile | None) -> "ShardStore":
        """Open the store in a folder, creating it if there is none.

        Args:
            folder: Where it lies, or shall lie.
            profile: What the caller's vectors are; None takes those of the store.

        Raises:
            StoreUnavailableError: There is none and no profile was given, or it cannot be opened.
            ProfileMismatchError: It holds other vectors.
            StoreDamagedError: It cannot be read.
        """
        held = read_profile(folder)
        if held is None:
            if profile is None:
                raise StoreUnavailableError(f"there is no store in {folder}; give a profile to create one")
            return cls(folder, profile, _create(folder, profile))
        cls.expect(folder, held, profile)
        shard = shard_in(folder)
        if not shard.is_dir():
            raise StoreDamagedError(f"{shard} is missing; restore it from a backup", place=shard.name)
        return cls(folder, held, Engine.load(shard, held.dimension))

    @staticmethod
    def expect(folder: Path, held: StoreProfile, profile: StoreProfile | None) -> None:
        """Refuse a store whose vectors are not those of the caller.

        Raises:
            ProfileMismatchError: They are of another model or dimension.
        """
        if profile not in (None, held):
            raise ProfileMismatchError(
                f"the store in {folder} holds vectors of {held.model_id} with {held.dimension} numbers, not of "
                f"{profile.model_id} with {profile.dimension}; open it with its own model, or export and import it"
            )

    def flush(self) -> None:
        """Write everything that was applied to disk."""
        self._engine.flush()

    def close(self) -> None:
        """Flush and release the shard; afterwards no other method may be called."""
        self._engine.close()

    # --- Commits ---

    def plan(self, commit: Commit, position: int, lines: Lines | None = None) -> Plan:
        """Return what a commit does, from what is applied. Nothing is written.

        Args:
            commit: It was validated (`validation.validate_commit`).
            position: The one it takes; after the last one, also of those that are planned and not applied yet.
            lines: Those of the commit's memories, and perhaps of others, as they are now; None if not known yet.

        Raises:
            ConflictError: A precondition does not hold, a version is there already, one that shall be erased is not, or
                the position is not after the last one.
        """
        wanted = planning.wanted(commit)
        if lines is None:
            lines = self.lines([commit])
        # A memory that is not there has no version whose point could be taken.
        known = [
            identity
            for identity, put in zip(wanted.point_ids, commit.puts, strict=True)
            if put.version.memory_id in lines
        ]
        facts = Facts(
            found=tuple(self._answer(precondition, commit.read_point) for precondition in commit.preconditions),
            lines=lines,
            points={
                memory_id: tuple(identity for identity, _ in self._engine.each(of_memories([memory_id]), (MEMORY,)))
                for memory_id in planning.spreading(commit, lines)
            },
            taken=frozenset(self._engine.retrieve_payloads(known, (MEMORY,))) if known else frozenset(),
            erased=self._erased(wanted.erased),
            last_position=self.last_position,
        )
        return planning.plan(commit, position, facts)

    def must_wait_for(self, commit: Commit, pending: Collection[Plan]) -> bool:
        """Say whether planned commits must be applied before this one is planned."""
        return planning.must_wait(commit, pending)

    def apply(self, mutations: Mutations) -> None:
        """Do what a planned commit does; it may have been done before."""
        self._engine.apply(mutations)
        self.last_position = max(self.last_position, mutations.position)
        for write in mutations.writes:
            self._has_store_point |= write.point_id == STORE_POINT
            self._windowed |= WINDOWED in write.payload
            if EXPIRES in write.payload:
                self._expiring[write.payload[CLASS].partition("-")[0]] = True

    def _answer(self, precondition: Precondition, read_point: ReadPoint) -> Version | int | None:
        if isinstance(precondition, HeadIs):
            on_branch = Matching(BRANCH, (precondition.branch,))
            newest = self._engine.in_order(on_branch, POSITION, descending=True, limit=1, parts=Parts())
            return int(newest[0].payload[POSITION]) if newest else 0
        [found] = self.get([planning.selector_of(precondition)], read_point, SUMMARY)
        return None if found is None else read_versions([found], self.profile.dimension)[0]

    def lines(self, commits: Iterable[Commit]) -> Lines:
        """Return the lines of all memories that some commits write, as far as they are there."""
        memory_ids = list(dict.fromkeys(put.version.memory_id for commit in commits for put in commit.puts))
        last = Between(UNTIL, gte=NEVER)
        points: list[tuple[str, dict[str, object]]] = []
        for start in range(0, len(memory_ids), SELECTED_MEMORIES):
            some = of_memories(memory_ids[start : start + SELECTED_MEMORIES])
            points += self._engine.each(All((some, last)), LINE_FIELDS)
        return planning.lines_of(points)

    def _erased(self, refs: Iterable[VersionRef]) -> dict[VersionRef, Erased]:
        by_id = {point_id(ref): ref for ref in refs}
        if not by_id:
            return {}
        payloads = self._engine.retrieve_payloads(list(by_id), (HEAD, CHECKSUMS, FIRST, *CHANGING))
        erased: dict[VersionRef, Erased] = {}
        for identity, payload in payloads.items():
            [version] = read_versions([stored_of(identity, payload, None, None)], self.profile.dimension)
            erased[by_id[identity]] = Erased(version, payload)
        return erased

    # --- Upkeep ---

    def status(self) -> StoreStatus:
        """Return facts about the store."""
        return StoreStatus(
            backend="edge",
            location=str(self._folder),
            profile=self.profile,
            versions=self._engine.points() - self._has_store_point,
            last_position=self.last_position,
            bytes_on_disk=bytes_in(self._folder),
        )

    def points(self) -> int:
        """Return how many points there are."""
        return self._engine.points()

    def unindexed(self) -> int:
        """Return how many versions no index of vectors covers yet: a search looks at each of them."""
        return self._engine.unindexed_rows()

    def optimize(self) -> bool:
        """Build indexes and merge segments; return whether there was anything to do. It blocks meanwhile."""
        return self._engine.optimize()

    def check(self) -> Iterator[CheckReport]:
        """Read every point, compare it with its checksums and neighbours, and yield what was found, batch by batch."""
        batches = self._engine.whole_points(BATCH_POINTS)
        yield from scrub(batches, self.profile.dimension, self.last_position, self._engine.left_out)

    def whole_points(self, batch_points: int) -> Iterator[list[PointWrite]]:
        """Yield every point as a whole, in batches. Commits may come in between: what they write may be in or not."""
        return self._engine.whole_points(batch_points)

    def copy_into(self, folder: Path) -> None:
        """Write every point into a new shard in a folder that is empty or missing, with no trace of what was erased."""
        copy = Engine.create(folder, self.profile.dimension)
        for points in self._engine.whole_points(BATCH_POINTS):
            copy.apply(Mutations(0, tuple(points), ()))
        copy.close()


def _create(folder: Path, profile: StoreProfile) -> Engine:
    """Make a store: the shard first, the file that says so last. What an interrupted try left is used or replaced."""
    shard, new = folder / SHARD_FOLDER, folder / NEW_SHARD_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shard.is_dir():
            engine = Engine.load(shard, profile.dimension)
            if engine.points():
                engine.close()
                raise StoreDamagedError(
                    f"{folder / STORE_FILE} is missing beside a shard that holds memories; restore it from a backup",
                    place=STORE_FILE,
                )
            engine.close()
            shutil.rmtree(shard)
        shutil.rmtree(new, ignore_errors=True)
        Engine.create(new, profile.dimension).close()
        new.replace(shard)
        sync_folder(folder)
        write_profile(folder, profile)
    except OSError as error:
        raise StoreUnavailableError(f"no store can be made in {folder}: {error}") from error
    return Engine.load(shard, profile.dimension)
