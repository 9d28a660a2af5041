"""What importers have in common: records, and where they stand."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from msgspec import Struct
from pydantic import ValidationError

from recollect.service.answers import Problem
from recollect.service.errors import problem_of
from recollect.service.requests import NewMemory

Format = Literal["jsonl", "markdown", "git"]

DEFAULT_NAMESPACE = "projects"
ACTOR_CHARACTERS_MAX = 256
KEY_CHARACTERS_MAX = 512
SOURCE_CHARACTERS_MAX = 2048


class ImportOptions(Struct, frozen=True, kw_only=True):
    """What a caller asks of an import.

    Attributes:
        namespace: Where the memories go; None leaves it to the records, or takes `projects`.
        name: What the folder or repository is called in keys and metadata; None takes its own name.
        tags: Tags for each memory.
        actor: Who wrote them, where that is not told by the records themselves.
    """

    namespace: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    actor: str | None = None


class Record(Struct, frozen=True, kw_only=True, eq=False):
    """One thing that was read: a memory, or why it is none.

    Attributes:
        place: Where it stands, for messages: a line, a heading, a commit.
        memory: What it comes to; None where `problem` says why not.
        problem: What is wrong with it.
        weight: About how many bytes it holds.
    """

    place: str
    memory: NewMemory | None = None
    problem: Problem | None = None
    weight: int = 0


class Importer(Protocol):
    """Reads memories from somewhere, a bounded part at a time.

    Keys and sources are the same in every run, so that an import that is run again changes nothing and one that was
    interrupted goes on.
    """

    @property
    def what(self) -> str:
        """What is read, for a progress bar."""
        ...

    def count(self) -> int | None:
        """Return about how many records there are, or None where that is not cheap to know."""
        ...

    def records(self) -> Iterator[Record]:
        """Read them, in a stable order. Blocks: run it in a thread."""
        ...


def bad_record(place: str, reason: str) -> Record:
    """Return the record that says why something could not be read."""
    detail = f"{place}: {reason}"
    return Record(
        place=place, problem=Problem(title="A record was left out", status=422, code="invalid_record", detail=detail)
    )


def record_of(place: str, fields: dict[str, Any], model: type[NewMemory] = NewMemory, *, weight: int) -> Record:
    """Return the record for a memory's fields, or what is wrong with them."""
    try:
        return Record(place=place, memory=model.model_validate(fields), weight=weight)
    except ValidationError as mistakes:
        return bad_record(place, problem_of(mistakes).detail)


def clipped(text: str, characters_max: int) -> str:
    """Return the beginning of a text as one line, for people to read."""
    line = " ".join(text[: characters_max * 4].split())
    return line if len(line) <= characters_max else f"{line[: characters_max - 1].rstrip()}…"


def shortened(text: str, characters_max: int) -> str:
    """Return text that fits, told apart from others that begin alike by a hash of the whole."""
    if len(text) <= characters_max:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[: characters_max - 17]}…{digest}"
