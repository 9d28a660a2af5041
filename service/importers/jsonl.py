"""JSON Lines: one memory a line, with at least `content`. Also what an export writes.

Fields that a memory does not have go into its metadata, so that nothing of what others export is lost.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from pydantic import TypeAdapter, ValidationError

from recollect.service.importers.records import ImportOptions, Record, bad_record, record_of
from recollect.service.requests import ImportedMemory, MemoryId

LINE_BYTES_MAX = 16 * 1024 * 1024
"""A longer line is left out: it is no memory that a service takes, and would be held in memory as a whole."""
BLOCK_BYTES = 1024 * 1024

_FIELDS = frozenset(ImportedMemory.model_fields)
_memory_id: TypeAdapter[str] = TypeAdapter(MemoryId)


class JsonlImporter:
    """Reads a JSONL file, or standard input."""

    def __init__(self, path: Path | None, options: ImportOptions) -> None:
        self._path = path
        self._options = options

    @property
    def what(self) -> str:
        """What is read, for a progress bar."""
        return "standard input" if self._path is None else self._path.name

    def count(self) -> int | None:
        """Return the number of lines; None for standard input, which can be read once only."""
        if self._path is None:
            return None
        with self._path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK_BYTES), b""))

    def records(self) -> Iterator[Record]:
        """Read the lines in their order."""
        with self._file() as file:
            for number, line in _lines(file):
                place = f"line {number}"
                if line is None:
                    yield bad_record(place, f"it is longer than {LINE_BYTES_MAX:,} bytes; split the memory")
                elif line.strip():
                    yield self._record(place, line)

    @contextmanager
    def _file(self) -> Iterator[BinaryIO]:
        if self._path is None:
            yield sys.stdin.buffer
        else:
            with self._path.open("rb") as file:
                yield file

    def _record(self, place: str, line: bytes) -> Record:
        try:
            document = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return bad_record(place, f"this is not JSON ({error}); write one JSON object a line")
        if not isinstance(document, dict):
            return bad_record(place, f"expected a JSON object with 'content', not {type(document).__name__}")
        if document.get("content") is None:
            return bad_record(place, "it has no 'content'; name the field that holds the text 'content'")
        try:
            fields = self._fields(document)
        except ValueError as error:
            return bad_record(place, str(error))
        return record_of(place, fields, ImportedMemory, weight=len(line))

    def _fields(self, document: dict[str, Any]) -> dict[str, Any]:
        # An id of another system is no id of ours; it is kept as metadata, like every other unknown field.
        unknown = {name: value for name, value in document.items() if name not in _FIELDS}
        fields = {name: value for name, value in document.items() if name in _FIELDS and value is not None}
        if "id" in fields and not _is_memory_id(fields["id"]):
            unknown["id"] = fields.pop("id")
        if unknown:
            metadata = fields.get("metadata", {})
            if not isinstance(metadata, dict):
                raise ValueError("'metadata' is not a JSON object; make it one")
            twice = sorted(unknown.keys() & metadata.keys())
            if twice:
                raise ValueError(f"{twice[0]!r} stands both beside and inside 'metadata'; rename one of them")
            fields["metadata"] = {**metadata, **unknown}
        if self._options.namespace:
            fields["namespace"] = self._options.namespace
        if self._options.tags:
            tags = fields.get("tags", [])
            fields["tags"] = [*tags, *self._options.tags] if isinstance(tags, list) else tags
        if self._options.actor:
            said = fields.get("provenance", {})
            fields["provenance"] = {"actor": self._options.actor, **said} if isinstance(said, dict) else said
        return fields


def _is_memory_id(value: Any) -> bool:
    try:
        _memory_id.validate_python(value)
    except ValidationError:
        return False
    return True


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Give each line with its number from 1; None for a line that is too long to be held."""
    number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        if len(line) < LINE_BYTES_MAX or line.endswith(b"\n"):
            yield number, line
            continue
        while (rest := file.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
            pass
        yield number, None
