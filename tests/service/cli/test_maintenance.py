"""fsck: what is sound is said to be, what is damaged is named."""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli


@pytest.fixture
def store(local: "Cli", tmp_path: Path) -> Path:
    """A store with some memories."""
    for number in range(3):
        local.json("remember", f"memory {number}", "--track-provenance", "--source", f"message:{number}")
    return tmp_path / "store"


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def test_a_sound_store_is_said_to_be_sound(local: "Cli", store: Path) -> None:
    assert local.run("fsck").stdout.startswith("sound  3 versions")
    report = local.json("fsck")
    assert (report["versions_checked"], report["findings"]) == (3, [])
    assert store.is_dir()


@pytest.mark.requirement("B11", "F4")
def test_damage_is_named_with_its_place_and_its_remedy(local: "Cli", store: Path) -> None:
    (pack,) = store.rglob("*.prov")
    damage(pack)

    result = local.run("fsck", exit_code=5)
    report = local.run("fsck", "--json", exit_code=5)

    assert "damaged" in result.stdout
    assert pack.name in result.stdout
    assert f'"place":"{pack.name}' in report.stdout.replace(f"{store}/", "")


def test_a_store_whose_catalog_cannot_be_read_is_damaged(local: "Cli", store: Path) -> None:
    (catalog,) = store.glob("*.sqlite3")
    with sqlite3.connect(catalog) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    catalog.write_bytes(b"no database at all" * 1000)

    assert local.problem("fsck", exit_code=5)["code"] == "store_damaged"


def test_a_store_that_is_not_there_is_told_and_not_made(local: "Cli", tmp_path: Path) -> None:
    problem = local.problem("fsck", exit_code=6)

    assert "store" in problem["detail"]
    assert not (tmp_path / "store").exists()


def test_an_unknown_kind_of_store_is_told_with_those_that_are_known(local: "Cli") -> None:
    local.place = ("--storage", "tape:reel")

    assert "file:" in local.problem("fsck", exit_code=2)["detail"]


def test_fsck_needs_no_model(local: "Cli", store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOLLECT_MODEL", "/nowhere/a-model")

    assert local.run("fsck").stdout.startswith("sound")
    assert store.is_dir()
