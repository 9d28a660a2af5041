"""Writing and reading memories: the same words come out of a store and of a service."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

NOWHERE = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"


@pytest.mark.requirement("F4")
def test_a_memory_is_remembered_with_all_that_was_said_and_read_back(cli: "Cli", namespace: str) -> None:
    stored = cli.json(
        "remember", "Ana prefers the window seat.", "--namespace", namespace, "--key", "ana/seat", "--kind", "episodic",
        "--tag", "travel", "--tag", "ana", "--metadata", '{"trip": {"id": 7}}', "--importance", "0.75",
        "--confidence", "0.5", "--created-at", "2026-01-02T03:04:05+01:00", "--summary", "Seats", "--track-provenance",
        "--actor", "assistant", "--source", "message:8123", "--note", "she said so", "--provenance-confidence", "0.9",
    )  # fmt: skip
    read = cli.json("get", stored["id"], "--view", "full", "--include", "provenance")

    assert stored["status"] == "created"
    assert stored["version"] == 1
    assert read["content"] == "Ana prefers the window seat."
    assert (read["key"], read["kind"], read["summary"]) == ("ana/seat", "episodic", "Seats")
    assert (read["importance"], read["confidence"]) == (0.75, 0.5)
    assert read["tags"] == ["ana", "travel"]
    assert read["metadata"] == {"trip": {"id": 7}}
    assert read["created_at"].startswith("2026-01-02T02:04:05")
    assert {name: read["provenance"][name] for name in ("actor", "source", "note", "confidence")} == {
        "actor": "assistant",
        "source": "message:8123",
        "note": "she said so",
        "confidence": 0.9,
    }


def test_the_same_again_is_a_duplicate_under_the_same_id(cli: "Cli", namespace: str) -> None:
    first = cli.json("remember", "once", "--namespace", namespace)
    again = cli.json("remember", "once", "--namespace", namespace)

    assert (again["status"], again["id"]) == ("duplicate", first["id"])


def test_other_content_under_a_key_revises_the_memory(cli: "Cli", namespace: str) -> None:
    first = cli.json("remember", "old", "--namespace", namespace, "--key", "k")
    second = cli.json("remember", "new", "--namespace", namespace, "--key", "k")

    assert (second["status"], second["id"], second["version"]) == ("revised", first["id"], 2)
    assert cli.json("get", "--key", "k", "--namespace", namespace, "--view", "full")["content"] == "new"
    assert cli.json("get", first["id"], "--as-of", str(first["position"]), "--view", "full")["content"] == "old"


def test_content_comes_from_standard_input(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", "-", "--namespace", namespace, input_="line one\nline two\n")

    assert cli.json("get", stored["id"], "--view", "full")["content"] == "line one\nline two\n"


def test_content_can_be_any_json(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", '{"b": [1, null], "a": "x"}', "--json-content", "--namespace", namespace)

    assert cli.json("get", stored["id"], "--view", "full")["content"] == {"a": "x", "b": [1, None]}


def test_a_revision_says_what_changed_and_keeps_the_rest(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", "text", "--namespace", namespace, "--tag", "a")
    revised = cli.json("revise", stored["id"], "--importance", "1", "--expected-version", "1", "--actor", "ana")
    history = cli.json("history", stored["id"], "--include", "provenance", "--view", "full")["items"]

    assert (revised["status"], revised["version"]) == ("revised", 2)
    assert [item["version"] for item in history] == [2, 1]
    assert (history[0]["content"], history[0]["tags"], history[0]["importance"]) == ("text", ["a"], 1.0)
    assert history[0]["provenance"]["actor"] == "ana"


def test_a_revision_of_another_version_than_expected_is_a_conflict(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", "text", "--namespace", namespace)

    problem = cli.problem("revise", stored["id"], "other", "--expected-version", "7", exit_code=4)

    assert problem["code"] == "version_conflict"
    assert cli.json("get", stored["id"], "--view", "full")["content"] == "text"


def test_a_forgotten_memory_is_not_found_and_its_history_says_why(cli: "Cli", namespace: str) -> None:
    # In `shared` the whole provenance is kept.
    stored = cli.json("remember", f"secret {namespace}", "--namespace", "shared")
    forgotten = cli.json(
        "forget",
        stored["id"],
        "--actor",
        "ana",
        "--note",
        "asked to",
        "--source",
        "message:9",
        "--expected-version",
        "1",
    )

    assert forgotten["status"] == "forgotten"
    assert cli.problem("get", stored["id"], exit_code=3)["code"] == "memory_not_found"
    newest = cli.json("history", stored["id"], "--include", "provenance")["items"][0]
    assert newest["forgotten"] is True
    record = newest["provenance"]
    assert (record["actor"], record["note"], record["source"]) == ("ana", "asked to", "message:9")


def test_a_memory_can_be_derived_from_exact_versions_and_current_ones(cli: "Cli", namespace: str) -> None:
    first = cli.json("remember", "one", "--namespace", namespace)
    second = cli.json("remember", "two", "--namespace", namespace)
    both = cli.json(
        "remember", "three", "--namespace", namespace, "--track-provenance",
        "--derived-from", f"{first['id']}@1", "--derived-from", second["id"],
    )  # fmt: skip

    record = cli.json("get", both["id"], "--include", "provenance")["provenance"]

    assert [(item["id"], item["version"]) for item in record["derived_from"]] == [(first["id"], 1), (second["id"], 1)]


def test_an_idempotency_key_makes_a_repetition_harmless(cli: "Cli", namespace: str) -> None:
    first = cli.json("remember", "text", "--namespace", namespace, "--idempotency-key", namespace)
    again = cli.json("remember", "text", "--namespace", namespace, "--idempotency-key", namespace)

    assert again == first
    problem = cli.problem("remember", "other", "--namespace", namespace, "--idempotency-key", namespace, exit_code=4)
    assert problem["code"] == "idempotency_conflict"


def test_lists_are_filtered_ordered_and_paged(cli: "Cli", namespace: str) -> None:
    for number in range(5):
        cli.json(
            "remember", f"memory {number}", "--namespace", namespace, "--metadata", json.dumps({"n": number}),
            "--created-at", f"2026-01-0{5 - number}T00:00:00Z",
        )  # fmt: skip

    page = cli.json("list", "--namespace", namespace, "--limit", "2", "--view", "full")
    following = cli.json("list", "--namespace", namespace, "--limit", "2", "--cursor", page["next_cursor"])
    timeline = cli.json("list", "--namespace", namespace, "--order", "created_at", "--no-descending")
    some = cli.json("list", "--namespace", namespace, "--filters", '{"metadata.n": {"gte": 3}}')

    assert [item["content"] for item in page["items"]] == ["memory 4", "memory 3"]
    assert [item["summary"] for item in following["items"]] == ["memory 2", "memory 1"]
    assert [item["summary"] for item in timeline["items"]] == [f"memory {number}" for number in (4, 3, 2, 1, 0)]
    assert [item["summary"] for item in some["items"]] == ["memory 4", "memory 3"]


@pytest.mark.requirement("F4")
def test_a_recall_comes_as_frames_that_end(cli: "Cli", namespace: str) -> None:
    for text in ("night trains to Rome", "a recipe for bread", "trains at night"):
        cli.json("remember", text, "--namespace", namespace, "--tag", "t")

    *frames, end = cli.lines(
        "recall", "night trains", "--namespace", namespace, "--limit", "2", "--batch-size", "1", "--explain",
        "--include", "provenance", "--view", "full", "--filters", '{"tags": "t"}',
    )  # fmt: skip

    assert [frame["frame"] for frame in frames] == ["hits", "hits"]
    hits = [hit for frame in frames for hit in frame["hits"]]
    assert hits[0]["content"] in {"night trains to Rome", "trains at night"}
    assert hits[0]["score"] >= hits[1]["score"]
    assert hits[0]["scores"]["dense"] == hits[0]["score"]
    assert hits[0]["provenance"]["action"] == "created"
    assert (end["frame"], end["hits"]) == ("end", 2)


def test_a_recall_can_stream_everything(cli: "Cli", namespace: str) -> None:
    for number in range(15):
        cli.json("remember", f"memory {number}", "--namespace", namespace)

    frames = cli.lines("recall", "memory", "--namespace", namespace, "--all")

    assert frames[-1]["hits"] == 15


def test_what_is_similar_to_a_memory_leaves_the_memory_out(cli: "Cli", namespace: str) -> None:
    one = cli.json("remember", "night trains", "--namespace", namespace)
    other = cli.json("remember", "trains at night", "--namespace", namespace)

    frames = cli.lines("recall", "--memory-id", one["id"], "--namespace", namespace)

    assert [hit["id"] for frame in frames[:-1] for hit in frame["hits"]] == [other["id"]]


def test_a_recall_that_finds_nothing_is_no_failure(cli: "Cli", namespace: str) -> None:
    assert [frame["frame"] for frame in cli.lines("recall", "anything", "--namespace", namespace)] == ["end"]


def test_the_status_says_what_there_is(cli: "Cli") -> None:
    status = cli.json("status")

    assert status["status"] == "healthy"
    assert status["storage"]["backend"] == "file"
    assert status["embedder"]["model_id"].startswith("hash")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["get", NOWHERE], 3, NOWHERE),
        (["history", NOWHERE], 3, NOWHERE),
        (["forget", NOWHERE], 3, NOWHERE),
        (["revise", NOWHERE, "x"], 3, NOWHERE),
        (["get", "--key", "none"], 3, "none"),
        (["get"], 2, "name the memory by its ID"),
        (["get", NOWHERE, "--key", "k"], 2, "name the memory by its ID"),
        (["revise", NOWHERE], 2, "nothing to change"),
        (["remember", " "], 2, "content is empty"),
        (["remember", "x", "--metadata", "{"], 2, "--metadata: this is not JSON"),
        (["remember", "x", "--metadata", "[1]"], 2, "metadata"),
        (["remember", "x", "--importance", "1.5"], 2, "importance"),
        (["remember", "x", "--importance", "much"], 2, "importance"),
        (["remember", "x", "--created-at", "2026-01-01T00:00:00"], 2, "has no zone"),
        (["remember", "x", "--namespace", "_audit"], 2, "_audit"),
        (["remember", "x", "--derived-from", "y"], 2, "derived_from"),
        (["remember", "x", "--branch", "none"], 3, "none"),
        (["remember", "{", "--json-content"], 2, "CONTENT: this is not JSON"),
        (["recall"], 2, "exactly one of text, vector or memory_id"),
        (["recall", "x", "--memory-id", NOWHERE], 2, "exactly one of text, vector or memory_id"),
        (["recall", "x", "--limit", "0"], 2, "limit"),
        (["recall", "x", "--filters", '{"nonsense": 1}'], 2, "nonsense"),
        (["recall", "--vector", "[1, 2]"], 2, "numbers"),
        (["list", "--cursor", "x"], 2, "cursor"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_exit_code(cli: "Cli", arguments: list[str], exit_code: int, told: str) -> None:
    problem = cli.problem(*arguments, exit_code=exit_code)

    assert told in problem["detail"]


def test_standard_input_that_is_not_text_is_told(cli: "Cli") -> None:
    problem = cli.problem("remember", "-", input_=b"\xff\xfe", exit_code=2)

    assert "not UTF-8" in problem["detail"]
