"""Searching over HTTP, in one answer and as a stream."""

import json
from typing import Any

import httpx
import pytest

from recollect.service import MemoryService, NewMemory

TEXTS = (
    "Ana prefers the window seat on night trains.",
    "The night train to Vienna leaves at 21:10.",
    "Ben is allergic to peanuts.",
)


@pytest.fixture
async def stored(memory: MemoryService) -> list[str]:
    return [(await memory.remember(NewMemory(content=text, tags=["t"]))).id for text in TEXTS]


def frames_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.requirement("F1", "C3")
async def test_a_search_answers_the_best_first_in_one_piece(client: httpx.AsyncClient, stored: list[str]) -> None:
    response = await client.post("/v1/search", json={"text": TEXTS[2], "limit": 2})

    assert response.status_code == 200
    hits = response.json()["hits"]
    assert hits[0]["id"] == stored[2]
    assert len(hits) == 2
    assert hits[0]["score"] > hits[1]["score"]
    assert response.json()["elapsed_ms"] > 0
    assert "content" not in hits[0]


async def test_a_hit_carries_what_was_asked_for(client: httpx.AsyncClient, stored: list[str]) -> None:
    body = {"text": TEXTS[0], "limit": 1, "view": "full", "include_provenance": True, "explain": True}

    (hit,) = (await client.post("/v1/search", json=body)).json()["hits"]

    assert hit["id"] == stored[0]
    assert hit["content"] == TEXTS[0]
    assert hit["provenance"]["action"] == "created"
    assert hit["scores"]["dense"] == pytest.approx(hit["score"])


@pytest.mark.requirement("F1", "B5")
async def test_a_stream_is_frames_of_hits_best_first_and_one_end(client: httpx.AsyncClient, stored: list[str]) -> None:
    response = await client.post("/v1/find_similar", json={"text": TEXTS[0], "limit": None, "batch_size": 1})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    *hits, end = frames_of(response.text)
    assert [frame["frame"] for frame in hits] == ["hits"] * 3
    scores = [frame["hits"][0]["score"] for frame in hits]
    assert scores == sorted(scores, reverse=True)
    assert {frame["hits"][0]["id"] for frame in hits} == set(stored)
    assert (end["frame"], end["hits"]) == ("end", 3)


@pytest.mark.requirement("F1")
async def test_the_same_frames_come_as_server_sent_events_when_asked(
    client: httpx.AsyncClient, stored: list[str]
) -> None:
    body = {"text": TEXTS[0], "batch_size": 2}
    response = await client.post("/v1/find_similar", json=body, headers={"Accept": "text/event-stream"})

    assert response.headers["content-type"].startswith("text/event-stream")
    *events, rest = response.text.split("\n\n")
    assert rest == ""
    parsed = [event.split("\n") for event in events]
    assert [lines[0] for lines in parsed] == ["event: hits", "event: hits", "event: end"]
    assert all(lines[1].startswith("data: ") and len(lines) == 2 for lines in parsed)
    found = [hit["id"] for _, data in parsed[:-1] for hit in json.loads(data.removeprefix("data: "))["hits"]]
    assert set(found) == set(stored)


async def test_a_search_that_finds_nothing_is_an_end_frame_alone(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/find_similar", json={"text": "anything"})

    (end,) = frames_of(response.text)
    assert (end["frame"], end["hits"]) == ("end", 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"vector": [0.1, 0.2]}, "invalid_vector"),
        ({"vector": [0.0] * 64}, "invalid_vector"),
        ({"text": "a", "filters": {"no_such_field": 1}}, "invalid_filter"),
        ({"text": "a", "filters": {"importance": {"near": 1}}}, "invalid_filter"),
        ({"text": "a", "namespaces": ["_provenance"]}, "namespace_reserved"),
        ({"memory_id": "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"}, "memory_not_found"),
        ({"text": "a", "vector": [1.0]}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/find_similar"])
async def test_what_fails_before_the_first_frame_is_an_ordinary_problem(
    client: httpx.AsyncClient, stored: list[str], path: str, body: dict[str, Any], code: str
) -> None:
    del stored
    response = await client.post(path, json=body)

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert response.status_code == (404 if code == "memory_not_found" else 422)


async def test_one_answer_needs_a_limit_and_says_where_to_go_without(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/search", json={"text": "a", "limit": None})

    assert response.status_code == 422
    assert "find_similar" in response.json()["detail"]
