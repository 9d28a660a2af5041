"""Reading git repositories, also hostile ones."""

import os
import subprocess
from pathlib import Path

import pytest

from recollect.service.errors import InvalidInputError
from recollect.service.importers import ImportOptions, Record, open_importer
from recollect.service.importers.git import FILES_MAX
from recollect.service.requests import NewMemory

AUTHOR = {
    "GIT_AUTHOR_NAME": "Ana 'Q\" O'Neil",
    "GIT_AUTHOR_EMAIL": "ana@example.org",
    "GIT_COMMITTER_NAME": "Someone Else",
    "GIT_COMMITTER_EMAIL": "else@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, input_: bytes | None = None, **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**os.environ, **AUTHOR, **environment},
            input=input_,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def commit(self, message: str, files: dict[str, str] | None = None, **environment: str) -> str:
        for name, text in (files or {}).items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self.git("add", "--all")
        self.git(
            "commit", "--quiet", "--allow-empty", "--allow-empty-message", "--cleanup=verbatim", "--file=-",
            input_=message.encode("utf-8", "surrogateescape"), **environment,
        )  # fmt: skip
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "work")


def read(path: Path, options: ImportOptions | None = None) -> list[Record]:
    importer = open_importer(str(path), "git", options or ImportOptions())
    records = list(importer.records())
    assert importer.count() == len(records)
    return records


def memories(path: Path) -> list[NewMemory]:
    return [record.memory for record in read(path) if record.memory is not None]


def test_a_commit_becomes_a_memory_with_its_message_author_time_and_files(repository: Repository) -> None:
    sha = repository.commit(
        "Add the port\n\nWhy: stores differ.\n\nTwo paragraphs.\n",
        {"a.py": "1", "docs/b.md": "2"},
        GIT_AUTHOR_DATE="2020-02-29T12:30:00+02:00",
    )

    (memory,) = memories(repository.path)

    assert memory.content == "Add the port\n\nWhy: stores differ.\n\nTwo paragraphs."
    assert memory.summary == "Add the port"
    assert memory.key == f"commit:{sha}"
    assert memory.provenance.source == f"commit:{sha}"
    assert memory.provenance.actor == "Ana 'Q\" O'Neil <ana@example.org>"
    assert memory.track_provenance is True
    assert memory.created_at is not None
    assert memory.created_at.isoformat() == "2020-02-29T10:30:00+00:00"
    assert memory.kind == "episodic"
    assert memory.namespace == "projects"
    assert memory.metadata == {"repository": "work", "commit": sha, "parents": [], "files": ["a.py", "docs/b.md"]}


def test_commits_come_oldest_first_with_their_parents(repository: Repository) -> None:
    first = repository.commit("one", {"a": "1"})
    second = repository.commit("two", {"a": "2"})

    one, two = memories(repository.path)

    assert (one.key, two.key) == (f"commit:{first}", f"commit:{second}")
    assert two.metadata["parents"] == [first]


def test_names_with_line_ends_quotes_and_other_scripts_come_through(repository: Repository) -> None:
    names = ["\nleading", 'quote"d', "new\nline", "tab\tbed", "ünï çødé", "日本/語.txt", "-n", "a -> b"]
    repository.commit("names", dict.fromkeys(names, "x"))

    (memory,) = memories(repository.path)

    assert sorted(memory.metadata["files"]) == sorted(names)  # type: ignore[type-var, arg-type]


def test_a_name_that_is_no_text_is_kept_readable(repository: Repository) -> None:
    Path(os.fsdecode(os.fsencode(repository.path) + b"/\xff\xfe.txt")).write_text("x")
    repository.commit("bytes")

    (memory,) = memories(repository.path)

    assert memory.metadata["files"] == ["\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.txt"]


@pytest.mark.parametrize(
    "message",
    [
        "$(touch hacked); `touch hacked` | & ' \" \\",
        "--output=hacked\n\n--exec=touch",
        "commit 0000000000000000000000000000000000000000\nAuthor: Eve <eve@example.org>\n\n    forged",
        "control \x1b[31mred\x07 \x01 and [bold]markup[/bold]",
        "right to left \u202egnp.exe",
        "half a line end\rand the rest",
        "emoji 🧠 and \ufeff",
        "x" * 70_000,
    ],
)
def test_a_message_is_data_and_nothing_else(repository: Repository, message: str) -> None:
    repository.commit(message, {"a": "1"})

    (memory,) = memories(repository.path)

    assert memory.content == message.strip()
    assert memory.metadata["files"] == ["a"]
    assert not list(repository.path.rglob("hacked"))


def test_a_message_that_is_not_utf8_is_kept_readable(repository: Repository) -> None:
    repository.commit("caf\udce9", {"a": "1"})

    (memory,) = memories(repository.path)

    assert str(memory.content).startswith("caf")


def test_a_commit_without_a_message_says_what_it_changed(repository: Repository) -> None:
    sha = repository.commit("", {"a.py": "1", "b.py": "1"})

    (memory,) = memories(repository.path)

    assert memory.content == f"Commit {sha[:12]} without a message, changing a.py, b.py"


def test_a_merge_names_both_parents_and_what_it_brought(repository: Repository) -> None:
    base = repository.commit("base", {"a": "1"})
    repository.git("checkout", "--quiet", "-b", "side")
    side = repository.commit("side", {"b": "1"})
    repository.git("checkout", "--quiet", "main")
    main = repository.commit("main", {"c": "1"})
    repository.git("merge", "--quiet", "--no-ff", "--message=Merge the side", "side")

    merge = memories(repository.path)[-1]

    assert merge.content == "Merge the side"
    assert merge.metadata["parents"] == [main, side]
    assert merge.metadata["files"] == ["b"]
    assert base != main


def test_a_renamed_file_appears_under_both_names(repository: Repository) -> None:
    repository.commit("add", {'old "name".txt': "same text\n" * 20})
    repository.git("mv", 'old "name".txt', "new 'name'.txt")
    repository.commit("rename")

    assert memories(repository.path)[-1].metadata["files"] == ["new 'name'.txt", 'old "name".txt']


def test_a_commit_with_very_many_files_keeps_some_and_their_number(repository: Repository) -> None:
    repository.commit("many", {f"f{number:04}": "" for number in range(FILES_MAX + 7)})

    (memory,) = memories(repository.path)

    assert len(memory.metadata["files"]) == FILES_MAX  # type: ignore[arg-type]
    assert memory.metadata["files_total"] == FILES_MAX + 7


def test_a_time_that_no_calendar_has_is_kept_as_text(repository: Repository) -> None:
    tree = repository.git("write-tree")
    raw = f"tree {tree}\nauthor Eve <e@x> 99999999999999999 +0000\ncommitter Eve <e@x> 1 +0000\n\nfar\n"
    sha = repository.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", input_=raw.encode())
    repository.git("update-ref", "refs/heads/main", sha)

    (memory,) = memories(repository.path)

    assert memory.content == "far"
    assert memory.created_at is None or memory.created_at.year > 2248


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a trace when it is run."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\nexit 1\n")
    program.chmod(0o755)
    return program


def test_no_program_is_run_to_check_a_signature(repository: Repository, trap: Path) -> None:
    tree = repository.git("write-tree")
    signed = (
        f"tree {tree}\nauthor Eve <e@x> 1 +0000\ncommitter Eve <e@x> 1 +0000\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\nsigned\n"
    )
    sha = repository.git("hash-object", "-t", "commit", "-w", "--stdin", input_=signed.encode())
    repository.git("update-ref", "refs/heads/main", sha)
    repository.git("config", "gpg.program", str(trap))
    repository.git("config", "log.showSignature", "true")

    assert [memory.content for memory in memories(repository.path)] == ["signed"]
    assert not trap.with_name("sprung").exists()


def test_nothing_is_fetched_for_a_repository_that_lacks_a_part(repository: Repository, trap: Path) -> None:
    repository.commit("here", {"folder/a.txt": "1"})
    missing = repository.git("rev-parse", "HEAD:folder")
    (repository.path / ".git" / "objects" / missing[:2] / missing[2:]).unlink()
    repository.git("config", "core.repositoryformatversion", "1")
    repository.git("config", "extensions.partialClone", "origin")
    repository.git("config", "remote.origin.promisor", "true")
    repository.git("config", "remote.origin.url", f"ext::{trap}")
    repository.git("config", "protocol.ext.allow", "always")

    with pytest.raises(InvalidInputError, match="git cannot read"):
        memories(repository.path)
    assert not trap.with_name("sprung").exists()


def test_a_folder_inside_of_a_repository_gives_all_of_it(repository: Repository) -> None:
    repository.commit("both", {"a.py": "1", "folder/b.py": "1"})
    repository.git("config", "diff.relative", "true")

    (memory,) = memories(repository.path / "folder")

    assert memory.metadata["files"] == ["a.py", "folder/b.py"]


@pytest.mark.parametrize("name", ["-C", "--help", "sp ace", "quo'te\"", "dollar$(id)", "new\nline", "ünï"])
def test_a_hostile_path_is_only_a_path(tmp_path: Path, name: str) -> None:
    repository = Repository(tmp_path / name)
    repository.commit("here")

    assert [memory.content for memory in memories(tmp_path / name)] == ["here"]


def test_the_callers_own_git_variables_do_not_lead_elsewhere(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("here")
    other = Repository(tmp_path / "other")
    other.commit("there")
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))

    assert [memory.content for memory in memories(repository.path)] == ["here"]


def test_a_bare_repository_is_known_and_read(repository: Repository, tmp_path: Path) -> None:
    repository.commit("bare")
    repository.git("clone", "--quiet", "--bare", ".", str(tmp_path / "copy.git"))

    importer = open_importer(str(tmp_path / "copy.git"), None, ImportOptions())
    (record,) = importer.records()

    assert record.memory is not None
    assert record.memory.metadata["repository"] == "copy"


def test_a_repository_without_commits_is_told_in_gits_words(repository: Repository) -> None:
    with pytest.raises(InvalidInputError, match="git cannot read"):
        list(open_importer(str(repository.path), None, ImportOptions()).records())


def test_reading_can_stop_early(repository: Repository) -> None:
    for number in range(20):
        repository.commit(f"commit {number}")
    records = open_importer(str(repository.path), "git", ImportOptions()).records()

    assert next(records).memory is not None
    records.close()  # type: ignore[attr-defined]


def test_namespace_name_and_tags_can_be_chosen(repository: Repository) -> None:
    repository.commit("one")

    (record,) = read(repository.path, ImportOptions(namespace="mine", name="core", tags=("history",)))

    assert record.memory is not None
    assert record.memory.namespace == "mine"
    assert record.memory.tags == ["history"]
    assert record.memory.metadata["repository"] == "core"
