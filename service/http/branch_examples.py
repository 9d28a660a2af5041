"""Examples of what is said and answered about branches, as OpenAPI shows them."""

from typing import Any

from recollect.service.http.examples import MEMORY_ID

CONFLICT_ID = "0198f0c3-0b1d-7f3e-8c2a-5d9e1a7b4c60"
_TIME = "2026-11-26T09:00:00Z"
_POSITION = 116127481023488

NEW_BRANCH: dict[str, Any] = {"name": "draft", "from": "main", "actor": "assistant", "note": "try another plan"}
BRANCH: dict[str, Any] = {
    "name": "draft",
    "id": "draft",
    "parent": "main",
    "forked_at": _POSITION,
    "created_at": _TIME,
    "created_by": "assistant",
    "note": "try another plan",
    "protected": False,
}
BRANCH_PAGE: dict[str, Any] = {"items": [BRANCH], "next_cursor": None}
NEW_TAG: dict[str, Any] = {"name": "v1", "branch": "main", "note": "before the move"}
TAG: dict[str, Any] = {
    "name": "v1",
    "branch": "main",
    "position": _POSITION,
    "created_at": _TIME,
    "created_by": "ana",
    "note": "before the move",
    "protected": False,
}
TAG_PAGE: dict[str, Any] = {"items": [TAG]}

MERGE: dict[str, Any] = {"source": "draft", "strategy": "conflict", "actor": "ana"}
MERGED: dict[str, Any] = {
    "target": "main",
    "source": "draft",
    "strategy": "conflict",
    "dry_run": False,
    "fast_forward": False,
    "base": _POSITION,
    "up_to": _POSITION + 2048,
    "position": _POSITION + 4096,
    "added": 2,
    "revised": 1,
    "forgotten": 0,
    "conflicts": 1,
    "settled": 0,
    "conflict_ids": [CONFLICT_ID],
    "conflict_branch": None,
}
ROLLED_BACK: dict[str, Any] = {
    "branch": "main",
    "to": _POSITION,
    "dry_run": False,
    "position": _POSITION + 8192,
    "added": 0,
    "revised": 1,
    "forgotten": 2,
}
CHERRY_PICK: dict[str, Any] = {"source": "draft", "memory_id": MEMORY_ID, "version": 2}

_BASE: dict[str, Any] = {"id": MEMORY_ID, "version": 1, "branch": "main"}
_OURS: dict[str, Any] = {"id": MEMORY_ID, "version": 2, "branch": "main"}
_THEIRS: dict[str, Any] = {"id": MEMORY_ID, "version": 2, "branch": "draft"}
_SAID = {
    "base": "The train leaves at 21:10 from platform 4.",
    "ours": "The train leaves at 21:40 from platform 4.",
    "theirs": "The train leaves at 21:10 from platform 7.",
}
_LISTED: dict[str, Any] = {
    "id": CONFLICT_ID,
    "kind": "content",
    "target": "main",
    "source": "draft",
    "memory_id": MEMORY_ID,
    "namespace": "longterm",
    "key": "vienna-train",
    "base": _BASE,
    "ours": _OURS,
    "theirs": _THEIRS,
    "summaries": _SAID,
    "contents": None,
    "state": "open",
    "resolution": None,
    "position": _POSITION + 4096,
    "created_at": _TIME,
}
CONFLICT_PAGE: dict[str, Any] = {"items": [_LISTED], "next_cursor": None}
CONFLICT: dict[str, Any] = {**_LISTED, "contents": _SAID}
CONFLICT_RESOLVED: dict[str, Any] = {**CONFLICT, "state": "resolved", "resolution": "theirs"}
RESOLVED: dict[str, Any] = {"resolved": [CONFLICT_ID], "position": _POSITION + 8192}

LOG_PAGE: dict[str, Any] = {
    "items": [
        {
            "position": _POSITION,
            "time": _TIME,
            "branch": "main",
            "actors": ["ana"],
            "created": 1,
            "revised": 0,
            "forgotten": 0,
        }
    ],
    "next_before": None,
}
DIFF_NDJSON = (
    '{"frame":"changes","changes":[{"change":"revised","id":"' + MEMORY_ID + '","namespace":"longterm",'
    '"key":"vienna-train","before":{"id":"' + MEMORY_ID + '","version":1,"branch":"main"},'
    '"after":{"id":"' + MEMORY_ID + '","version":2,"branch":"draft"},'
    '"summary_before":"The train leaves at 21:10 from platform 4.",'
    '"summary_after":"The train leaves at 21:10 from platform 7.","text_diff":null}]}\n'
    '{"frame":"end","added":0,"revised":1,"forgotten":0,"elapsed_ms":1.859}\n'
)
DIFF_SSE = (
    'event: changes\ndata: {"frame":"changes","changes":[]}\n\n'
    'event: end\ndata: {"frame":"end","added":0,"revised":0,"forgotten":0,"elapsed_ms":1.859}\n\n'
)
