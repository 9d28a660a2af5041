"""The whole suite as one class, to be subclassed once for each backend."""

from recollect.adapters.testing.branches import BranchTests, TimeTests
from recollect.adapters.testing.commits import (
    AtomicityTests,
    CommitTests,
    ConcurrencyTests,
    PreconditionTests,
    TombstoneTests,
)
from recollect.adapters.testing.erasure import CopyingTests, ErasureTests
from recollect.adapters.testing.lifecycle import LifecycleTests, ReopeningTests, SelfKnowledgeTests
from recollect.adapters.testing.limits import NameTests, SizeTests, ValueTests
from recollect.adapters.testing.reads import GetTests, HistoryTests, ScanTests
from recollect.adapters.testing.search import RankingTests, RefusalTests, SelectionTests
from recollect.adapters.testing.streams import StreamTests


class ConformanceSuite(
    LifecycleTests,
    ReopeningTests,
    SelfKnowledgeTests,
    CommitTests,
    AtomicityTests,
    PreconditionTests,
    ConcurrencyTests,
    TombstoneTests,
    ErasureTests,
    CopyingTests,
    GetTests,
    ScanTests,
    HistoryTests,
    BranchTests,
    TimeTests,
    RankingTests,
    SelectionTests,
    RefusalTests,
    StreamTests,
    NameTests,
    ValueTests,
    SizeTests,
):
    """Everything that the port promises, as tests.

    Subclass it as `class TestMyBackend(ConformanceSuite)`, and override the fixture `make_adapter`: it returns a
    callable that gives a new closed adapter over the same storage at each call, and the storage is fresh for each
    test.
    """
