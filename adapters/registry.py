"""From a store's URL to its adapter: `edge:PATH`, `file:PATH`, and whatever installed packages add.

A package adds a backend by an entry point in the group `recollect.adapters`: the scheme as its name, and as its
value a callable that takes the whole URL and returns a closed adapter.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from recollect.adapters.errors import UnknownBackendError
from recollect.adapters.port import ProvenanceStorageAdapter

GROUP = "recollect.adapters"
AdapterFactory = Callable[[str], ProvenanceStorageAdapter]


def backends() -> dict[str, str]:
    """Return the schemes that can be used, each with the place of its adapter."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def create_adapter(url: str) -> ProvenanceStorageAdapter:
    """Return a closed adapter for a store's URL.

    Args:
        url: A scheme, a colon and what the backend makes of the rest, such as `edge:/var/lib/recollect`.

    Raises:
        UnknownBackendError: No installed package knows the scheme; the message lists those that are known.
    """
    scheme, colon, _ = url.partition(":")
    found = entry_points(group=GROUP, name=scheme) if colon else ()
    for point in found:
        factory: AdapterFactory = point.load()
        return factory(url)
    known = ", ".join(f"{name}:" for name in sorted(backends()))
    raise UnknownBackendError(f"no storage backend for {url!r:.120}; a store's URL starts with one of {known}")
