"""Branches over HTTP: forked, compared, merged, settled, and returned to."""

import json
from typing import Any

import httpx
import pytest

TRAIN = {"content": "The night train to Vienna leaves at 21:10 from platform 4.", "key": "vienna-train"}


async def stored(client: httpx.AsyncClient, content: Any, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/memories", json={"content": content, **fields})
    assert response.status_code in (200, 201), response.text
    answer: dict[str, Any] = response.json()
    return answer


async def post(client: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def contents(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.get("/v1/memories", params={"view": "full", "descending": "false", **query})
    assert response.status_code == 200, response.text
    return [item["content"] for item in response.json()["items"]]


@pytest.mark.requirement("A7", "F1")
async def test_a_fork_is_answered_with_where_it_began_and_shows_what_its_parent_showed(
    client: httpx.AsyncClient,
) -> None:
    await stored(client, "before")
    response = await client.post("/v1/branches", json={"name": "draft", "from": "main", "actor": "ana"})
    await stored(client, "after")

    assert response.status_code == 201
    assert response.headers["location"] == "/v1/branches/draft"
    branch = response.json()
    assert (branch["name"], branch["parent"], branch["created_by"]) == ("draft", "main", "ana")
    assert await contents(client, branch="draft") == ["before"]
    assert await contents(client, as_of=branch["forked_at"]) == ["before"]
    listed = (await client.get("/v1/branches")).json()["items"]
    assert [item["name"] for item in listed] == ["main", "draft"]
    assert (await client.get("/v1/branches/draft")).json() == branch


async def test_a_name_is_given_once_and_to_a_branch_or_a_tag(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/branches", 201, name="draft")
    await post(client, "/v1/tags", 201, name="v1")
    for path, name in (
        ("branches", "draft"),
        ("branches", "v1"),
        ("tags", "draft"),
        ("tags", "v1"),
        ("branches", "main"),
    ):
        refused = await post(client, f"/v1/{path}", 409, name=name)
        assert refused["code"] == "name_taken", (path, name)


@pytest.mark.parametrize("name", ["", "_branches", "a/b", "1st", "draft~2", " draft", "x" * 101])
async def test_what_is_no_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    for path in ("branches", "tags"):
        assert (await post(client, f"/v1/{path}", 422, name=name))["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/memories?branch=nowhere", None),
        ("GET", "/v1/export?branch=nowhere", None),
        ("GET", "/v1/branches/nowhere", None),
        ("GET", "/v1/branches/nowhere/log", None),
        ("GET", "/v1/branches/main/diff/nowhere", None),
        ("DELETE", "/v1/branches/nowhere", None),
        ("POST", "/v1/memories", {"content": "a", "branch": "nowhere"}),
        ("POST", "/v1/search", {"text": "a", "branch": "nowhere"}),
        ("POST", "/v1/find_similar", {"text": "a", "branch": "nowhere"}),
        ("POST", "/v1/branches", {"name": "new", "from": "nowhere"}),
        ("POST", "/v1/branches/nowhere/merge", {"source": "main"}),
        ("POST", "/v1/branches/main/merge", {"source": "nowhere"}),
        ("POST", "/v1/branches/nowhere/rollback", {"to": 1}),
    ],
)
async def test_an_unknown_branch_is_named_in_the_refusal(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    response = await client.request(method, path, json=body)

    assert response.status_code == 404
    assert response.json()["code"] == "branch_not_found"
    assert "'nowhere'" in response.json()["detail"]


@pytest.mark.requirement("A9")
async def test_a_diff_streams_what_the_second_branch_holds_otherwise(client: httpx.AsyncClient) -> None:
    train, other = await stored(client, **TRAIN), await stored(client, "Ben is allergic to peanuts.")
    await post(client, "/v1/branches", 201, name="draft")
    await client.patch(f"/v1/memories/{train['id']}", json={"content": "It leaves at 21:40.", "branch": "draft"})
    await client.delete(f"/v1/memories/{other['id']}", params={"branch": "draft"})
    new = await stored(client, "Ana takes the window seat.", branch="draft")

    response = await client.get("/v1/branches/main/diff/draft", params={"text": "true"})

    *frames, end = [json.loads(line) for line in response.text.splitlines()]
    changes = {change["id"]: change for frame in frames for change in frame["changes"]}
    assert {name: change["change"] for name, change in changes.items()} == {
        train["id"]: "revised",
        other["id"]: "forgotten",
        new["id"]: "added",
    }
    assert (end["frame"], end["added"], end["revised"], end["forgotten"]) == ("end", 1, 1, 1)
    lines = changes[train["id"]]["text_diff"].splitlines()
    assert lines[-2:] == [f"-{TRAIN['content']}", "+It leaves at 21:40."]
    events = await client.get("/v1/branches/draft/diff/main", headers={"Accept": "text/event-stream"})
    assert [line for line in events.text.splitlines() if line.startswith("event")] == ["event: changes", "event: end"]
    before = await client.get("/v1/branches/main/diff/draft", params={"as_of": train["position"]})
    assert [json.loads(line)["frame"] for line in before.text.splitlines()] == ["end"]


@pytest.mark.requirement("A8")
async def test_what_both_changed_becomes_a_conflict_that_can_be_shown_and_resolved(client: httpx.AsyncClient) -> None:
    train = await stored(client, **TRAIN)
    await post(client, "/v1/branches", 201, name="draft")
    for branch, text in (("draft", "It leaves from platform 7."), ("main", "It leaves at 21:40.")):
        await client.patch(f"/v1/memories/{train['id']}", json={"content": text, "branch": branch})
    await stored(client, "Ana takes the window seat.", branch="draft")

    planned = await post(client, "/v1/branches/main/merge", source="draft", dry_run=True)
    assert (planned["added"], planned["conflicts"], planned["position"]) == (1, 1, None)
    merged = await post(client, "/v1/branches/main/merge", source="draft", actor="ana", note="evening")
    assert (merged["added"], merged["conflicts"], merged["fast_forward"]) == (1, 1, False)
    assert sorted(await contents(client)) == ["Ana takes the window seat.", "It leaves at 21:40."]
    (conflict,) = (await client.get("/v1/conflicts", params={"target": "main"})).json()["items"]
    assert conflict["id"] == merged["conflict_ids"][0]
    shown = (await client.get(f"/v1/conflicts/{conflict['id']}")).json()
    assert shown["contents"] == {
        "base": TRAIN["content"],
        "ours": "It leaves at 21:40.",
        "theirs": "It leaves from platform 7.",
    }
    text = "It leaves at 21:40 from platform 7."
    settled = await post(client, f"/v1/conflicts/{conflict['id']}/resolve", content=text, actor="ben")
    assert (settled["state"], settled["resolution"]) == ("resolved", "content")
    assert text in await contents(client)
    assert (await client.get("/v1/conflicts")).json()["items"] == []
    assert len((await client.get("/v1/conflicts", params={"state": "resolved"})).json()["items"]) == 1
    again = await post(client, f"/v1/conflicts/{conflict['id']}/resolve", 422, take="ours")
    assert "was settled by 'content'" in again["detail"]
    history = await client.get(f"/v1/memories/{train['id']}/history", params={"include": "provenance"})
    record = history.json()["items"][0]["provenance"]
    assert (record["action"], record["actor"]) == ("merged", "ben")
    assert [(ref["branch"], ref["version"]) for ref in record["derived_from"]] == [("main", 2), ("draft", 2)]


@pytest.mark.requirement("A8")
async def test_all_conflicts_of_a_branch_are_resolved_at_once(client: httpx.AsyncClient) -> None:
    ids = [(await stored(client, f"fact {number}"))["id"] for number in range(3)]
    await post(client, "/v1/branches", 201, name="draft")
    for name in ids:
        for branch in ("main", "draft"):
            await client.patch(f"/v1/memories/{name}", json={"content": f"{name} on {branch}", "branch": branch})
    await post(client, "/v1/branches/main/merge", source="draft")

    done = await post(client, "/v1/conflicts/resolve", take="theirs", target="main")

    assert len(done["resolved"]) == 3
    assert sorted(await contents(client)) == sorted(f"{name} on draft" for name in ids)


@pytest.mark.requirement("A8")
async def test_conflicts_may_be_put_on_a_branch_of_their_own(client: httpx.AsyncClient) -> None:
    train = await stored(client, **TRAIN)
    await post(client, "/v1/branches", 201, name="draft")
    for branch in ("main", "draft"):
        await client.patch(f"/v1/memories/{train['id']}", json={"content": f"says {branch}", "branch": branch})

    merged = await post(client, "/v1/branches/main/merge", source="draft", on_conflict="branch")

    assert await contents(client) == ["says main"]
    assert await contents(client, branch=merged["conflict_branch"]) == ["says draft"]


@pytest.mark.requirement("A9")
async def test_a_branch_goes_back_to_a_tag_and_its_history_stays(client: httpx.AsyncClient) -> None:
    train = await stored(client, **TRAIN)
    tag = await post(client, "/v1/tags", 201, name="v1", note="good")
    await client.patch(f"/v1/memories/{train['id']}", json={"content": "wrong"})
    await stored(client, "nonsense")

    planned = await post(client, "/v1/branches/main/rollback", to="v1", dry_run=True)
    done = await post(client, "/v1/branches/main/rollback", to="v1", actor="ana")

    assert (planned["revised"], planned["forgotten"], planned["position"]) == (1, 1, None)
    assert (done["revised"], done["forgotten"], done["to"]) == (1, 1, tag["position"])
    assert await contents(client) == [TRAIN["content"]]
    assert await contents(client, as_of=done["position"] - 1) == ["wrong", "nonsense"]
    log = (await client.get("/v1/branches/main/log", params={"limit": 2})).json()
    assert [(item["revised"], item["forgotten"], item["created"]) for item in log["items"]] == [(1, 1, 0), (0, 0, 1)]
    rest = (await client.get("/v1/branches/main/log", params={"before": log["next_before"]})).json()
    assert [(item["revised"], item["created"]) for item in rest["items"]] == [(1, 0), (0, 1)]


@pytest.mark.requirement("A9")
async def test_one_change_is_taken_over_and_a_contradiction_is_refused(client: httpx.AsyncClient) -> None:
    train = await stored(client, **TRAIN)
    await post(client, "/v1/branches", 201, name="draft")
    await client.patch(f"/v1/memories/{train['id']}", json={"content": "It leaves at 21:40.", "branch": "draft"})
    await stored(client, "left behind", branch="draft")
    pick = {"source": "draft", "memory_id": train["id"]}

    done = await post(client, "/v1/branches/main/cherry-pick", **pick, actor="ana")
    assert (done["status"], done["version"]) == ("revised", 2)
    assert await contents(client) == ["It leaves at 21:40."]
    assert (await post(client, "/v1/branches/main/cherry-pick", **pick))["status"] == "duplicate"
    await client.patch(f"/v1/memories/{train['id']}", json={"content": "It is cancelled."})
    refused = await post(client, "/v1/branches/main/cherry-pick", 409, **pick)
    assert (refused["code"], refused["found"]["version"]) == ("merge_conflict", 3)
    forced = await post(client, "/v1/branches/main/cherry-pick", **pick, strategy="theirs")
    assert forced["version"] == 4


async def test_what_is_protected_stays_until_its_protection_is_taken_away(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/branches", 201, name="draft", protected=True)
    for path in ("draft", "main"):
        assert (await client.delete(f"/v1/branches/{path}")).json()["code"] == "protected"
    assert (await post(client, "/v1/branches/draft/rollback", 409, to=1))["code"] == "protected"
    changed = await client.patch("/v1/branches/draft", json={"protected": False})
    assert changed.json()["protected"] is False
    assert (await client.delete("/v1/branches/draft", params={"actor": "ana"})).status_code == 204
    gone = await client.get("/v1/memories", params={"branch": "draft"})
    assert (gone.status_code, gone.json()["code"]) == (404, "branch_not_found")
    assert "was deleted" in gone.json()["detail"]


async def test_a_tag_is_listed_found_and_deleted(client: httpx.AsyncClient) -> None:
    await stored(client, "one")
    tag = await post(client, "/v1/tags", 201, name="v1", actor="ana")
    await stored(client, "two")
    assert (await client.get("/v1/tags/v1")).json() == tag
    assert (await client.get("/v1/tags")).json()["items"] == [tag]
    await post(client, "/v1/branches", 201, name="then", **{"from": "v1"})
    assert await contents(client, branch="then") == ["one"]
    assert (await client.delete("/v1/tags/v1")).status_code == 204
    assert (await client.get("/v1/tags/v1")).json()["code"] == "tag_not_found"
    kept = await post(client, "/v1/tags", 201, name="v2", protected=True)
    assert (await client.delete(f"/v1/tags/{kept['name']}")).json()["code"] == "protected"
