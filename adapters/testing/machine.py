"""A state machine that drives a backend and the model side by side, and compares every answer.

Hypothesis draws the steps: commits with puts, revisions, tombstones and preconditions on branches of branches; reads
as of earlier positions; filters, scans, searches; flushing and reopening.
"""

import tempfile
from abc import abstractmethod
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from recollect.adapters.port import (
    BranchSpan,
    ByContent,
    ById,
    ByKey,
    ByRef,
    CheckReport,
    Match,
    Projection,
    ProvenanceStorageAdapter,
    Selector,
    SimilarityQuery,
)
from recollect.adapters.testing import drawing, strategies
from recollect.adapters.testing.base import AdapterFactory
from recollect.adapters.testing.side_by_side import SideBySide
from recollect.adapters.testing.values import as_plain, collected, content_hash, memory_id
from recollect.adapters.versions import Version

BRANCHES = ("draft", "a/b", "deep'\x00", "\U0001f33f")
WHICH = st.integers(0, 1)
"""Which of the two adapters over the storage."""


class StorageMachine(RuleBasedStateMachine):
    """Compares a backend with the model.

    Subclass it, override `new_storage`, and give pytest the `TestCase` of the subclass. How much is tried is a matter
    of Hypothesis settings: `max_examples` and `stateful_step_count`.

    Attributes:
        compacts: False for a backend whose files lie elsewhere, so that it cannot compact them.
    """

    compacts = True

    @abstractmethod
    def new_storage(self, folder: Path) -> AdapterFactory:
        """Return a callable that gives a new closed adapter over one fresh storage at each call.

        Args:
            folder: An empty folder that is removed afterwards; its name is unique, if a name is what you need.
        """

    def __init__(self) -> None:
        super().__init__()
        self._resources = ExitStack()
        folder = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="conformance-"))
        self.both = SideBySide(self.new_storage(Path(folder)))
        self._resources.callback(self.both.end)
        self.both.open()

    def teardown(self) -> None:
        """Close what is open, also when a step failed."""
        self._resources.close()

    @initialize(data=st.data(), which=WHICH)
    def commit_first(self, data: st.DataObject, which: int) -> None:
        """Begin with something to look at: a few memories, and perhaps a branch."""
        for _ in range(3):
            self.both.commit(which, drawing.a_commit(data, self.both))
        if data.draw(st.booleans(), label="fork at once") and self.both.versions:
            self._fork(data, BRANCHES[0])

    @rule(data=st.data(), which=st.lists(WHICH, min_size=1, max_size=3))
    def commit(self, data: st.DataObject, which: list[int]) -> None:
        """Commit a few times, through either adapter; backend and model agree on every outcome."""
        for adapter in which:
            self.both.commit(adapter, drawing.a_commit(data, self.both))

    @precondition(lambda self: self.both.versions)
    @rule(data=st.data(), which=WHICH)
    def commit_a_ref_again(self, data: st.DataObject, which: int) -> None:
        """Commit a version whose ref is taken, among others; nothing of it is written."""
        self.both.commit(which, drawing.a_commit_of_a_ref_again(data, self.both))

    @precondition(lambda self: self.both.versions)
    @rule(data=st.data(), which=WHICH)
    def erase(self, data: st.DataObject, which: int) -> None:
        """Erase a few versions, perhaps beside puts and perhaps followed by compaction; what is left is compared."""
        self.both.commit(which, drawing.an_erasing_commit(data, self.both))
        if self.compacts and data.draw(st.booleans(), label="compact"):
            self.both.ask(which, lambda adapter: adapter.compact())

    @precondition(lambda self: self.both.versions)
    @rule(data=st.data(), name=st.sampled_from(BRANCHES))
    def fork(self, data: st.DataObject, name: str) -> None:
        """Make a branch: a lineage over another one, up to now or up to an earlier position."""
        if name not in self.both.lineages:
            self._fork(data, name)

    def _fork(self, data: st.DataObject, name: str) -> None:
        parent = self.both.lineages[drawing.a_branch(data, self.both)]
        positions = self.both.positions()
        point: int = data.draw(st.sampled_from([positions[-1], *positions]), label="fork point")
        spans = (BranchSpan(span.branch, min(span.up_to, point)) for span in parent)
        self.both.lineages[name] = (BranchSpan(name), *spans)

    @rule(which=st.sampled_from((0, 1, None)))
    def reopen(self, which: int | None) -> None:
        """Close and open one adapter while the other stays open, or both."""
        self.both.close(which)
        self.both.open()

    @rule(which=WHICH)
    def flush_and_check(self, which: int) -> None:
        """Flush; a check then reads every version and finds nothing."""

        async def flush_and_check(adapter: ProvenanceStorageAdapter) -> CheckReport:
            await adapter.flush()
            return await adapter.check()

        report, _ = self.both.ask(which, flush_and_check)
        assert report.findings == ()
        assert report.versions_checked == len(self.both.versions)

    @rule(data=st.data(), which=WHICH, projection=st.sampled_from(drawing.PROJECTIONS))
    def get(self, data: st.DataObject, which: int, projection: Projection) -> None:
        """Ask for memories by id, key, content and ref."""
        spaces = strategies.NAMESPACES
        selectors: list[Selector] = [ById(memory_id(number)) for number in range(self.both.memories + 1)]
        selectors += [ByKey(space, key) for space in spaces for key in strategies.KEYS if key]
        selectors += [ByContent(space, content_hash(text)) for space in spaces for text in strategies.CONTENTS]
        selectors += [ByRef(version.ref) for version in self.both.versions]
        asked = data.draw(st.lists(st.sampled_from(selectors), max_size=12), label="selectors")
        read_point = drawing.a_read_point(data, self.both)
        found, expected = self.both.ask(which, lambda adapter: adapter.get(asked, read_point, projection))
        assert [as_plain(version) for version in found] == [as_plain(version) for version in expected]

    @rule(data=st.data(), which=WHICH, everywhere=st.booleans())
    def history(self, data: st.DataObject, which: int, *, everywhere: bool) -> None:
        """Ask for a memory's history along a lineage, or on all branches."""
        name = drawing.a_memory_id(data, self.both)
        read_point = None if everywhere else drawing.a_read_point(data, self.both)
        projection = data.draw(st.sampled_from(drawing.PROJECTIONS), label="projection")
        found, expected = self.both.ask(which, lambda adapter: collected(adapter.history(name, read_point, projection)))
        assert [as_plain(version) for version in found] == [as_plain(version) for version in expected]

    @rule(data=st.data(), which=WHICH)
    def scan(self, data: st.DataObject, which: int) -> None:
        """Walk versions."""
        scan = drawing.a_scan(data, self.both)

        async def batches(adapter: ProvenanceStorageAdapter) -> list[list[Version]]:
            return [list(batch) async for batch in adapter.scan(scan)]

        found, expected = self.both.ask(which, batches)
        assert all(0 < len(batch) <= scan.batch_size for batch in found)
        flat, wanted = list(chain(*found)), list(chain(*expected))
        assert [as_plain(version) for version in flat] == [as_plain(version) for version in wanted]

    @rule(data=st.data(), which=WHICH)
    def count(self, data: st.DataObject, which: int) -> None:
        """Count what is visible."""
        read_point, namespaces = drawing.a_read_point(data, self.both), drawing.some_namespaces(data)
        condition = data.draw(drawing.FILTERS, label="filter")
        found, expected = self.both.ask(which, lambda adapter: adapter.count(read_point, namespaces, condition))
        assert found == expected

    @rule(data=st.data(), which=WHICH)
    def find_similar(self, data: st.DataObject, which: int) -> None:
        """Search by meaning, by terms and by both."""
        for query in drawing.some_queries(data, self.both):
            self._search(which, query)

    def _search(self, which: int, query: SimilarityQuery) -> None:
        """Search; the same memories come in the same order with the same scores."""

        async def batches(adapter: ProvenanceStorageAdapter) -> list[list[Match]]:
            return [list(batch) async for batch in adapter.find_similar(query)]

        found, expected = self.both.ask(which, batches)
        assert all(0 < len(batch) <= query.batch_size for batch in found)
        flat, wanted = list(chain(*found)), list(chain(*expected))
        assert [as_plain(match.version) for match in flat] == [as_plain(match.version) for match in wanted]
        for match, other in zip(flat, wanted, strict=True):
            scores = (match.score, match.dense, match.sparse)
            assert scores == pytest.approx((other.score, other.dense, other.sparse), abs=1e-5)
