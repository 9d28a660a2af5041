"""Whatever is sent, no answer is a 5xx and every error is a problem."""

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recollect.service import MemoryService

EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.one_of(st.integers(), st.sampled_from([2**63, -(2**63), 2**64, 10**300, 1e308, -0.0, 5e-324]), st.floats())
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
TIMES = st.sampled_from(
    ["2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "soon"]
)
IDS = st.sampled_from(["0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21", "00000000-0000-0000-0000-000000000000", "id"])
FIELDS = st.sampled_from(
    ["id", "namespace", "kind", "tags", "key", "importance", "confidence", "created_at", "expires_at", "actor",
     "source", "metadata.a", "metadata.", "metadata", "metadata.a.b.c", "AND", "OR", "NOT", "", "no_such"]
)  # fmt: skip
OPERATORS = st.sampled_from(["eq", "in", "any", "all", "gt", "gte", "lt", "lte", "exists", "ne", "$ne", ""])
CONDITIONS = st.one_of(VALUES, TIMES, st.dictionaries(OPERATORS, st.one_of(VALUES, TIMES), max_size=3))
FILTERS = st.recursive(
    st.one_of(
        st.dictionaries(FIELDS, CONDITIONS, max_size=3),
        st.fixed_dictionaries(
            {},
            optional={
                "importance": st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS, max_size=2),
                "tags": st.dictionaries(st.sampled_from(["any", "all"]), st.lists(TEXTS, max_size=2), max_size=2),
                "created_at": st.dictionaries(st.sampled_from(["gt", "lte"]), TIMES, max_size=1),
                "metadata.a": st.one_of(SCALARS, st.dictionaries(st.sampled_from(["in", "eq", "gt"]), VALUES)),
                "kind": TEXTS,
            },
        ),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({}, optional={"AND": st.lists(inner, max_size=3), "OR": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"NOT": inner}),
    ),
    max_leaves=4,
)
NAMES = st.one_of(TEXTS, st.sampled_from(["longterm", "main", "_audit", "a\x00b", "../etc", "working", "ghost"]))
FRACTIONS = st.floats(0, 1)
VECTORS = st.lists(st.floats(-1e30, 1e30), min_size=64, max_size=64)
PROVENANCE = st.fixed_dictionaries(
    {},
    optional={"actor": NAMES, "source": NAMES, "note": TEXTS, "confidence": FRACTIONS, "derived_from": st.lists(IDS)},
)
ANYTHING = st.one_of(VALUES, TIMES, IDS, NAMES, PROVENANCE, FILTERS, st.lists(NUMBERS, max_size=3))


def mostly(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return objects that are mostly what a path takes, with at most one field that may be anything."""
    good = st.fixed_dictionaries(required, optional=optional)
    fields = st.sampled_from([*required, *optional, "surprise"])
    spoilt = st.builds(lambda base, field, value: {**base, field: value}, good, fields, ANYTHING)
    kinds = [good, good, good, spoilt, spoilt, ANYTHING]  # chosen first, since one_of would count every alternative
    return st.sampled_from(range(len(kinds))).flatmap(lambda index: kinds[index])


MEMORIES = mostly(
    {"content": VALUES},
    {
        "summary": NAMES, "key": NAMES, "namespace": st.sampled_from(["longterm", "a:b/c"]), "tags": st.lists(NAMES),
        "kind": st.sampled_from(["working", "ghost", "own"]), "metadata": st.dictionaries(TEXTS, VALUES, max_size=3),
        "importance": FRACTIONS, "confidence": FRACTIONS, "created_at": TIMES, "track_provenance": st.booleans(),
        "provenance": PROVENANCE, "vector": VECTORS, "durability": st.sampled_from(["durable", "relaxed"]),
    },
)  # fmt: skip
REVISIONS = mostly(
    {"content": VALUES},
    {
        "summary": NAMES, "tags": st.lists(NAMES), "kind": NAMES, "importance": FRACTIONS,
        "metadata": st.dictionaries(TEXTS, VALUES, max_size=3), "provenance": PROVENANCE, "vector": VECTORS,
    },
)  # fmt: skip
SEARCHES = mostly(
    {"text": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)},
    {
        "namespaces": st.lists(st.sampled_from(["longterm", "a"])), "filters": FILTERS, "limit": st.integers(1, 2000),
        "threshold": st.floats(-1, 1), "batch_size": st.integers(1, 1000), "view": st.sampled_from(["summary", "full"]),
        "as_of": st.one_of(TIMES, st.integers(0, 2**53 - 1)), "explain": st.booleans(),
        "include_provenance": st.booleans(),
    },
)  # fmt: skip
BATCHES = st.one_of(
    VALUES, st.fixed_dictionaries({"memories": st.lists(MEMORIES, max_size=4)}, optional={"atomic": SCALARS})
)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["view", "include", "branch", "as_of", "key", "namespace", "filters", "order", "descending", "limit", "cursor",
         "actor", "note", "source", "surprise"]
    ),
    st.one_of(NAMES, TIMES, IDS, st.integers().map(str), FILTERS.map(json.dumps)),
    max_size=4,
)  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
        for name in ("X-Request-ID", "Idempotency-Key", "If-Match", "Accept")
    },
)


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def check(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["code"]
        assert problem["detail"]


async def post(client: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str], method: str = "POST") -> None:
    content = json.dumps(body).encode()
    encoded = [(b"content-type", b"application/json"), *raw(headers)]
    check(await client.request(method, path, content=content, headers=encoded))


@EXAMPLES
@given(body=MEMORIES, headers=HEADERS)
@example(body={"content": "a", "created_at": "0001-01-01T00:00:00+14:00"}, headers={})
async def test_any_memory_is_stored_or_refused(client: httpx.AsyncClient, body: Any, headers: dict[str, str]) -> None:
    await post(client, "/v1/memories", body, headers)


@EXAMPLES
@given(body=BATCHES, headers=HEADERS)
async def test_any_batch_is_answered(client: httpx.AsyncClient, body: Any, headers: dict[str, str]) -> None:
    await post(client, "/v1/memories/batch", body, headers)


@EXAMPLES
@given(body=SEARCHES, path=st.sampled_from(["/v1/search", "/v1/find_similar"]), headers=HEADERS)
async def test_any_search_is_answered(
    client: httpx.AsyncClient, memory: MemoryService, body: Any, path: str, headers: dict[str, str]
) -> None:
    await memory.remember("something to find")
    await post(client, path, body, headers)


@EXAMPLES
@given(body=REVISIONS, headers=HEADERS, parameters=PARAMETERS)
async def test_any_revision_is_taken_or_refused(
    client: httpx.AsyncClient, memory: MemoryService, body: Any, headers: dict[str, str], parameters: dict[str, str]
) -> None:
    stored = await memory.remember("something to revise")
    path = str(httpx.URL(f"/v1/memories/{stored.id}", params=parameters))
    await post(client, path, body, headers, method="PATCH")


@EXAMPLES
@given(
    path=st.sampled_from(
        [
            "/v1/memories",
            "/v1/memories/{id}",
            "/v1/memories/{id}/history",
            "/v1/memories/{id}/lineage",
            "/v1/memories/{id}/why",
            "/v1/memories/{id}/blame",
            "/v1/memories/{id}/receipts",
            "/v1/memories/{id}/relations",
            "/v1/receipts",
            "/v1/export",
            "/v1/status",
            "/healthz",
        ]
    ),
    method=st.sampled_from(["GET", "GET", "HEAD", "DELETE"]),
    parameters=PARAMETERS,
    headers=HEADERS,
)
async def test_any_query_is_answered(
    client: httpx.AsyncClient,
    memory: MemoryService,
    path: str,
    method: str,
    parameters: dict[str, str],
    headers: dict[str, str],
) -> None:
    stored = await memory.remember("something to read")
    response = await client.request(method, path.replace("{id}", stored.id), params=parameters, headers=raw(headers))
    if method == "HEAD":
        assert response.status_code < 500
    else:
        check(response)


@EXAMPLES
@given(path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="?#"), max_size=30))
async def test_any_path_is_answered(client: httpx.AsyncClient, path: str) -> None:
    check(await client.get(f"/v1/memories/{quote(path)}"))


@EXAMPLES
@given(body=st.binary(max_size=200), path=st.sampled_from(["/v1/memories", "/v1/search", "/v1/import"]))
async def test_any_bytes_are_answered(client: httpx.AsyncClient, body: bytes, path: str) -> None:
    kind = "application/x-ndjson" if path == "/v1/import" else "application/json"
    check(await client.post(path, content=body, headers={"Content-Type": kind}))


@EXAMPLES
@given(lines=st.lists(st.one_of(MEMORIES.map(json.dumps), TEXTS), max_size=4))
async def test_any_import_is_reported(client: httpx.AsyncClient, lines: list[str]) -> None:
    content = "\n".join(lines).encode("utf-8", "replace")
    check(await client.post("/v1/import", content=content, headers={"Content-Type": "application/x-ndjson"}))
