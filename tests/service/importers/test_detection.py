"""Telling what a path is."""

from pathlib import Path

import pytest

from recollect.service.errors import InvalidInputError
from recollect.service.importers import ImportOptions, open_importer
from recollect.service.importers.git import GitImporter
from recollect.service.importers.jsonl import JsonlImporter
from recollect.service.importers.markdown import MarkdownImporter


def kind(path: Path) -> type:
    return type(open_importer(str(path), None, ImportOptions()))


def test_a_folder_with_git_is_a_repository_even_when_it_holds_markdown(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("x")

    assert kind(tmp_path) is GitImporter


def test_a_linked_work_tree_is_a_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")

    assert kind(tmp_path) is GitImporter


def test_a_folder_with_markdown_somewhere_below_is_markdown(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.MD").write_text("x")

    assert kind(tmp_path) is MarkdownImporter


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "A.JSONL"])
def test_a_jsonl_file_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")

    assert kind(tmp_path / name) is JsonlImporter


def test_a_format_that_is_asked_for_wins(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert isinstance(open_importer(str(tmp_path), "markdown", ImportOptions()), MarkdownImporter)


@pytest.mark.parametrize(
    ("name", "told"),
    [("missing", "there is nothing at"), ("notes.txt", "it cannot be told what"), ("empty", "holds neither")],
)
def test_what_cannot_be_imported_is_told(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidInputError, match=told):
        open_importer(str(tmp_path / name), None, ImportOptions())


def test_standard_input_has_no_other_format() -> None:
    with pytest.raises(InvalidInputError, match="standard input is read as JSONL"):
        open_importer("-", "git", ImportOptions())
