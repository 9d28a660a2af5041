"""How much provenance a write keeps, and how writes are flushed.

| preset        | full provenance in                        | flush                                   |
|---------------|-------------------------------------------|-----------------------------------------|
| `interactive` | `shared` and `longterm` (configurable)    | each write at once                      |
| `background`  | every namespace                           | gathered: 50 writes or 100 ms           |
| `minimal`     | none, unless a write asks for it          | each write at once                      |

A write decides for itself with `track_provenance`. Under `interactive`, a write that gives a source,
a derivation or a note asks for them to be kept by giving them.
"""

from msgspec import Struct

from recollect.service.requests import ProvenanceInput
from recollect.service.settings import Settings


class TrackingPolicy(Struct, frozen=True):
    """Decides between full and minimal provenance.

    Attributes:
        everywhere: Every namespace keeps the full record.
        namespaces: These do.
        giving_asks: A write that gives more than an actor keeps it.
    """

    everywhere: bool
    namespaces: frozenset[str]
    giving_asks: bool

    @classmethod
    def of(cls, settings: Settings) -> "TrackingPolicy":
        """Return the policy of a preset."""
        named = frozenset(settings.track_full_namespaces) if settings.preset == "interactive" else frozenset()
        return cls(settings.preset == "background", named, settings.preset != "minimal")

    def keeps_full(self, namespace: str, asked: bool | None, given: ProvenanceInput) -> bool:  # noqa: FBT001
        """Say whether a write keeps the full record.

        Args:
            namespace: Where it goes.
            asked: What the write says itself (`track_provenance`).
            given: The provenance that came with it.
        """
        if asked is not None:
            return asked
        gives = bool(given.source or given.derived_from or given.note or given.confidence is not None)
        return self.everywhere or namespace in self.namespaces or (self.giving_asks and gives)
