"""Writing and reading single memories over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from recollect.service import MemoryService, NewMemory

UNKNOWN = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"


@pytest.mark.requirement("F1", "C2")
async def test_a_memory_is_created_with_its_id_version_and_place(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/memories",
        json={
            "content": "Ana prefers the window seat on night trains.",
            "summary": "Ana: window seat",
            "tags": ["travel", "ana"],
            "metadata": {"train": {"number": 4711}},
            "provenance": {"actor": "assistant", "source": "message:8123"},
        },
    )

    assert response.status_code == 201
    answer = response.json()
    assert answer["status"] == "created"
    assert (answer["version"], answer["namespace"], answer["branch"]) == (1, "longterm", "main")
    assert answer["durability"] == "durable"
    assert response.headers["location"] == f"/v1/memories/{answer['id']}"
    assert response.headers["etag"] == '"1"'


@pytest.mark.requirement("B2")
async def test_an_exact_duplicate_is_answered_200_with_the_id_it_has(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/memories", json={"content": "once"})
    second = await client.post("/v1/memories", json={"content": "once"})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["status"] == "duplicate"
    assert second.json()["id"] == first.json()["id"]


@pytest.mark.requirement("C3", "A3")
async def test_content_and_provenance_are_answered_only_when_asked_for(client: httpx.AsyncClient) -> None:
    stored = (
        await client.post(
            "/v1/memories",
            json={"content": "a fact", "provenance": {"actor": "ana", "source": "message:1", "note": "heard"}},
        )
    ).json()
    path = f"/v1/memories/{stored['id']}"

    summary = (await client.get(path)).json()
    full = (await client.get(path, params={"view": "full", "include": "provenance"})).json()

    assert not {"content", "metadata", "provenance"} & summary.keys()
    assert full["content"] == "a fact"
    assert full["provenance"]["actor"] == "ana"
    assert full["provenance"]["source"] == "message:1"
    assert full["provenance"]["action"] == "created"


@pytest.mark.requirement("C3")
async def test_a_memory_is_found_by_its_key_in_its_namespace(client: httpx.AsyncClient) -> None:
    stored = (await client.post("/v1/memories", json={"content": "x", "key": "a/b", "namespace": "projects"})).json()

    found = (await client.get("/v1/memories", params={"key": "a/b", "namespace": "projects"})).json()
    elsewhere = (await client.get("/v1/memories", params={"key": "a/b"})).json()

    assert [item["id"] for item in found["items"]] == [stored["id"]]
    assert elsewhere == {"items": [], "next_cursor": None}


async def test_a_key_with_several_namespaces_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/memories", params={"key": "k", "namespace": ["a", "b"]})

    assert response.status_code == 422
    assert "one namespace" in response.json()["detail"]


@pytest.mark.requirement("F1")
async def test_pages_follow_their_cursor_to_the_end_without_gap_or_repeat(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    stored = [(await memory.remember(f"memory number {i}")).id for i in range(7)]

    seen: list[str] = []
    params: dict[str, str] = {"limit": "3", "descending": "false"}
    while True:
        page = (await client.get("/v1/memories", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]

    assert seen == stored


async def test_a_list_is_filtered_by_namespace_and_filters(client: httpx.AsyncClient, memory: MemoryService) -> None:
    wanted = await memory.remember(NewMemory(content="one", namespace="projects", tags=["x"]))
    await memory.remember(NewMemory(content="two", namespace="projects"))
    await memory.remember(NewMemory(content="three", namespace="session", tags=["x"]))

    page = await client.get(
        "/v1/memories", params={"namespace": "projects", "filters": '{"tags": {"any": ["x"]}}', "view": "full"}
    )

    assert [item["id"] for item in page.json()["items"]] == [wanted.id]
    assert page.json()["items"][0]["content"] == "one"


async def test_a_revision_keeps_the_id_and_counts_the_version(client: httpx.AsyncClient, memory: MemoryService) -> None:
    stored = await memory.remember("the old words")

    response = await client.patch(f"/v1/memories/{stored.id}", json={"content": "the new words"})

    assert response.status_code == 200
    assert response.headers["etag"] == '"2"'
    assert response.json()["id"] == stored.id
    assert (response.json()["status"], response.json()["version"]) == ("revised", 2)
    assert await memory.retrieve(stored.id) == "the new words"


@pytest.mark.parametrize("if_match", ["1", '"1"', "*"])
async def test_a_revision_with_the_version_that_stands_is_taken(
    client: httpx.AsyncClient, memory: MemoryService, if_match: str
) -> None:
    stored = await memory.remember("a")

    response = await client.patch(f"/v1/memories/{stored.id}", json={"content": "b"}, headers={"If-Match": if_match})

    assert response.status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_write_with_another_version_is_a_conflict_that_says_what_stands(
    client: httpx.AsyncClient, memory: MemoryService, method: str
) -> None:
    stored = await memory.remember("a")
    body: dict[str, Any] = {"json": {"content": "b"}} if method == "PATCH" else {}

    response = await client.request(method, f"/v1/memories/{stored.id}", headers={"If-Match": '"7"'}, **body)

    assert response.status_code == 409
    assert response.json()["code"] == "version_conflict"
    assert response.json()["found"] is not None
    assert (await memory.get(stored.id)).version == 1


@pytest.mark.parametrize("if_match", ["seven", '"1", "2"', 'W/"1"', "-1", "0", "1" * 30])
async def test_an_if_match_that_names_no_version_is_refused(
    client: httpx.AsyncClient, memory: MemoryService, if_match: str
) -> None:
    stored = await memory.remember("a")

    response = await client.patch(f"/v1/memories/{stored.id}", json={"content": "b"}, headers={"If-Match": if_match})

    assert response.status_code == 422
    assert response.json()["code"] == "invalid_header"
    assert (await memory.get(stored.id)).version == 1


async def test_a_forgotten_memory_is_gone_but_its_history_says_who_and_why(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    stored = await memory.remember(NewMemory(content="a", track_provenance=True))

    forgotten = await client.delete(f"/v1/memories/{stored.id}", params={"actor": "ana", "note": "wrong"})
    read = await client.get(f"/v1/memories/{stored.id}")
    history = await client.get(f"/v1/memories/{stored.id}/history", params={"include": "provenance"})

    assert (forgotten.status_code, forgotten.json()["status"]) == (200, "forgotten")
    assert (read.status_code, read.json()["code"]) == (404, "memory_not_found")
    newest, oldest = history.json()["items"]
    assert newest["forgotten"]
    assert not oldest["forgotten"]
    assert newest["provenance"]["actor"] == "ana"
    assert newest["provenance"]["action"] == "forgotten"


async def test_a_read_as_of_a_position_answers_what_stood_then(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    stored = await memory.remember("before")
    await client.patch(f"/v1/memories/{stored.id}", json={"content": "after"})

    then = await client.get(f"/v1/memories/{stored.id}", params={"view": "full", "as_of": stored.position})
    now = await client.get(f"/v1/memories/{stored.id}", params={"view": "full", "as_of": "2126-01-01T00:00:00Z"})

    assert then.json()["content"] == "before"
    assert now.json()["content"] == "after"


@pytest.mark.requirement("F1")
async def test_a_write_with_an_idempotency_key_happens_once(client: httpx.AsyncClient, memory: MemoryService) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await client.post("/v1/memories", json={"content": "a", "key": "k"}, headers=headers)
    await memory.remember(NewMemory(content="b", key="k"))
    again = await client.post("/v1/memories", json={"content": "a", "key": "k"}, headers=headers)
    other = await client.post("/v1/memories", json={"content": "c"}, headers=headers)

    assert again.json() == first.json()
    assert (await memory.get_by_key("longterm", "k")).version == 2
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_revision_with_an_idempotency_key_happens_once(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    stored = await memory.remember("a")
    request: dict[str, Any] = {"json": {"content": "b"}, "headers": {"Idempotency-Key": "revise-1"}}

    first = await client.patch(f"/v1/memories/{stored.id}", **request)
    await client.patch(f"/v1/memories/{stored.id}", json={"content": "c"})
    again = await client.patch(f"/v1/memories/{stored.id}", **request)

    assert again.json() == first.json()
    assert (await memory.get(stored.id)).version == 3


@pytest.mark.requirement("F1")
async def test_a_batch_answers_each_memory_in_order_with_a_result_or_a_problem(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/memories/batch",
        json={"memories": [{"content": "one"}, {"content": "  "}, {"content": "three"}, {"surprise": 1}]},
    )

    assert response.status_code == 200
    one, empty, three, unknown = response.json()["results"]
    assert (one["status"], three["status"]) == ("created", "created")
    assert empty["error"]["status"] == 422
    assert "content is empty" in empty["error"]["detail"]
    assert unknown["error"]["status"] == 422


async def test_an_atomic_batch_with_one_bad_memory_stores_none(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    response = await client.post(
        "/v1/memories/batch", json={"memories": [{"content": "one"}, {"content": ""}], "atomic": True}
    )

    assert response.status_code == 422
    assert response.json()["code"] == "batch_refused"
    assert response.json()["found"] == 1
    assert (await memory.status()).storage.memories == 0


async def test_a_batch_larger_than_the_setting_is_refused(connect: Callable[..., Awaitable[httpx.AsyncClient]]) -> None:
    client = await connect(batch_memories_max=2)

    response = await client.post("/v1/memories/batch", json={"memories": [{"content": str(i)} for i in range(3)]})

    assert response.status_code == 422
    assert "batch_memories_max" in response.json()["detail"]


async def test_concurrent_writers_under_one_key_leave_one_memory_with_all_versions(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(
        *(client.post("/v1/memories", json={"content": f"text {i}", "key": "k"}) for i in range(5))
    )

    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sorted(response.json()["version"] for response in responses) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/memories/{UNKNOWN}"),
        ("GET", f"/v1/memories/{UNKNOWN}/history"),
        ("DELETE", f"/v1/memories/{UNKNOWN}"),
        ("PATCH", f"/v1/memories/{UNKNOWN}"),
    ],
)
async def test_an_unknown_id_is_a_404_problem(client: httpx.AsyncClient, method: str, path: str) -> None:
    body: dict[str, Any] = {"json": {"content": "b"}} if method == "PATCH" else {}

    response = await client.request(method, path, **body)

    assert response.status_code == 404
    assert response.json()["code"] == "memory_not_found"


async def test_the_branch_of_a_revision_may_stand_in_the_query_but_not_in_two_places(
    client: httpx.AsyncClient, memory: MemoryService
) -> None:
    stored = await memory.remember("a")
    path = f"/v1/memories/{stored.id}"

    same = await client.patch(path, params={"branch": "main"}, json={"content": "b", "branch": "main"})
    two = await client.patch(path, params={"branch": "main"}, json={"content": "c", "branch": "draft"})

    assert same.status_code == 200
    assert two.status_code == 422
    assert "different branches" in two.json()["detail"]
