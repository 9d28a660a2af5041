"""The OpenAPI document: routes as FastAPI tells them, requests by pydantic, answers by msgspec."""

from importlib.metadata import version as version_of
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from msgspec import Struct
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recollect.service import answers
from recollect.service.branching import answers as branching
from recollect.service.branching.requests import (
    BranchChange,
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    ResolveAll,
    RollbackRequest,
)
from recollect.service.erasure import answers as erasure
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.http.answering import reference
from recollect.service.provenance import answers as provenance
from recollect.service.provenance.requests import NewInsight, NewRelation
from recollect.service.quarantine import answers as quarantine
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest
from recollect.service.requests import MemoryBatch, NewMemory, Revision, SearchRequest

TITLE = "Recollect"
SUMMARY = "Memory for agents and applications that can always say where it came from."
DESCRIPTION = """\
Store memories, recall them by meaning, and ask of any memory who wrote it, from what, and what it replaced.

- Bodies are JSON with `Content-Type: application/json`; unknown fields, NaN and infinity are refused.
- Errors are problem details (RFC 9457) with `code` for programs, `detail` with what to do, and `request_id`.
- `X-Request-ID` is taken over if it is sane (letters, digits, `. _ : / + = @ -`, 128 at most), else given.
- A write with `Idempotency-Key` happens once; `If-Match` with a version makes it happen only if that version stands.
"""
TAGS = [
    {"name": "memories", "description": "Write memories, read them by id, key or time, and follow their history."},
    {"name": "provenance", "description": "Ask where a memory comes from, what became of it, and who was given it."},
    {"name": "relations", "description": "Connect memories, and draw insights from several."},
    {"name": "search", "description": "Find memories by meaning, in one answer or as a stream."},
    {"name": "branches", "description": "Fork, compare, merge and roll back; settle conflicts; name commits."},
    {"name": "safety", "description": "Erase what must be forgotten; trace and quarantine what came of a bad source."},
    {"name": "transfer", "description": "Move memories out and in, as JSON Lines."},
    {"name": "health", "description": "Whether the service lives, is ready, and how it is."},
]

_REQUESTS: tuple[type[BaseModel], ...] = (
    NewMemory,
    MemoryBatch,
    Revision,
    SearchRequest,
    NewBranch,
    BranchChange,
    MergeRequest,
    RollbackRequest,
    CherryPick,
    Resolution,
    ResolveAll,
    NewTag,
    NewRelation,
    NewInsight,
    ErasureRequest,
    TraceRequest,
    NewQuarantine,
    ReleaseRequest,
)
_ANSWERS: tuple[type[Struct], ...] = (
    answers.Remembered,
    answers.Refused,
    answers.Memory,
    answers.MemoryPage,
    answers.HistoryAnswer,
    answers.SearchAnswer,
    answers.HitsFrame,
    answers.HeartbeatFrame,
    answers.EndFrame,
    answers.ErrorFrame,
    answers.ImportReport,
    answers.ServiceStatus,
    answers.Alive,
    answers.Ready,
    answers.Problem,
    branching.Branch,
    branching.BranchPage,
    branching.ChangesFrame,
    branching.DiffEndFrame,
    branching.Merged,
    branching.Conflict,
    branching.ConflictPage,
    branching.Resolved,
    branching.RolledBack,
    branching.LogPage,
    branching.Tag,
    branching.TagPage,
    provenance.ProvenanceAnswer,
    provenance.BlameAnswer,
    provenance.WhyAnswer,
    provenance.RelationsAnswer,
    provenance.ReceiptsAnswer,
    provenance.SquashesAnswer,
    erasure.ErasurePlan,
    erasure.Erased,
    erasure.ErasuresAnswer,
    quarantine.TraceAnswer,
    quarantine.QuarantinesAnswer,
)
_REQUEST_ID = {
    "description": "The request's id: the one that was sent, or a new one.",
    "schema": {"type": "string"},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app; it is made once and kept.

    Source of the format: OpenAPI Specification 3.1.0, JSON Schema 2020-12.
    """
    if app.openapi_schema is None:
        document = get_openapi(
            title=TITLE,
            version=version_of("recollect"),
            summary=SUMMARY,
            description=DESCRIPTION,
            tags=TAGS,
            license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            routes=app.routes,
        )
        document.setdefault("components", {})["schemas"] = schemas()
        for operation in operations(document):
            for told in operation["responses"].values():
                told.setdefault("headers", {})["X-Request-ID"] = _REQUEST_ID
        app.openapi_schema = document
    return app.openapi_schema


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all operations of an OpenAPI document, in its order."""
    return [operation for path in document["paths"].values() for operation in path.values()]


def schemas() -> dict[str, Any]:
    """Return the JSON Schemas of everything that is said and answered, by name."""
    template = "#/components/schemas/{model}"
    _, requests = models_json_schema([(model, "validation") for model in _REQUESTS], ref_template=template)
    _, told = msgspec.json.schema_components(_ANSWERS, ref_template="#/components/schemas/{name}")
    for name in ("HitsFrame", "HeartbeatFrame", "EndFrame", "ErrorFrame", "ChangesFrame", "DiffEndFrame"):
        told[name]["properties"]["frame"]["description"] = "Which frame this is."
    known: dict[str, Any] = {**requests["$defs"], **told}
    known["JsonValue"] = {"description": "Any JSON value."}
    # msgspec tells no union of untagged structs, though this one is told apart by `error`.
    known["BatchAnswer"] = {
        "title": "BatchAnswer",
        "description": "What became of each memory of a batch, in its order.",
        "type": "object",
        "properties": {
            "results": {
                "description": "One for each memory of the request.",
                "type": "array",
                "items": {"anyOf": [reference(answers.Remembered), reference(answers.Refused)]},
            }
        },
        "required": ["results"],
    }
    return known
