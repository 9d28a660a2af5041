"""Provenance, receipts and relations over HTTP."""

from typing import Any

import httpx
import pytest
from prov.model import ProvDocument

from tests.service.http.conftest import Connect, MakeService, remembered


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"/v1/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def chain(client: httpx.AsyncClient) -> tuple[str, str]:
    root = (await remembered(client, "Root. It stands.", provenance={"actor": "ana", "source": "message:1"}))["id"]
    leaf = (await remembered(client, "leaf", provenance={"actor": "ben", "derived_from": [root]}))["id"]
    return root, leaf


@pytest.mark.requirement("A11")
async def test_a_memory_answers_where_it_comes_from(client: httpx.AsyncClient) -> None:
    root, leaf = await chain(client)
    assert (await get(client, f"memories/{root}/provenance"))["provenance"]["source"] == "message:1"
    assert [item["actor"] for item in (await get(client, f"memories/{root}/blame"))["sentences"]] == ["ana", "ana"]
    graph = await get(client, f"memories/{root}/lineage", direction="both")
    assert {(edge["child"], edge["kind"]) for edge in graph["edges"]} == {
        (f"{root}@1", "source"),
        (f"{leaf}@1", "derived_from"),
    }
    why = await get(client, f"memories/{leaf}/why")
    assert (why["sources"], why["roots"]) == (["message:1"], [f"{root}@1"])


@pytest.mark.requirement("A13")
@pytest.mark.parametrize("view", ["lineage", "why"])
async def test_each_format_has_its_type(client: httpx.AsyncClient, view: str) -> None:
    _, leaf = await chain(client)
    told = {
        form: await client.get(f"/v1/memories/{leaf}/{view}", params={"format": form})
        for form in ("tree", "mermaid", "prov")
    }
    assert told["tree"].headers["content-type"] == "text/plain; charset=utf-8"
    assert told["tree"].text.startswith("leaf [")
    assert told["mermaid"].text.startswith("flowchart BT\n")
    assert ProvDocument.deserialize(content=told["prov"].text, format="json").get_records()


@pytest.mark.requirement("A13")
async def test_an_export_as_prov_is_one_document(client: httpx.AsyncClient) -> None:
    await chain(client)
    response = await client.get("/v1/export?format=prov")
    assert response.headers["content-type"] == "application/json"
    assert ProvDocument.deserialize(content=response.text, format="json").flattened().get_records()
    refused = await client.get("/v1/export", params={"format": "prov", "filters": "{}"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


@pytest.mark.requirement("A11")
async def test_a_history_shows_changes_when_asked(client: httpx.AsyncClient) -> None:
    root, _ = await chain(client)
    await client.patch(f"/v1/memories/{root}", json={"content": "Root. It fell."})
    newest = (await get(client, f"memories/{root}/history", diff=True))["items"][0]
    assert newest["changes"][-2:] == ["-It stands.", "+It fell."]
    assert "content" not in newest
    assert "changes" not in (await get(client, f"memories/{root}/history"))["items"][0]


@pytest.mark.requirement("A11")
async def test_receipts_say_who_was_given_what(client: httpx.AsyncClient) -> None:
    root, leaf = await chain(client)
    await client.get(f"/v1/memories/{root}", params={"actor": "ana"})
    await client.post("/v1/search", json={"text": "leaf", "limit": 1}, headers={"X-Recollect-Actor": "ben"})
    of_root = (await get(client, f"memories/{root}/receipts"))["items"]
    assert [(item["actor"], item["operation"]) for item in of_root] == [("ana", "get")]
    of_ben = (await get(client, "receipts", actor="ben"))["items"]
    assert [given["id"] for item in of_ben for given in item["given"]] == [leaf]


@pytest.mark.requirement("A12")
async def test_memories_are_connected_listed_and_disconnected(client: httpx.AsyncClient) -> None:
    root, leaf = await chain(client)
    made = await client.post("/v1/relations", json={"from": leaf, "to": root, "type": "explains"})
    assert (made.status_code, made.json()["from"]) == (201, leaf)
    assert (await get(client, f"memories/{root}/relations", direction="in"))["items"] == [made.json()]
    gone = await client.delete(f"/v1/relations/{made.json()['id']}", params={"actor": "ana"})
    assert gone.status_code == 200
    missing = await client.delete(f"/v1/relations/{made.json()['id']}")
    assert (missing.status_code, missing.json()["code"]) == (404, "relation_not_found")


@pytest.mark.requirement("A12")
@pytest.mark.parametrize("way", ["crystallize", "synthesize"])
async def test_insights_are_drawn_once(client: httpx.AsyncClient, way: str) -> None:
    root, leaf = await chain(client)
    body = {"content": "an insight", "memories": [root, {"id": leaf, "version": 1}]}
    first = await client.post(f"/v1/{way}", json=body, headers={"Idempotency-Key": "k"})
    again = await client.post(f"/v1/{way}", json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.json()) == (201, first.json())
    assert (await client.post(f"/v1/{way}", json=body)).status_code == 200
    edges = (await get(client, f"memories/{first.json()['id']}/lineage"))["edges"]
    assert {edge["parent"] for edge in edges} >= {f"{root}@1", f"{leaf}@1"}


@pytest.mark.requirement("A14")
async def test_what_retention_dropped_is_told(make_service: MakeService, connect: Connect) -> None:
    service = await make_service(provenance_retention=("*=count:1",))
    client = await connect(service)
    root, _ = await chain(client)
    await client.patch(f"/v1/memories/{root}", json={"content": "Root. It fell."})
    await service.retention.squash()
    (squash,) = (await get(client, f"memories/{root}/squashes"))["items"]
    assert (squash["versions"], squash["count"], len(squash["digest"])) == ([1], 1, 64)
