"""The system's own namespaces, by name: a walk over a whole store has to ask for them.

The port hides them from whoever does not name them, so what copies or compares whole stores names them all.
"""

from typing import Final

SYSTEM_NAMESPACES: Final = (
    "_audit",
    "_branches",
    "_conflicts",
    "_erasures",
    "_idempotency",
    "_lineage",
    "_provenance",
    "_quarantine",
    "_receipts",
    "_relations",
    "_squashes",
    "_tags",
)
