"""The store that nobody named: of the embedded engine, in the user's data folder, or what lies there from before."""

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli


@pytest.fixture
def default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "recollect" / "store"


def processes_of(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if str(folder) in process.cmdline()]


def test_commands_work_on_the_embedded_engine_and_leave_no_process(cli_of: "type[Cli]", default_folder: Path) -> None:
    cli = cli_of()
    stored = cli.json("remember", "night trains have window seats")
    (hit,) = cli.lines("recall", "window seats", "--limit", "1")[0]["hits"]

    assert hit["id"] == stored["id"]
    facts = cli.json("status")["storage"]
    assert (facts["backend"], facts["location"]) == ("edge", str(default_folder))
    assert cli.run("fsck").stdout.startswith("sound")
    assert processes_of(default_folder) == []
    assert not (default_folder / "engine.sock").exists()


def test_a_file_store_that_was_the_default_before_is_used_and_said(
    cli_of: "type[Cli]", default_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = cli_of()
    stored = cli.json("remember", "from before", "--storage", f"file:{default_folder}")

    monkeypatch.setenv("RECOLLECT_LOG_LEVEL", "warning")
    found = cli.run("get", stored["id"])

    assert "from before" in found.stdout
    assert "the store of an earlier default is used" in found.stderr
    assert f"recollect migrate-store file:{default_folder} edge:{default_folder}-edge" in found.stderr
