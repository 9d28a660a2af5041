"""Reading JSON Lines, ours and others'."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recollect.service.importers import ImportOptions, Record, jsonl, open_importer
from recollect.service.requests import ImportedMemory

MEMORY_ID = "0198f0c2-a7d3-7c1e-9d5b-8f6a7e4c3b21"


def read(folder: Path, *lines: Any, options: ImportOptions | None = None) -> list[Record]:
    path = folder / "x.jsonl"
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return list(open_importer(str(path), None, options or ImportOptions()).records())


def detail(record: Record) -> str:
    assert record.problem is not None
    return record.problem.detail


def test_a_line_with_content_is_a_memory(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"content": "hello", "key": "k", "tags": ["a"], "importance": 0.75})

    assert record.memory is not None
    assert (record.memory.content, record.memory.key, record.memory.tags) == ("hello", "k", ["a"])
    assert record.memory.importance == 0.75


def test_unknown_fields_go_into_metadata(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"content": "x", "user_id": 7, "metadata": {"a": 1}, "id": "not-ours", "key": None})

    assert record.memory is not None
    assert record.memory.metadata == {"a": 1, "user_id": 7, "id": "not-ours"}
    assert record.memory.key is None


def test_an_id_of_ours_is_kept(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"content": "x", "id": MEMORY_ID})

    assert isinstance(record.memory, ImportedMemory)
    assert record.memory.id == MEMORY_ID
    assert record.memory.metadata == {}


def test_a_field_that_would_hide_another_is_told(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {"content": "x", "user": 1, "metadata": {"user": 2}})

    assert detail(record) == "line 1: 'user' stands both beside and inside 'metadata'; rename one of them"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{not json", "not JSON"),
        (b'{"content": NaN}', "not JSON"),
        (b'{"content": "\xff"}', "not JSON"),
        (b'{"content": "\\ud800"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'["content"]', "expected a JSON object"),
        (b'{"text": "x"}', "no 'content'"),
        (b'{"content": ""}', "content is empty"),
        (b'{"content": null}', "no 'content'"),
        (b'{"content": "x", "importance": 7}', "importance"),
        (b'{"content": "x", "tags": "a"}', "tags"),
        (b'{"content": "x", "metadata": 1, "more": 2}', "'metadata' is not a JSON object"),
        (b'{"content": "x", "created_at": 1700000000}', "RFC 3339"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_the_others_are_read(tmp_path: Path, line: bytes, told: str) -> None:
    first, bad, last = read(tmp_path, {"content": "a"}, line, {"content": "b"})

    assert first.memory is not None
    assert bad.memory is None
    assert detail(bad).startswith("line 2: ")
    assert told in detail(bad)
    assert last.memory is not None


def test_empty_lines_are_passed_over_but_counted(tmp_path: Path) -> None:
    records = read(tmp_path, b"", {"content": "a"}, b"  \r", b"oops")

    assert [record.place for record in records] == ["line 2", "line 4"]


def test_a_line_that_is_too_long_is_told_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LINE_BYTES_MAX", 64)

    first, long, last = read(tmp_path, {"content": "a"}, {"content": "x" * 1000}, {"content": "b"})

    assert first.memory is not None
    assert detail(long) == "line 2: it is longer than 64 bytes; split the memory"
    assert last.memory is not None


def test_a_last_line_without_an_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"content": "a"}\n{"content": "b"}')

    records = list(open_importer(str(path), None, ImportOptions()).records())

    assert [record.memory.content for record in records if record.memory] == ["a", "b"]


def test_standard_input_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"content": "a"}\n')))
    importer = open_importer("-", None, ImportOptions())

    assert importer.count() is None
    assert [record.memory.content for record in importer.records() if record.memory] == ["a"]


def test_namespace_and_tags_of_the_caller_are_added(tmp_path: Path) -> None:
    (record,) = read(
        tmp_path,
        {"content": "x", "namespace": "old", "tags": ["a"]},
        options=ImportOptions(namespace="new", tags=("b",)),
    )

    assert record.memory is not None
    assert record.memory.namespace == "new"
    assert record.memory.tags == ["a", "b"]


def test_the_number_of_lines_is_known_beforehand(tmp_path: Path) -> None:
    read(tmp_path, {"content": "a"}, {"content": "b"})

    assert open_importer(str(tmp_path / "x.jsonl"), None, ImportOptions()).count() == 2
