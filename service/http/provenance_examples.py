"""Examples of answers about provenance, as OpenAPI shows them."""

from typing import Any

from recollect.service.http.examples import MEMORY, MEMORY_ID

_TIME = "2026-11-21T09:00:00Z"
_OTHER_ID = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b44"
_NODE = f"{MEMORY_ID}@1"

RECORD: dict[str, Any] = {
    "id": MEMORY_ID,
    "version": 1,
    "branch": "main",
    "position": 116127481023488,
    "provenance": MEMORY["provenance"],
}
BLAME: dict[str, Any] = {
    "id": MEMORY_ID,
    "version": 1,
    "branch": "main",
    "sentences": [
        {
            "text": "Ana prefers the window seat on night trains.",
            "version": 1,
            "branch": "main",
            "actor": "assistant",
            "time": _TIME,
            "source": "message:8123",
        }
    ],
}
LINEAGE: dict[str, Any] = {
    "root": _NODE,
    "direction": "up",
    "nodes": [
        {
            "id": _NODE,
            "kind": "version",
            "memory_id": MEMORY_ID,
            "version": 1,
            "branch": "main",
            "namespace": "longterm",
            "summary": "Ana prefers the window seat on night trains.",
            "action": "created",
            "actor": "assistant",
            "time": _TIME,
            "confidence": 1.0,
        },
        {"id": "message:8123", "kind": "source", "summary": "message:8123"},
    ],
    "edges": [{"child": _NODE, "parent": "message:8123", "kind": "source"}],
    "truncated": False,
}
TREE = (
    f"Ana prefers the window seat on night trains. [{_NODE}] created by assistant 2026-11-21 09:00\n"
    "└── source: message:8123\n"
)
NEW_RELATION: dict[str, Any] = {"from": MEMORY_ID, "to": _OTHER_ID, "type": "supports", "actor": "assistant"}
RELATION: dict[str, Any] = {
    "id": "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b99",
    "from": MEMORY_ID,
    "to": _OTHER_ID,
    "type": "supports",
    "note": None,
    "actor": "assistant",
    "time": _TIME,
    "position": 116127481023488,
}
RELATIONS: dict[str, Any] = {"items": [RELATION]}
NEW_INSIGHT: dict[str, Any] = {
    "content": "Ana travels by night and wants to see out.",
    "memories": [MEMORY_ID, _OTHER_ID],
    "provenance": {"actor": "assistant", "confidence": 0.8},
}
RECEIPTS: dict[str, Any] = {
    "items": [
        {
            "time": _TIME,
            "actor": "assistant",
            "operation": "search",
            "query_digest": "9f2f4d1b0c6a7e5d8b3a2c1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a392817",
            "hits": 1,
            "given": [{"id": MEMORY_ID, "version": 1, "score": 0.7132}],
        }
    ]
}
SQUASHES: dict[str, Any] = {
    "items": [
        {
            "time": _TIME,
            "versions": [1, 2, 3],
            "count": 3,
            "first": "2026-08-01T09:00:00Z",
            "last": "2026-08-05T09:00:00Z",
            "digest": "9f2f4d1b0c6a7e5d8b3a2c1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a392817",
        }
    ]
}
WHY: dict[str, Any] = {
    "root": _NODE,
    "memory": MEMORY,
    "lineage": LINEAGE,
    "roots": [_NODE],
    "sources": ["message:8123"],
    "certainty": {"own": 1.0, "minimum": 1.0, "weakest": _NODE, "product": 1.0, "path": [_NODE]},
    "conflicts": [],
    "relations": [RELATION],
    "receipts": RECEIPTS["items"],
}
PROV: dict[str, Any] = {"prefix": {"recollect": "urn:recollect:"}, "bundle": {"recollect:export/1": {}}}
