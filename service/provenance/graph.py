"""The graph of a version's lineage, followed level by level so that each level costs one read."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Literal

from recollect.adapters.clock import POSITION_MAX
from recollect.adapters.port import ProvenanceStorageAdapter
from recollect.adapters.versions import MAIN, Version, VersionRef
from recollect.service.presenting import moment
from recollect.service.provenance.answers import LineageAnswer, LineageEdge, LineageNode
from recollect.service.provenance.derivations import Lines, Step, children_of, records_of
from recollect.service.provenance.requests import Direction

_Look = Callable[[list[VersionRef]], Awaitable[list[Step]]]


class Graph:
    """Versions and the steps between them, growing from one version.

    Args:
        store: Where to look.
        root: Where it begins.
        depth: How many steps to go at most.
        nodes: How many versions to hold at most.

    Attributes:
        versions: The versions with their provenance, nearest first; None for one that is not in the store.
        steps: The steps between them, in the order they were found.
        truncated: Whether `depth` or `nodes` cut something off.
    """

    def __init__(self, store: ProvenanceStorageAdapter, root: VersionRef, *, depth: int, nodes: int) -> None:
        self._store = store
        self._depth = depth
        self._nodes = nodes
        self.root = root
        self.versions: dict[VersionRef, Version | None] = {}
        self.steps: dict[Step, None] = {}
        self.truncated = False

    async def grow(self, direction: Direction, up_to: int = POSITION_MAX) -> None:
        """Follow the lineage, on all branches; downwards up to a position."""
        self.versions[self.root] = (await records_of(self._store, [self.root]))[0]
        if direction in {"up", "both"}:
            await self._follow(partial(self._parents, Lines(self._store)))
        if direction in {"down", "both"}:
            await self._follow(partial(self._children, up_to, Lines(self._store, up_to)), downwards=True)

    async def _follow(self, look: _Look, *, downwards: bool = False) -> None:
        level, reached = [self.root], {self.root}
        for _ in range(self._depth):
            steps = await look(level)
            ends = [step.child if downwards else step.parent for step in steps]
            level = [ref for ref in dict.fromkeys(ends) if ref not in reached]
            reached.update(level)
            new = [ref for ref in level if ref not in self.versions]
            room = self._nodes - len(self.versions)
            if len(new) > room:
                self.truncated = True
                level = [ref for ref in level if ref in self.versions or ref in new[:room]]
                new = new[:room]
            self.versions.update(zip(new, await records_of(self._store, new) if new else (), strict=True))
            self.steps.update(
                (step, None) for step in steps if step.child in self.versions and step.parent in self.versions
            )
            if not level:
                return
        self.truncated = self.truncated or bool(await look(level))

    async def _parents(self, lines: Lines, level: list[VersionRef]) -> list[Step]:
        steps: list[Step] = []
        for ref in level:
            version = self.versions[ref]
            if version is None:
                continue
            record = version.provenance
            derived = () if record is None else record.derived_from
            steps += [Step(ref, parent, _kind(ref, parent)) for parent in derived]
            earlier = await lines.before(ref)
            if earlier is not None and earlier not in derived:
                steps.append(Step(ref, earlier, "revision_of"))
        return steps

    async def _children(self, up_to: int, lines: Lines, level: list[VersionRef]) -> list[Step]:
        here = set(level)
        steps = [
            Step(found.child, parent, "derived_from")
            for found in await children_of(self._store, level, up_to)
            for parent in found.parents
            if parent in here
        ]
        return steps + await lines.steps_from(level)

    # --- As an answer -------------------------------------------------------------------------------

    def parents(self, ref: VersionRef) -> list[VersionRef]:
        """Return what a version of the graph came from, within the graph."""
        return [step.parent for step in self.steps if step.child == ref]

    def sources(self) -> list[str]:
        """Return the sources of all versions, nearest first, each once."""
        return list(dict.fromkeys(source for version in self.versions.values() if (source := source_of(version))))

    def roots(self) -> list[VersionRef]:
        """Return the versions that came of no other."""
        children = {step.child for step in self.steps}
        return [ref for ref in self.versions if ref not in children]

    def answer(self, direction: Direction) -> LineageAnswer:
        """Return the graph as it is answered, with the sources as nodes of their own."""
        nodes = [node_of(ref, version) for ref, version in self.versions.items()]
        nodes += [LineageNode(id=source, kind="source", summary=source) for source in self.sources()]
        edges = [LineageEdge(child=name(s.child), parent=name(s.parent), kind=s.kind) for s in self.steps]
        edges += [
            LineageEdge(child=name(ref), parent=source, kind="source")
            for ref, version in self.versions.items()
            if (source := source_of(version))
        ]
        return LineageAnswer(
            root=name(self.root), direction=direction, nodes=nodes, edges=edges, truncated=self.truncated
        )


def _kind(child: VersionRef, parent: VersionRef) -> Literal["merged_from", "derived_from"]:
    return "merged_from" if child.memory_id == parent.memory_id else "derived_from"


def name(ref: VersionRef) -> str:
    """Return the name of a version in a graph."""
    return f"{ref.memory_id}@{ref.number}" if ref.branch == MAIN else f"{ref.memory_id}@{ref.number}/{ref.branch}"


def source_of(version: Version | None) -> str | None:
    """Return the source of a version, or None."""
    return None if version is None or version.provenance is None else version.provenance.source


def confidence_of(version: Version | None) -> float:
    """Return how sure a version is: what its writer said of the write, or else of the memory; 1 if unknown."""
    if version is None:
        return 1.0
    said = None if version.provenance is None else version.provenance.confidence
    return version.confidence if said is None else said


def node_of(ref: VersionRef, version: Version | None) -> LineageNode:
    """Return a version as a node."""
    if version is None:
        return LineageNode(
            id=name(ref), kind="version", memory_id=ref.memory_id, version=ref.number, branch=ref.branch, missing=True
        )
    record = version.provenance
    return LineageNode(
        id=name(ref),
        kind="version",
        memory_id=ref.memory_id,
        version=ref.number,
        branch=ref.branch,
        namespace=version.namespace,
        summary=version.summary,
        action=None if record is None else record.action,
        actor=None if record is None else record.actor,
        time=moment(version.updated_at_ms if record is None else record.time_ms),
        note=None if record is None else record.note,
        confidence=confidence_of(version),
        forgotten=version.forgotten,
    )


def names(refs: Iterable[VersionRef]) -> list[str]:
    """Return the names of versions in a graph."""
    return [name(ref) for ref in refs]
