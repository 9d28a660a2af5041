"""A folder of Markdown: one memory a section, with the headings above it.

What counts as a heading is CommonMark's word (markdown-it): a `#` inside a code fence is none. Slugs are those that
code hosts use for links: lower case, white space as hyphens, punctuation left out, repetitions numbered.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec import Struct

from recollect.service.errors import InvalidInputError
from recollect.service.importers.front_matter import split_front_matter
from recollect.service.importers.records import (
    ACTOR_CHARACTERS_MAX,
    DEFAULT_NAMESPACE,
    KEY_CHARACTERS_MAX,
    SOURCE_CHARACTERS_MAX,
    ImportOptions,
    Record,
    bad_record,
    clipped,
    record_of,
    shortened,
)

FILE_BYTES_MAX = 16 * 1024 * 1024
SUMMARY_CHARACTERS_MAX = 300
HEADING_CHARACTERS_MAX = 200
BETWEEN_HEADINGS = " > "
LEFT_OUT = frozenset({"node_modules", "__pycache__"})
"""Folders of others' documents; those whose names start with a dot are left out, too."""

_HEADING_LINE = re.compile(rb"^ {0,3}#{1,6}[ \t]", re.MULTILINE)
_NOT_IN_SLUGS = re.compile(r"[^\w\- ]")
_SUFFIXES = (".md", ".markdown", ".mdown")


def is_markdown(name: str) -> bool:
    """Say whether a file's name is that of a Markdown file."""
    return name.lower().endswith(_SUFFIXES)


class Section(Struct, frozen=True, kw_only=True):
    """A section of a document.

    Attributes:
        headings: The headings above it and its own, outermost first; empty before the first heading.
        slug: What a link to it ends with; empty before the first heading.
        body: Its text without its heading and without its subsections.
        beginning: The first paragraph as plain text; empty if it has none.
    """

    headings: tuple[str, ...]
    slug: str
    body: str
    beginning: str


class MarkdownImporter:
    """Reads the Markdown files below a folder, or one file."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._root = path.resolve()
        self._options = options
        if self._root.is_file():
            self._files: list[Path] | None = [self._root]
            self._root = self._root.parent
        elif self._root.is_dir():
            self._files = None
        else:
            raise InvalidInputError(f"{path} is neither a file nor a folder")
        self._name = options.name or _readable(self._root.name) or "files"

    @property
    def what(self) -> str:
        """What is read, for a progress bar."""
        return f"Markdown of {self._name}"

    def count(self) -> int | None:
        """Return the number of lines that look like headings: about the number of sections."""
        return sum(len(_HEADING_LINE.findall(path.read_bytes())) for path in self._walk() if _size(path) is not None)

    def records(self) -> Iterator[Record]:
        """Read the sections, file by file in the order of their names."""
        for path in self._walk():
            relative = _readable(path.relative_to(self._root).as_posix())
            if _size(path) is None:
                yield bad_record(relative, f"it cannot be read, or is larger than {FILE_BYTES_MAX:,} bytes")
                continue
            try:
                text = path.read_bytes().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                yield bad_record(relative, f"it is not UTF-8 ({error.reason} at byte {error.start}); convert it")
                continue
            yield from self._document(relative, text)

    def _walk(self) -> Iterator[Path]:
        if self._files is not None:
            yield from self._files
            return
        for folder, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in LEFT_OUT)
            for name in sorted(files):
                path = Path(folder, name)
                # A link may lead out of the folder that the user meant.
                if is_markdown(name) and path.is_file() and path.resolve().is_relative_to(self._root):
                    yield path

    def _document(self, relative: str, text: str) -> Iterator[Record]:
        front_matter, text = split_front_matter(text.replace("\r\n", "\n").replace("\r", "\n"))
        title = front_matter.get("title")
        for section in sections_of(text):
            headings = section.headings or (title if isinstance(title, str) and title else Path(relative).stem,)
            yield self._record(relative, section, headings, front_matter)

    def _record(self, relative: str, section: Section, headings: Sequence[str], front_matter: dict[str, Any]) -> Record:
        place = f"{relative}#{section.slug}" if section.slug else relative
        path = BETWEEN_HEADINGS.join(headings)
        metadata: dict[str, Any] = {"file": relative, "headings": list(headings), "folder": self._name}
        if front_matter:
            metadata["front_matter"] = front_matter
        fields: dict[str, Any] = {
            "content": f"{path}\n\n{section.body}",
            "summary": clipped(f"{path}: {section.beginning}" if section.beginning else path, SUMMARY_CHARACTERS_MAX),
            "key": shortened(f"{self._name}/{place}", KEY_CHARACTERS_MAX),
            "namespace": self._options.namespace or DEFAULT_NAMESPACE,
            "kind": "semantic",
            "tags": [*self._options.tags, *_tags(front_matter)],
            "metadata": metadata,
            "track_provenance": True,
            "provenance": {
                "actor": self._author(front_matter),
                "source": shortened(f"file:{place}", SOURCE_CHARACTERS_MAX),
            },
        }
        return record_of(place, fields, weight=len(section.body))

    def _author(self, front_matter: dict[str, Any]) -> str | None:
        author = front_matter.get("author")
        told = author if isinstance(author, str) and author.strip() else self._options.actor
        return None if told is None else shortened(told.strip(), ACTOR_CHARACTERS_MAX)


_blocks = MarkdownIt("commonmark").enable("table").disable("inline")
_inlines = MarkdownIt("commonmark")


def sections_of(text: str) -> Iterator[Section]:
    """Split a Markdown document at its headings.

    Args:
        text: The document, with LF line ends and without front matter.

    Yields:
        The sections that have text of their own, in their order.
    """
    lines = text.split("\n")
    tokens = _blocks.parse(text)
    starts = [
        index for index, token in enumerate(tokens) if token.type == "heading_open" and token.level == 0 and token.map
    ]
    headings: list[tuple[int, str]] = []
    slugs: Counter[str] = Counter()
    slug, first_line, first_token = "", 0, 0
    for start in [*starts, len(tokens)]:
        token = tokens[start] if start < len(tokens) else None
        line, after = (token.map[0], token.map[1]) if token and token.map else (len(lines), len(lines))
        body = "\n".join(lines[first_line:line]).strip("\n").rstrip()
        if body.strip():
            yield Section(
                headings=tuple(name for _, name in headings),
                slug=slug,
                body=body,
                beginning=_beginning(tokens[first_token:start]),
            )
        if token is not None:
            depth, name = int(token.tag[1:]), _plain(tokens[start + 1].content)[:HEADING_CHARACTERS_MAX]
            headings = [*(item for item in headings if item[0] < depth), (depth, name)]
            slug = _slug(name, slugs)
            # heading_open, inline, heading_close
            first_line, first_token = after, start + 3


def _beginning(tokens: Sequence[Token]) -> str:
    for token, following in pairwise(tokens):
        if token.type == "paragraph_open" and token.level == 0 and (words := _plain(following.content)):
            return words
    return ""


def _plain(source: str) -> str:
    """Return inline Markdown as one line of plain text."""
    words: list[str] = []

    def gather(tokens: Sequence[Token]) -> None:
        for token in tokens:
            if token.type in {"text", "code_inline"}:
                words.append(token.content)
            elif token.type in {"softbreak", "hardbreak"}:
                words.append(" ")
            gather(token.children or [])

    gather(_inlines.parseInline(source))
    return " ".join("".join(words).split())


def _slug(heading: str, seen: Counter[str]) -> str:
    slug = _NOT_IN_SLUGS.sub("", heading.lower()).replace(" ", "-") or "section"
    number = seen[slug]
    seen[slug] += 1
    if not number:
        return slug
    numbered = f"{slug}-{number}"
    seen[numbered] += 1
    return numbered


def _tags(front_matter: dict[str, Any]) -> list[str]:
    tags = front_matter.get("tags")
    if isinstance(tags, str):
        tags = tags.split(",")
    return [tag.strip() for tag in tags if isinstance(tag, str) and tag.strip()] if isinstance(tags, list) else []


def _size(path: Path) -> int | None:
    """Return how large a file is, or None if it is larger than what is read, or cannot be read."""
    try:
        size = path.stat().st_size
    except OSError:
        return None
    return size if size <= FILE_BYTES_MAX and os.access(path, os.R_OK) else None


def _readable(name: str) -> str:
    """Return a file's name as Unicode, whatever bytes it holds."""
    return os.fsencode(name).decode("utf-8", "replace")
