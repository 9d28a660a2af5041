"""The document that describes the API, and the page made of it."""

import re
from typing import Any

import httpx
import pytest

from recollect.service.http.openapi import operations

METHODS_WITH_BODY = {"post", "patch"}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    assert response.status_code == 200
    told: dict[str, Any] = response.json()
    return told


@pytest.mark.requirement("F1")
async def test_every_route_is_described(document: dict[str, Any]) -> None:
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}

    assert told == {
        ("POST", "/v1/memories"),
        ("GET", "/v1/memories"),
        ("POST", "/v1/memories/batch"),
        ("GET", "/v1/memories/{memory_id}"),
        ("PATCH", "/v1/memories/{memory_id}"),
        ("DELETE", "/v1/memories/{memory_id}"),
        ("GET", "/v1/memories/{memory_id}/history"),
        ("GET", "/v1/memories/{memory_id}/provenance"),
        ("GET", "/v1/memories/{memory_id}/blame"),
        ("GET", "/v1/memories/{memory_id}/lineage"),
        ("GET", "/v1/memories/{memory_id}/why"),
        ("GET", "/v1/memories/{memory_id}/receipts"),
        ("GET", "/v1/memories/{memory_id}/squashes"),
        ("GET", "/v1/receipts"),
        ("POST", "/v1/erasures"),
        ("GET", "/v1/erasures"),
        ("GET", "/v1/erasures/{erasure_id}"),
        ("POST", "/v1/trace"),
        ("POST", "/v1/quarantines"),
        ("GET", "/v1/quarantines"),
        ("GET", "/v1/quarantines/{quarantine_id}"),
        ("POST", "/v1/quarantines/{quarantine_id}/release"),
        ("POST", "/v1/relations"),
        ("GET", "/v1/memories/{memory_id}/relations"),
        ("DELETE", "/v1/relations/{relation_id}"),
        ("POST", "/v1/crystallize"),
        ("POST", "/v1/synthesize"),
        ("POST", "/v1/find_similar"),
        ("POST", "/v1/search"),
        ("POST", "/v1/branches"),
        ("GET", "/v1/branches"),
        ("GET", "/v1/branches/{name}"),
        ("PATCH", "/v1/branches/{name}"),
        ("DELETE", "/v1/branches/{name}"),
        ("GET", "/v1/branches/{name}/log"),
        ("GET", "/v1/branches/{name}/diff/{other}"),
        ("POST", "/v1/branches/{name}/merge"),
        ("POST", "/v1/branches/{name}/rollback"),
        ("POST", "/v1/branches/{name}/cherry-pick"),
        ("GET", "/v1/conflicts"),
        ("POST", "/v1/conflicts/resolve"),
        ("GET", "/v1/conflicts/{conflict_id}"),
        ("POST", "/v1/conflicts/{conflict_id}/resolve"),
        ("POST", "/v1/tags"),
        ("GET", "/v1/tags"),
        ("GET", "/v1/tags/{name}"),
        ("DELETE", "/v1/tags/{name}"),
        ("GET", "/v1/export"),
        ("POST", "/v1/import"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/v1/status"),
    }


@pytest.mark.requirement("F1")
async def test_every_operation_has_words_examples_and_problems(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for methods in document["paths"].values():
        for method, operation in methods.items():
            name = operation["operationId"]
            assert operation["summary"], name
            assert operation["description"], name
            assert set(operation["tags"]) <= tags, name
            assert all(item.get("description") for item in operation.get("parameters", [])), name
            assert ("requestBody" in operation) is (method in METHODS_WITH_BODY), name
            contents = [told for told in operation["responses"].values() if "content" in told]
            assert all(answer["description"] for answer in operation["responses"].values()), name
            if "requestBody" in operation:
                contents.append(operation["requestBody"])
            for told in contents:
                for kind, content in told["content"].items():
                    assert content["schema"], (name, kind)
                    assert content["example"], (name, kind)
            problems = {code for code, told in operation["responses"].items() if code >= "400"}
            assert {"400", "421", "500", "503"} <= problems, name
            for code in problems:
                assert list(operation["responses"][code]["content"]) == ["application/problem+json"], name


@pytest.mark.requirement("F1")
async def test_every_schema_and_every_field_of_it_is_described(document: dict[str, Any]) -> None:
    silent = []
    for name, schema in document["components"]["schemas"].items():
        if not schema.get("description"):
            silent.append(name)
        silent += [f"{name}.{key}" for key, told in schema.get("properties", {}).items() if not told.get("description")]

    assert silent == []


async def test_every_reference_leads_somewhere_and_no_schema_is_left_over(document: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert named == set(document["components"]["schemas"])


async def test_the_examples_of_requests_are_taken_as_they_stand(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path in ("/v1/memories", "/v1/memories/batch", "/v1/search", "/v1/find_similar"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert (await client.post(path, json=example)).status_code in (200, 201), path
    lines = document["paths"]["/v1/import"]["post"]["requestBody"]["content"]["application/x-ndjson"]["example"]
    report = await client.post("/v1/import", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert report.json()["refused"] == 0


async def test_answers_have_the_fields_that_are_described(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    stored = (await client.post("/v1/memories", json={"content": "a"})).json()
    told = {
        "Remembered": stored,
        "Memory": (await client.get(f"/v1/memories/{stored['id']}?view=full&include=provenance")).json(),
        "MemoryPage": (await client.get("/v1/memories")).json(),
        "SearchAnswer": (await client.post("/v1/search", json={"text": "a"})).json(),
        "ServiceStatus": (await client.get("/v1/status")).json(),
        "Problem": (await client.get("/nowhere")).json(),
    }
    for name, answer in told.items():
        assert set(schemas[name]["required"]) <= answer.keys() <= schemas[name]["properties"].keys(), name


async def test_the_page_shows_every_path_and_loads_nothing(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    response = await client.get("/docs")

    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert all(path in response.text for path in document["paths"])
    assert not re.search(r"<script|src=|https?://", response.text)
    assert len(operations(document)) == response.text.count("class=method")
