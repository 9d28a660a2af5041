"""A git repository: one memory a commit, read from `git log` as it streams.

The repository is not trusted: no shell is used, nothing that its configuration could start is run, nothing is fetched,
and names and messages are taken as bytes between NULs, which they cannot hold.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from recollect.service.errors import InvalidInputError
from recollect.service.importers.records import (
    ACTOR_CHARACTERS_MAX,
    DEFAULT_NAMESPACE,
    ImportOptions,
    Record,
    clipped,
    record_of,
    shortened,
)

BLOCK_BYTES = 65_536
FIELD_BYTES_MAX = 4 * 1024 * 1024
"""What is kept of one message or name; a service takes less and says so."""
FILES_MAX = 500
"""How many files of a commit are kept; `files_total` then says how many there were."""
SUMMARY_CHARACTERS_MAX = 300

# A repository's own configuration may turn some of this on; checking signatures runs a program that it names.
_LOG = (
    "log", "-z", "--reverse", "--name-only", "--no-renames", "--no-relative", "--diff-merges=first-parent",
    "--no-show-signature", "--encoding=UTF-8",
)  # fmt: skip
_FIELDS = ("%H", "%an", "%ae", "%at", "%P", "%B")


class Commit(Struct, frozen=True, kw_only=True):
    """What is read of a commit."""

    sha: str
    author: str
    author_time_s: str
    parents: list[str]
    message: str
    files: list[str]
    files_total: int


class GitImporter:
    """Reads the commits that lead to a repository's head, oldest first."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        if shutil.which("git") is None:
            raise InvalidInputError("the program git is not installed; install it to import a repository")
        if not path.is_dir():
            raise InvalidInputError(f"{path} is no folder; give the folder that holds the repository")
        self._path = path
        self._options = options
        self._name = options.name or path.resolve().name.removesuffix(".git") or "repository"

    @property
    def what(self) -> str:
        """What is read, for a progress bar."""
        return f"commits of {self._name}"

    def count(self) -> int | None:
        """Return the number of commits."""
        with self._git("rev-list", "--count", "HEAD") as output:
            counted = output.read().strip()
        return int(counted)  # git's own words are raised above where it cannot count

    def records(self) -> Iterator[Record]:
        """Read the commits, oldest first."""
        # A boundary that no one could have written into a file's name.
        boundary = secrets.token_hex(16)
        layout = "%x00".join(["", boundary, *_FIELDS, ""])
        with self._git(*_LOG, f"--format=tformat:{layout}", "HEAD") as output:
            for commit in _commits(_between_nulls(output), boundary.encode()):
                yield self._record(commit)

    def _record(self, commit: Commit) -> Record:
        message = commit.message.strip()
        changed = ", ".join(commit.files[:20]) or "no files"
        content = message or f"Commit {commit.sha[:12]} without a message, changing {changed}"
        metadata: dict[str, Any] = {
            "repository": self._name,
            "commit": commit.sha,
            "parents": commit.parents,
            "files": commit.files,
        }
        if commit.files_total > len(commit.files):
            metadata["files_total"] = commit.files_total
        created_at = _moment(commit.author_time_s)
        if created_at is None:
            metadata["author_time"] = commit.author_time_s
        fields: dict[str, Any] = {
            "content": content,
            "summary": clipped(content.partition("\n")[0], SUMMARY_CHARACTERS_MAX),
            "key": f"commit:{commit.sha}",
            "namespace": self._options.namespace or DEFAULT_NAMESPACE,
            "kind": "episodic",
            "tags": list(self._options.tags),
            "metadata": metadata,
            "created_at": created_at,
            "track_provenance": True,
            "provenance": {
                "actor": shortened(commit.author, ACTOR_CHARACTERS_MAX),
                "source": f"commit:{commit.sha}",
            },
        }
        weight = len(content) + sum(map(len, commit.files))
        return record_of(f"commit {commit.sha[:12]}", fields, weight=weight)

    @contextmanager
    def _git(self, *arguments: str) -> Iterator[IO[bytes]]:
        """Run git in the repository and give what it prints; it ends with the block.

        Raises:
            InvalidInputError: git refuses; the message holds its own words.
        """
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(  # noqa: S603 - a fixed program with arguments of our own, and no shell
                ["git", "--no-pager", *arguments],  # noqa: S607 - the user's git is the one on the path
                cwd=self._path,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
            read_to_the_end = False
            try:
                if process.stdout is None:
                    raise InvalidInputError("git prints nothing")
                yield process.stdout
                read_to_the_end = True
            finally:
                if not read_to_the_end:
                    process.kill()
                if process.stdout is not None:
                    process.stdout.close()
                status = process.wait()
            if status != 0:
                complaints.seek(0)
                words = " ".join(complaints.read(2000).decode("utf-8", "replace").split())
                raise InvalidInputError(f"git cannot read {self._path}: {words or f'exit status {status}'}")


def _environment() -> dict[str, str]:
    """The caller's environment without what points git elsewhere, and with what keeps it from reaching out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _between_nulls(stream: IO[bytes]) -> Iterator[bytes]:
    """Give what stands between NULs; of what is longer than `FIELD_BYTES_MAX` the beginning."""
    held: list[bytes] = []
    size = 0
    while block := stream.read(BLOCK_BYTES):
        first, *others = block.split(b"\0")
        pieces = [first, *others]
        for index, piece in enumerate(pieces):
            if size < FIELD_BYTES_MAX:
                held.append(piece)
                size += len(piece)
            if index < len(pieces) - 1:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def _commits(fields: Iterator[bytes], boundary: bytes) -> Iterator[Commit]:
    """Read commits: after each boundary come the fields, then the names of the files, the first after a line end."""
    current: list[str] | None = None
    files: list[str] = []
    total = 0
    for field in fields:
        if field == boundary:
            if current is not None:
                yield _commit(current, files, total)
            current, files, total = [_text(next(fields, b"")) for _ in _FIELDS], [], 0
            continue
        if current is None:
            continue
        name = field.removeprefix(b"\n") if total == 0 else field
        if name:
            total += 1
            if len(files) < FILES_MAX:
                files.append(_text(name))
    if current is not None:
        yield _commit(current, files, total)


def _commit(fields: list[str], files: list[str], total: int) -> Commit:
    sha, name, address, author_time_s, parents, message = fields
    return Commit(
        sha=sha,
        author=f"{name} <{address}>".strip(),
        author_time_s=author_time_s,
        parents=parents.split(),
        message=message,
        files=files,
        files_total=total,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _moment(seconds: str) -> datetime | None:
    """Return the author's time, or None where a commit holds one that no calendar has."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
