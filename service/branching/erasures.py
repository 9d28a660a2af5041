"""How everything that takes words along from version to version notices an erasure that came in between.

A merge, a rollback or a release reads versions and writes them anew. What is erased between the two must not come back
by it. So each commit that erases leaves a mark on a line of its own, and such writers expect that no mark was added
since before they read.
"""

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import BranchSpan, HeadIs, ProvenanceStorageAdapter, Put, ReadPoint, Scan
from recollect.adapters.versions import Provenance, VersionRef
from recollect.service.branching.records import system_put
from recollect.service.branching.states import head_of

NAMESPACE = "_erasures"
LINE = "_erasures"
"""The branch of the marks; no user's branch has this name, since those start with a letter."""
_MARK = "mark"


async def none_since_now(store: ProvenanceStorageAdapter) -> HeadIs:
    """Return what holds as long as nothing is erased. Ask for it before reading what will be written anew."""
    return HeadIs(LINE, await head_of(store, LINE))


def mark(provenance: Provenance) -> Put:
    """Return the write that marks a commit as one that erases."""
    return system_put(NAMESPACE, "{}", provenance, kind=_MARK, branch=LINE)


async def marks(store: ProvenanceStorageAdapter) -> tuple[VersionRef, ...]:
    """Return the marks of erasures after which the files were not cleaned yet: a mark is erased when they are."""
    scan = Scan(read_point=ReadPoint((BranchSpan(LINE, POSITION_MAX),)), namespaces=(NAMESPACE,))
    return tuple([version.ref async for batch in store.scan(scan) for version in batch])
