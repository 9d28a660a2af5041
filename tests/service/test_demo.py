"""The demonstration does what it says, and says so when it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "recollect.service.demo"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "docs").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


def commit(repository: Path) -> None:
    names = {f"GIT_{who}_{what}": "ana@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", "add", "--all"], cwd=repository, check=True)
    subprocess.run(
        ["git", "commit", "--quiet", "--allow-empty", "--message=Begin"],
        cwd=repository,
        env={**os.environ, **names},
        check=True,
    )


def demonstrate(repository: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECOLLECT_MODEL": "hash", "RECOLLECT_STORAGE": "file:/nowhere", "COLUMNS": "200"}
    return subprocess.run(DEMO, cwd=repository, env=environment, capture_output=True, text=True, check=False)


def test_a_repository_with_one_commit_is_imported_and_recalled(repository: Path) -> None:
    (repository / "README.md").write_text("# Trains\n\nNight trains have window seats.\n")
    (repository / "docs" / "more.md").write_text("# More\n\nBread.\n")
    commit(repository)

    done = demonstrate(repository)

    assert done.returncode == 0, done.stderr
    assert "imported commits of repository: 1 created" in done.stdout
    assert "imported Markdown of repository: 2 created" in done.stdout
    assert done.stdout.count("version 1: imported by ") == 9
    assert "from file:docs/more.md#more" in done.stdout
    assert "stopped cleanly" in done.stdout


def test_a_history_without_documents_is_enough(repository: Path) -> None:
    commit(repository)

    assert demonstrate(repository).returncode == 0


def test_nothing_to_recall_is_a_failure(tmp_path: Path) -> None:
    done = demonstrate(tmp_path)

    assert done.returncode == 1
    assert "nothing was found for" in done.stderr


def test_a_repository_without_commits_is_a_failure(repository: Path) -> None:
    done = demonstrate(repository)

    assert done.returncode == 2
    assert "git cannot read" in done.stderr
