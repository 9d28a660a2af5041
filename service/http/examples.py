"""Examples of answers, as OpenAPI shows them."""

from typing import Any

MEMORY_ID = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"
_TIME = "2026-11-21T09:00:00Z"

NEW_MEMORY: dict[str, Any] = {
    "content": "Ana prefers the window seat on night trains.",
    "namespace": "longterm",
    "tags": ["ana", "travel"],
    "provenance": {"actor": "assistant", "source": "message:8123"},
}
REVISION: dict[str, Any] = {
    "content": "Ana prefers the aisle seat since her knee operation.",
    "provenance": {"actor": "assistant", "source": "message:9001", "note": "she said so"},
}
BATCH: dict[str, Any] = {"memories": [NEW_MEMORY, {"content": "The night train to Vienna leaves at 21:10."}]}
SEARCH: dict[str, Any] = {"text": "where does Ana like to sit?", "filters": {"tags": {"any": ["travel"]}}, "limit": 5}

REMEMBERED: dict[str, Any] = {
    "id": MEMORY_ID,
    "version": 1,
    "status": "created",
    "namespace": "longterm",
    "branch": "main",
    "position": 116127481023488,
    "durability": "durable",
}
DUPLICATE: dict[str, Any] = {**REMEMBERED, "status": "duplicate"}
REVISED: dict[str, Any] = {**REMEMBERED, "version": 2, "status": "revised"}
FORGOTTEN: dict[str, Any] = {**REMEMBERED, "version": 3, "status": "forgotten"}
REFUSED: dict[str, Any] = {
    "error": {
        "title": "The request is not valid",
        "status": 422,
        "code": "invalid_request",
        "detail": "content: Field required",
    }
}
BATCH_ANSWER: dict[str, Any] = {"results": [REMEMBERED, REFUSED]}

MEMORY: dict[str, Any] = {
    "id": MEMORY_ID,
    "version": 1,
    "namespace": "longterm",
    "branch": "main",
    "position": 116127481023488,
    "key": None,
    "kind": "semantic",
    "summary": "Ana prefers the window seat on night trains.",
    "tags": ["ana", "travel"],
    "importance": 0.5,
    "confidence": 1.0,
    "created_at": _TIME,
    "updated_at": _TIME,
    "expires_at": None,
    "content_hash": "9f2f4d1b0c6a7e5d8b3a2c1f0e9d8c7b6a5f4e3d2c1b0a9f8e7d6c5b4a392817",
    "forgotten": False,
    "erased": False,
    "provenance": {
        "action": "created",
        "actor": "assistant",
        "time": _TIME,
        "level": "full",
        "source": "message:8123",
        "derived_from": [],
        "note": None,
        "confidence": None,
        "schema_version": 1,
    },
}
PAGE: dict[str, Any] = {"items": [MEMORY], "next_cursor": None}
HISTORY: dict[str, Any] = {"items": [{**MEMORY, "version": 2}, MEMORY]}

HIT: dict[str, Any] = {
    "id": MEMORY_ID,
    "version": 1,
    "score": 0.7132,
    "namespace": "longterm",
    "key": None,
    "kind": "semantic",
    "summary": "Ana prefers the window seat on night trains.",
    "tags": ["ana", "travel"],
    "created_at": _TIME,
}
SEARCH_ANSWER: dict[str, Any] = {"hits": [HIT], "elapsed_ms": 2.314}
FRAMES_NDJSON = (
    '{"frame":"hits","hits":[{"id":"' + MEMORY_ID + '","version":1,"score":0.7132,"namespace":"longterm","key":null,'
    '"kind":"semantic","summary":"Ana prefers the window seat on night trains.","tags":["ana","travel"],'
    '"created_at":"' + _TIME + '"}]}\n{"frame":"heartbeat"}\n{"frame":"end","hits":1,"elapsed_ms":2.314}\n'
)
FRAMES_SSE = (
    'event: hits\ndata: {"frame":"hits","hits":[]}\n\nevent: end\ndata: {"frame":"end","hits":0,"elapsed_ms":2.314}\n\n'
)
LINES = (
    '{"key":"seat","content":"Ana prefers the window seat on night trains.","namespace":"longterm"}\n'
    '{"content":"The night train to Vienna leaves at 21:10."}\n'
)
IMPORT_REPORT: dict[str, Any] = {"created": 2, "revised": 0, "duplicate": 0, "refused": 0, "problems": []}

ALIVE: dict[str, Any] = {"status": "alive"}
READY: dict[str, Any] = {"status": "ready"}
STATUS: dict[str, Any] = {
    "status": "healthy",
    "version": "0.1.0",
    "uptime_s": 12.5,
    "storage": {
        "backend": "edge",
        "location": "/home/ana/.local/share/recollect/store",
        "memories": 6000,
        "versions": 6120,
        "last_position": 116127481023488,
        "bytes_on_disk": 21430272,
    },
    "embedder": {"model_id": "all-MiniLM-L6-v2", "dimension": 384, "runtime": "openvino"},
    "buffer": {
        "operations_waiting": 0,
        "operations_buffered": 6120,
        "batches_flushed": 6120,
        "flush_ms_mean": 0.4,
        "flush_operations_now": 1,
        "flush_interval_ms_now": 0.0,
    },
    "operations": {"search": {"count": 10, "errors": 0, "mean_ms": 2.1, "p50_ms": 2.0, "p95_ms": 3.1, "p99_ms": 3.2}},
    "notes": [],
}
