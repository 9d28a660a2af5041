"""Erasing, tracing and quarantine on the command line, straight on a store and through a service."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli


@pytest.mark.requirement("F4")
def test_an_erasure_is_shown_confirmed_and_receipted(cli: "Cli", namespace: str) -> None:
    source = f"message:{namespace}"
    stored = cli.json("remember", "to be erased", "--namespace", namespace, "--source", source)
    shown = cli.run("erase", "--source", source).stdout
    assert "would be erased" in shown
    plan = cli.json("erase", "--source", source)
    assert [item["id"] for item in plan["items"]] == [stored["id"]]
    assert plan["digest"] in shown
    cli.problem("erase", "--source", source, "--confirm", "0" * 64, exit_code=4)
    done = cli.json("erase", "--source", source, "--confirm", plan["digest"], "--requested-by", "officer")
    assert (done["receipt"]["versions"], done["compacted"]) == (1, True)
    assert done["receipt"] in cli.json("erasures")["items"]
    cli.problem("get", stored["id"], exit_code=3)
    assert cli.json("erase", "--source", source, "--yes")["receipt"]["versions"] == 0
    cli.problem("erase", exit_code=2)


@pytest.mark.requirement("D6")
def test_a_bad_source_is_traced_quarantined_and_released(cli: "Cli", namespace: str) -> None:
    source = f"message:bad-{namespace}"
    root = cli.json("remember", "root", "--namespace", namespace, "--source", source)
    child = cli.json("remember", "child", "--namespace", namespace, "--derived-from", root["id"])
    traced = cli.json("trace", "--source", source)
    assert {item["id"] for item in traced["items"]} == {root["id"], child["id"]}
    held = cli.json("quarantine", "--source", source, "--reason", "forged", "--by", "officer")
    assert held["memories"] == sorted([root["id"], child["id"]])
    assert cli.problem("get", child["id"], exit_code=3)["code"] == "memory_quarantined"
    assert held in cli.json("quarantines")["items"]
    assert "active" in cli.run("quarantines").stdout
    assert cli.json("release", held["id"])["state"] == "released"
    assert cli.json("get", child["id"])["summary"] == "child"
