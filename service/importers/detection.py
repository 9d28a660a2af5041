"""Telling what a path is."""

import os
from pathlib import Path

from recollect.service.errors import InvalidInputError
from recollect.service.importers.git import GitImporter
from recollect.service.importers.jsonl import JsonlImporter
from recollect.service.importers.markdown import MarkdownImporter, is_markdown
from recollect.service.importers.records import Format, Importer, ImportOptions

STANDARD_INPUT = "-"
ENTRIES_LOOKED_AT_MAX = 10_000


def open_importer(path: str, wanted: Format | None, options: ImportOptions) -> Importer:
    """Return the importer for a path.

    Args:
        path: A JSONL file, a Markdown file or folder, a git repository, or `-` for JSONL on standard input.
        wanted: Its format, where the caller says so.
        options: What the caller asks of the import.

    Raises:
        InvalidInputError: The path does not exist, or it cannot be told what it is.
    """
    if path == STANDARD_INPUT:
        if wanted not in {None, "jsonl"}:
            raise InvalidInputError("standard input is read as JSONL; give the path of a folder for other formats")
        return JsonlImporter(None, options)
    place = Path(path)
    if not place.exists():
        raise InvalidInputError(f"there is nothing at {path}; give a file, a folder, or '-' for standard input")
    match wanted or _detect(place):
        case "jsonl":
            return JsonlImporter(place, options)
        case "markdown":
            return MarkdownImporter(place, options)
        case "git":
            return GitImporter(place, options)


def _detect(place: Path) -> Format:
    if place.is_file():
        if is_markdown(place.name):
            return "markdown"
        if place.suffix.lower() in {".jsonl", ".ndjson", ".jsonlines"}:
            return "jsonl"
        raise InvalidInputError(f"it cannot be told what {place} is; say so with the option format (jsonl or markdown)")
    # A work tree has .git (a folder, or a file in a linked one); a bare repository has its parts at the top.
    if (place / ".git").exists() or ((place / "HEAD").is_file() and (place / "objects").is_dir()):
        return "git"
    if _holds_markdown(place):
        return "markdown"
    raise InvalidInputError(f"{place} holds neither a git repository nor Markdown files; give the folder that does")


def _holds_markdown(place: Path) -> bool:
    looked_at = 0
    for _, folders, files in os.walk(place):
        if any(is_markdown(name) for name in files):
            return True
        looked_at += len(files) + len(folders)
        if looked_at > ENTRIES_LOOKED_AT_MAX:
            return False
        folders[:] = [name for name in folders if not name.startswith(".")]
    return False
