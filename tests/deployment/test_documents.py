"""What docs/deployment.md tells is what there is."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from recollect.adapters.registry import backends
from recollect.service.cli.main import app


@pytest.fixture
def text(root: Path) -> str:
    return (root / "docs" / "deployment.md").read_text()


def test_a_backend_is_said_to_be_missing_as_long_as_it_is(text: str) -> None:
    assert ("<!-- until the backend is there -->" in text) == ("qdrant" not in backends())


@pytest.mark.parametrize("scheme", ["file", "edge"])
def test_backends_that_the_readme_recommends_are_there(root: Path, scheme: str) -> None:
    assert f"| `{scheme}:PATH` |" in (root / "README.md").read_text()
    assert scheme in backends()


def test_the_stores_named_for_servers_are_those_of_the_composition(root: Path, text: str) -> None:
    hosts = set(yaml.safe_load((root / "docker-compose.yml").read_text())["services"])

    for url in re.findall(r"qdrant://[\w:,.-]+/memories", text):
        assert {host.partition(":")[0] for host in url[len("qdrant://") : -len("/memories")].split(",")} <= hosts


def test_options_of_the_migration_that_are_told_exist(text: str) -> None:
    told = set(re.findall(r"--verify-\w+", text))
    shown = CliRunner().invoke(app, ["migrate-store", "--help"]).output

    assert told
    assert all(option in shown for option in told)


def test_links_lead_somewhere(root: Path, text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (root / "docs" / target).exists(), target
