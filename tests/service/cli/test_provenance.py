"""Asking where memories come from on the command line: straight on a store, and through a service."""

from typing import TYPE_CHECKING

import pytest
from prov.model import ProvDocument

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli


def chain(cli: "Cli", namespace: str) -> tuple[str, str]:
    told = ("--namespace", namespace, "--actor", "ana")
    root = cli.json("remember", f"Root of {namespace}. It stands.", *told, "--source", "message:1")["id"]
    leaf = cli.json("remember", f"Leaf of {namespace}.", *told, "--derived-from", f"{root}@1")["id"]
    return root, leaf


@pytest.mark.requirement("F4")
@pytest.mark.requirement("A13")
def test_why_prints_a_tree_for_people_and_an_answer_for_programs(cli: "Cli", namespace: str) -> None:
    root, leaf = chain(cli, namespace)
    lines = cli.run("why", leaf).stdout.splitlines()
    assert lines[0].startswith(f"Leaf of {namespace}. [{leaf}@1] created by ana")
    assert lines[1].startswith(f"└── derived from: Root of {namespace}. It stands. [{root}@1]")
    assert lines[2] == "    └── source: message:1"
    assert lines[3].startswith("certainty: 1 itself")
    assert cli.json("why", leaf)["sources"] == ["message:1"]


@pytest.mark.requirement("A13")
def test_lineage_has_the_formats_of_the_api(cli: "Cli", namespace: str) -> None:
    root, leaf = chain(cli, namespace)
    assert [node["id"] for node in cli.json("lineage", root, "--direction", "down")["nodes"]][:2] == [
        f"{root}@1", f"{leaf}@1",
    ]  # fmt: skip
    assert cli.run("lineage", leaf, "--format", "mermaid").stdout.startswith("flowchart BT\n")
    told = cli.run("lineage", leaf, "--format", "prov").stdout
    assert ProvDocument.deserialize(content=told, format="json").get_records()
    assert "became: Leaf" in cli.run("lineage", root, "--direction", "both").stdout


@pytest.mark.requirement("A13")
def test_the_provenance_of_a_store_is_exported(cli: "Cli", namespace: str) -> None:
    root, _ = chain(cli, namespace)
    told = cli.run("export", "--format", "prov", "--namespace", namespace).stdout
    document = ProvDocument.deserialize(content=told, format="json").flattened()
    assert f"recollect:version/{root}/main/1" in document.get_provn()
    problem = cli.problem("export", "--format", "prov", "--as-of", "1", exit_code=2)
    assert "leave out" in problem["detail"]


@pytest.mark.requirement("A11")
def test_blame_and_changes_name_who_wrote_what(cli: "Cli", namespace: str) -> None:
    root, _ = chain(cli, namespace)
    cli.run("revise", root, f"Root of {namespace}. It fell.", "--actor", "ben")
    assert [item["actor"] for item in cli.json("blame", root)["sentences"]] == ["ana", "ben"]
    assert "It fell." in cli.run("blame", root).stdout
    assert cli.json("history", root, "--diff")["items"][0]["changes"][-2:] == ["-It stands.", "+It fell."]
    assert "+It fell." in cli.run("history", root, "--diff").stdout


@pytest.mark.requirement("A11")
def test_receipts_say_who_was_given_what(cli: "Cli") -> None:
    root, _ = chain(cli, "longterm")
    cli.run("get", root, "--actor", "reader")
    items = cli.json("receipts", root, "--actor", "reader")["items"]
    assert [(item["operation"], item["given"][0]["id"]) for item in items] == [("get", root)]
    assert "reader" in cli.run("receipts", root).stdout


@pytest.mark.requirement("A12")
def test_memories_are_connected_listed_and_disconnected(cli: "Cli", namespace: str) -> None:
    root, leaf = chain(cli, namespace)
    made = cli.json("connect", leaf, "explains", root, "--note", "so")
    assert (made["from"], made["to"], made["note"]) == (leaf, root, "so")
    assert cli.json("relations", root, "--direction", "in")["items"] == [made]
    assert "explains" in cli.run("relations", root).stdout
    cli.run("disconnect", made["id"])
    assert cli.json("relations", root)["items"] == []
    assert cli.problem("disconnect", made["id"], exit_code=3)["code"] == "relation_not_found"


@pytest.mark.requirement("A12")
@pytest.mark.parametrize("way", ["crystallize", "synthesize"])
def test_an_insight_is_drawn_from_several(cli: "Cli", namespace: str, way: str) -> None:
    root, leaf = chain(cli, namespace)
    done = cli.json(way, f"insight by {way}", "--from", root, "--from", f"{leaf}@1", "--namespace", namespace)
    parents = {edge["parent"] for edge in cli.json("lineage", done["id"])["edges"]}
    assert {f"{root}@1", f"{leaf}@1"} <= parents
