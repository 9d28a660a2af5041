"""Everything about branches as one object: `memory.branches` of a service.

await memory.branches.create(NewBranch(name="draft"))
await memory.remember(NewMemory(content="The train leaves from platform 7.", branch="draft"))
async for frame in memory.branches.diff("main", "draft"):
    ...
merged = await memory.branches.merge("main", MergeRequest(source="draft"))
"""

from recollect.service.branching.catalogue import Catalogue
from recollect.service.branching.conflicts import Conflicts
from recollect.service.branching.differing import Differing
from recollect.service.branching.merging import Merging
from recollect.service.branching.returning import Returning
from recollect.service.branching.tags import Tags
from recollect.service.parts import Parts


class Branching:
    """The use cases of branches; each attribute's class says what its methods take, return and raise.

    Attributes:
        create, get, page, change, delete: See `Catalogue`.
        diff, log: See `Differing`.
        merge: See `Merging`.
        rollback, cherry_pick: See `Returning`.
        conflicts: See `Conflicts`.
        tags: See `Tags`.
    """

    def __init__(self, parts: Parts) -> None:
        catalogue, differing, returning = Catalogue(parts), Differing(parts), Returning(parts)
        self.create = catalogue.create
        self.get = catalogue.get
        self.page = catalogue.page
        self.change = catalogue.change
        self.delete = catalogue.delete
        self.diff = differing.diff
        self.log = differing.log
        self.merge = Merging(parts).merge
        self.rollback = returning.rollback
        self.cherry_pick = returning.cherry_pick
        self.conflicts = Conflicts(parts)
        self.tags = Tags(parts)
