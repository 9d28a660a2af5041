"""How sure a version is, along all that it was made of."""

from collections.abc import Iterable, Mapping, Sequence

from recollect.adapters.versions import VersionRef
from recollect.service.provenance.answers import Certainty
from recollect.service.provenance.graph import Graph, confidence_of, name, names


def certainty_of(graph: Graph) -> Certainty:
    """Return how sure the root of a graph is.

    The minimum says how sure the least certain of all its ancestors is. The product says what is left when every step
    of the least certain path is taken into account. Which node and which path that is, is said with them.
    """
    own = {ref: confidence_of(version) for ref, version in graph.versions.items()}
    parents: dict[VersionRef, list[VersionRef]] = {}
    for step in graph.steps:
        parents.setdefault(step.child, []).append(step.parent)
    product: dict[VersionRef, float] = {}
    worst: dict[VersionRef, VersionRef] = {}
    for ref in _parents_first(graph.root, parents):
        known = [parent for parent in parents.get(ref, ()) if parent in product]
        product[ref] = own[ref]
        if known:
            worst[ref] = min(known, key=product.__getitem__)
            product[ref] *= product[worst[ref]]
    weakest = min(product, key=own.__getitem__)
    return Certainty(
        own=own[graph.root],
        minimum=own[weakest],
        weakest=name(weakest),
        product=round(product[graph.root], 6),
        path=names(_path(graph.root, worst)),
    )


def _path(start: VersionRef, following: Mapping[VersionRef, VersionRef]) -> Iterable[VersionRef]:
    ref: VersionRef | None = start
    while ref is not None:
        yield ref
        ref = following.get(ref)


def _parents_first(root: VersionRef, parents: Mapping[VersionRef, Sequence[VersionRef]]) -> list[VersionRef]:
    """Return the root and its ancestors, parents before children; a step that closes a circle is left out."""
    order: list[VersionRef] = []
    seen = {root}
    path = [(root, iter(parents.get(root, ())))]
    while path:
        ref, left = path[-1]
        following = next((parent for parent in left if parent not in seen), None)
        if following is None:
            order.append(ref)
            path.pop()
        else:
            seen.add(following)
            path.append((following, iter(parents.get(following, ()))))
    return order
