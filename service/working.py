"""Working memory is bounded: when a namespace holds too many, the least recently used is forgotten."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from recollect.adapters.filters import Equals
from recollect.adapters.port import ById, ProvenanceStorageAdapter, ReadPoint, Scan
from recollect.adapters.versions import Version
from recollect.service.drafts import WORKING

_Place = tuple[str, str]


class WorkingSets:
    """Knows the order in which working memories were used, for each namespace and branch.

    The order starts with that of the commits and is then kept by this process; another service on the same store
    keeps its own, so that each lets go of what it has used least.

    Args:
        store: Where the memories are.
        memories_max: How many a namespace holds.
    """

    def __init__(self, store: ProvenanceStorageAdapter, memories_max: int) -> None:
        self._store = store
        self._memories_max = memories_max
        self._sets: dict[_Place, OrderedDict[str, None]] = {}

    @property
    def in_use(self) -> bool:
        """Whether there is an order of working memories to keep."""
        return bool(self._sets)

    def used(self, versions: Iterable[Version]) -> None:
        """Note that memories were used."""
        if not self._sets:
            return  # nothing is kept in order yet, and a stream of many hits should not pay for that
        for version in versions:
            if version.kind == WORKING:
                place = self._sets.get((version.namespace, version.branch))
                if place is not None and version.memory_id in place:
                    place.move_to_end(version.memory_id)

    def added(self, versions: Iterable[Version]) -> None:
        """Note that memories were stored."""
        for version in versions:
            place = self._sets.get((version.namespace, version.branch))
            if place is not None and version.kind == WORKING:
                place[version.memory_id] = None
                place.move_to_end(version.memory_id)

    def removed(self, versions: Iterable[Version]) -> None:
        """Note that memories were forgotten, or are of another kind now."""
        for version in versions:
            place = self._sets.get((version.namespace, version.branch))
            if place is not None:
                place.pop(version.memory_id, None)

    async def leaving(self, adding: Sequence[Version], read_point: ReadPoint) -> list[Version]:
        """Return the memories that must be forgotten so that those of the kind working fit."""
        wanted: dict[_Place, set[str]] = {}
        for version in adding:
            if version.kind == WORKING:
                wanted.setdefault((version.namespace, version.branch), set()).add(version.memory_id)
        leaving: list[Version] = []
        for place, new_ids in wanted.items():
            leaving += await self._leaving(place, new_ids, read_point)
        return leaving

    async def _leaving(self, place: _Place, new_ids: set[str], read_point: ReadPoint) -> list[Version]:
        order = self._sets.get(place)
        if order is None:
            order = self._sets[place] = await self._load(place[0], read_point)
        leaving: list[Version] = []
        surplus = len(order.keys() | new_ids) - self._memories_max
        candidates = [memory_id for memory_id in order if memory_id not in new_ids]
        while surplus > 0 and candidates:
            asked, candidates = candidates[:surplus], candidates[surplus:]
            found = await self._store.get([ById(memory_id) for memory_id in asked], read_point)
            for memory_id, version in zip(asked, found, strict=True):
                surplus -= 1
                if version is None or version.kind != WORKING:
                    order.pop(memory_id, None)  # forgotten or changed by another process
                else:
                    leaving.append(version)
        return leaving

    async def _load(self, namespace: str, read_point: ReadPoint) -> OrderedDict[str, None]:
        scan = Scan(read_point=read_point, namespaces=(namespace,), filter=Equals(("kind",), WORKING))
        order: OrderedDict[str, None] = OrderedDict()
        async for batch in self._store.scan(scan):
            order.update((version.memory_id, None) for version in batch)
        return order
