"""Branches on the command line, straight on a store and through a service."""

from typing import Any

import pytest


def _name(namespace: str, what: str) -> str:
    return f"{what}-{namespace}"


def _said(cli: Any, namespace: str, *options: str) -> list[str]:
    page = cli.json("list", "--namespace", namespace, "--view", "full", "--no-descending", *options)
    return [memory["content"] for memory in page["items"]]


@pytest.mark.requirement("A8", "A9", "F4")
def test_a_branch_is_forked_compared_and_merged_with_a_conflict_that_is_settled(cli: Any, namespace: str) -> None:
    draft = _name(namespace, "draft")
    memory = cli.json("remember", "It leaves at 21:10.", "--namespace", namespace)["id"]
    branch = cli.json("branch", "create", draft, "--from", "main", "--actor", "ana")
    assert (branch["name"], branch["parent"], branch["created_by"]) == (draft, "main", "ana")
    cli.run("revise", memory, "It leaves from platform 7.", "--branch", draft)
    cli.run("remember", "Ana takes the window seat.", "--namespace", namespace, "--branch", draft)
    cli.run("revise", memory, "It leaves at 21:40.")

    *frames, end = cli.lines("branch", "diff", "main", draft, "--text")
    changes = [change for frame in frames for change in frame["changes"] if change["namespace"] == namespace]
    assert sorted(change["change"] for change in changes) == ["added", "revised"]
    assert end["frame"] == "end"
    assert "-It leaves at 21:40." in cli.run("branch", "diff", "main", draft, "--text").stdout
    planned = cli.run("branch", "merge", draft, "--dry-run", exit_code=4)
    assert f"would merge {draft} into main" in planned.stdout
    cli.run("branch", "merge", draft, "--note", "evening", exit_code=4)
    (conflict,) = [
        found for found in cli.json("conflicts", "list", "--limit", "1000")["items"] if found["source"] == draft
    ]
    assert "It leaves from platform 7." in cli.run("conflicts", "show", conflict["id"]).stdout
    assert conflict["id"] in cli.run("conflicts", "list", "--limit", "1000").stdout
    cli.run("conflicts", "resolve", conflict["id"], "--take", "theirs")
    assert sorted(_said(cli, namespace)) == ["Ana takes the window seat.", "It leaves from platform 7."]
    assert cli.json("branch", "merge", draft)["position"] is None


@pytest.mark.requirement("A9", "A10", "F4")
def test_a_branch_goes_back_to_a_tag(cli: Any, namespace: str) -> None:
    draft, tag = _name(namespace, "draft"), _name(namespace, "tag")
    cli.run("branch", "create", draft)
    cli.run("remember", "first", "--namespace", namespace, "--branch", draft)
    named = cli.json("tag", "create", tag, "--branch", draft)
    memory = cli.json("remember", "second", "--namespace", namespace, "--branch", draft)["id"]
    assert _said(cli, namespace, "--branch", draft, "--as-of", str(named["position"])) == ["first"]
    assert tag in cli.run("tag", "list").stdout
    assert f"rolled back {draft}" in cli.run("branch", "rollback", tag, "--branch", draft).stdout
    assert _said(cli, namespace, "--branch", draft) == ["first"]
    log = cli.json("branch", "log", draft, "--limit", "2")["items"]
    assert [(entry["created"], entry["forgotten"]) for entry in log] == [(0, 1), (1, 0)]
    assert str(log[0]["position"]) in cli.run("branch", "log", draft).stdout
    picked = cli.json(
        "branch", "cherry-pick", draft, memory, "--version-number", "1", "--into", draft, "--strategy", "theirs"
    )
    assert picked["status"] == "created"
    cli.run("tag", "delete", tag)
    assert cli.problem("branch", "rollback", tag, "--branch", draft, exit_code=3)["code"] == "tag_not_found"


@pytest.mark.requirement("F4")
def test_a_protected_branch_is_not_deleted(cli: Any, namespace: str) -> None:
    draft = _name(namespace, "draft")
    cli.run("branch", "create", draft, "--protected", "--note", "try it")
    assert "protected" in cli.run("branch", "list", "--limit", "1000").stdout
    assert cli.problem("branch", "delete", draft, exit_code=4)["code"] == "protected"
    cli.run("branch", "unprotect", draft)
    cli.run("branch", "protect", draft)
    cli.run("branch", "unprotect", draft)
    cli.run("branch", "delete", draft, "--actor", "ana")
    assert draft not in [branch["name"] for branch in cli.json("branch", "list", "--limit", "1000")["items"]]
    assert cli.problem("list", "--branch", draft, exit_code=3)["code"] == "branch_not_found"


def test_settling_names_one_conflict_or_all(cli: Any) -> None:
    cli.run("conflicts", "resolve", "--take", "ours", exit_code=2)
    assert cli.json("conflicts", "resolve", "--all", "--take", "ours", "--target", "no-such-branch")["resolved"] == []


def test_an_import_goes_to_the_branch_that_is_named(cli: Any, namespace: str) -> None:
    draft = _name(namespace, "draft")
    cli.run("branch", "create", draft)
    lines = f'{{"content": "imported {namespace}", "namespace": "{namespace}"}}\n'
    assert cli.json("import", "-", "--branch", draft, input_=lines)["created"] == 1
    assert _said(cli, namespace, "--branch", draft) == [f"imported {namespace}"]
    assert _said(cli, namespace) == []
