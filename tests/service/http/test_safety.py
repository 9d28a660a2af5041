"""Erasing, tracing and quarantine over HTTP."""

import httpx
import pytest

from tests.service.http.conftest import remembered

BAD = "https://forged.example/page"


@pytest.mark.requirement("F1")
async def test_an_erasure_is_planned_confirmed_and_receipted(client: httpx.AsyncClient) -> None:
    stored = await remembered(client, "to be erased", provenance={"source": BAD})
    plan = await client.post("/v1/erasures", json={"source": BAD})
    assert plan.status_code == 200
    assert [item["id"] for item in plan.json()["items"]] == [stored["id"]]
    wrong = await client.post("/v1/erasures", json={"source": BAD, "confirm": "0" * 64})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "plan_changed")
    done = await client.post("/v1/erasures", json={"source": BAD, "confirm": plan.json()["digest"]})
    assert (done.status_code, done.json()["compacted"]) == (201, True)
    receipt = (await client.get(done.headers["Location"])).json()
    assert receipt == done.json()["receipt"]
    assert (await client.get("/v1/erasures")).json()["items"] == [receipt]
    assert (await client.get(f"/v1/memories/{stored['id']}")).status_code == 404


async def test_a_quarantine_is_traced_made_and_released(client: httpx.AsyncClient) -> None:
    stored = await remembered(client, "forged", provenance={"source": BAD})
    traced = (await client.post("/v1/trace", json={"source": BAD})).json()
    assert [item["id"] for item in traced["items"]] == [stored["id"]]
    made = await client.post("/v1/quarantines", json={"source": BAD, "reason": "forged"})
    assert made.status_code == 201
    refused = await client.get(f"/v1/memories/{stored['id']}")
    assert (refused.status_code, refused.json()["code"]) == (404, "memory_quarantined")
    assert (await client.get("/v1/quarantines")).json()["items"] == [made.json()]
    released = await client.post(f"{made.headers['Location']}/release", json={})
    assert (released.status_code, released.json()["state"]) == (200, "released")
    assert (await client.get(f"/v1/memories/{stored['id']}")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/erasures", "/v1/trace", "/v1/quarantines"])
async def test_naming_nothing_or_two_things_is_refused(client: httpx.AsyncClient, path: str) -> None:
    for body in ({}, {"source": "a", "actor": "b"}):
        response = await client.post(path, json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
