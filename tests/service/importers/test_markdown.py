"""Splitting Markdown into sections."""

from pathlib import Path
from textwrap import dedent

import pytest

from recollect.service.importers import ImportOptions, Record, open_importer
from recollect.service.importers.markdown import sections_of
from recollect.service.requests import NewMemory


def read(path: Path, options: ImportOptions | None = None) -> list[Record]:
    return list(open_importer(str(path), "markdown", options or ImportOptions()).records())


def sections(folder: Path, text: str) -> list[NewMemory]:
    (folder / "guide.md").write_text(dedent(text).lstrip("\n"))
    return [record.memory for record in read(folder) if record.memory is not None]


def headings(text: str) -> list[tuple[str, ...]]:
    return [section.headings for section in sections_of(dedent(text).lstrip("\n"))]


def test_a_section_becomes_a_memory_with_the_headings_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    (folder / "guide").mkdir(parents=True)
    (folder / "guide" / "start.md").write_text(
        "# Start\n\nHello.\n\n## Install it\n\nRun `make setup`.\n\nThen wait.\n"
    )

    start, install = (record.memory for record in read(folder))

    assert start is not None
    assert start.content == "Start\n\nHello."
    assert install is not None
    assert install.content == "Start > Install it\n\nRun `make setup`.\n\nThen wait."
    assert install.summary == "Start > Install it: Run make setup."
    assert install.key == "handbook/guide/start.md#install-it"
    assert install.provenance.source == "file:guide/start.md#install-it"
    assert install.track_provenance is True
    assert install.metadata == {
        "file": "guide/start.md",
        "folder": "handbook",
        "headings": ["Start", "Install it"],
    }
    assert (install.namespace, install.kind) == ("projects", "semantic")


def test_headings_inside_code_lists_and_quotes_do_not_split() -> None:
    text = """
    # Top

    ```sh
    # no heading
    ```

    ~~~
    ## none
    ```
    ~~~

        # indented code

    > # quoted

    - # in a list

    <!--
    # in a comment
    -->

    #hashtag
    """
    assert headings(text) == [("Top",)]


def test_all_forms_of_headings_split() -> None:
    text = """
    Title
    =====
    a

    Sub
    ---
    b

    ### Closed ###
    c

      # Indented by two
    d
    """
    assert headings(text) == [
        ("Title",),
        ("Title", "Sub"),
        ("Title", "Sub", "Closed"),
        ("Indented by two",),
    ]


def test_a_skipped_level_keeps_the_path_true() -> None:
    text = """
    # A
    a
    ### C
    c
    ## B
    b
    """
    assert headings(text) == [("A",), ("A", "C"), ("A", "B")]


def test_sections_without_text_of_their_own_are_left_out() -> None:
    assert headings("# A\n\n## B\n\ntext\n\n## C\n") == [("A", "B")]


def test_text_before_the_first_heading_goes_by_the_files_name(tmp_path: Path) -> None:
    first, second = sections(tmp_path, "Before.\n\n# After\n\nText.\n")

    assert first.content == "guide\n\nBefore."
    assert first.provenance.source == "file:guide.md"
    assert second.provenance.source == "file:guide.md#after"


def test_equal_headings_get_slugs_of_their_own(tmp_path: Path) -> None:
    found = sections(tmp_path, "# Setup\na\n# Setup\nb\n# Setup 1\nc\n# Setup\nd\n")

    keys = [memory.key for memory in found]
    assert len(set(keys)) == 4
    assert [str(key).rpartition("#")[2] for key in keys[:2]] == ["setup", "setup-1"]


def test_slugs_are_those_of_links(tmp_path: Path) -> None:
    (memory,) = sections(tmp_path, "## What's new in **v2.0**: `recall()` & [more](http://x)!\n\ntext\n")

    assert memory.provenance.source == "file:guide.md#whats-new-in-v20-recall--more"
    assert memory.metadata["headings"] == ["What's new in v2.0: recall() & more!"]


def test_front_matter_gives_title_tags_and_fields(tmp_path: Path) -> None:
    (memory,) = sections(
        tmp_path,
        """
        ---
        title: Night trains
        date: 2026-02-28
        tags: [travel, ana]
        rating: .nan
        ---
        Window seats.
        """,
    )

    assert memory.content == "Night trains\n\nWindow seats."
    assert memory.tags == ["travel", "ana"]
    assert memory.metadata["front_matter"] == {
        "title": "Night trains",
        "date": "2026-02-28",
        "tags": ["travel", "ana"],
        "rating": "nan",
    }


@pytest.mark.parametrize(
    "top",
    [
        "---\njust a line\n---\n",
        "---\na: [unclosed\n---\n",
        "---\na: &a [x, x]\nb: *a\n---\n",
        "---\ndate: 2026-13-45\n---\n",
        "---\n- a\n- list\n---\n",
        "---\nnever: closed\n",
        "---\n" + "[" * 5000 + "\n---\n",
        "---\n!!python/object/apply:os.system ['touch hacked']\n---\n",
    ],
    ids=["line", "broken", "alias", "date", "list", "open", "deep", "object"],
)
def test_what_only_looks_like_front_matter_stays_in_the_text(
    tmp_path: Path, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guide.md").write_text(f"{top}\n# Head\n\ntext\n")

    found = [record.memory for record in read(tmp_path) if record.memory is not None]

    assert found[-1].content.endswith("text")  # type: ignore[union-attr]
    assert all("front_matter" not in memory.metadata for memory in found)
    assert not list(tmp_path.rglob("hacked"))


def test_line_ends_of_other_systems_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_bytes(
        b"\xef\xbb\xbf---\r\ntitle: T\r\n---\r\n# A\r\n\r\na\r\n\r\n## B\r\n\r\nb\x0cb\r\n"
    )

    assert [record.memory.content for record in read(tmp_path) if record.memory] == ["A\n\na", "A > B\n\nb\x0cb"]


def test_tables_lists_and_code_stay_whole(tmp_path: Path) -> None:
    body = "| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n  - two\n\n```python\n\nx = 1\n\n```"
    (memory,) = sections(tmp_path, f"# T\n\n{body}\n")

    assert memory.content == f"T\n\n{body}"


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert sections(tmp_path, "") == []
    assert sections(tmp_path, "\n \n\t\n") == []


def test_a_file_that_is_not_text_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"caf\xe9")
    (tmp_path / "b.md").write_text("fine")

    bad, good = read(tmp_path)

    assert bad.memory is None
    assert bad.problem is not None
    assert "a.md: it is not UTF-8" in bad.problem.detail
    assert good.memory is not None


def test_hidden_folders_and_others_packages_are_left_out(tmp_path: Path) -> None:
    for folder in (".venv", "node_modules", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text(folder)

    assert [record.memory.content for record in read(tmp_path) if record.memory] == ["x\n\ndocs"]


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "own.md").write_text("own")
    (folder / "stolen.md").symlink_to(tmp_path / "secret.md")
    (folder / "up").symlink_to(tmp_path)
    (folder / "dangling.md").symlink_to(tmp_path / "nowhere.md")

    assert [record.memory.content for record in read(folder) if record.memory] == ["own\n\nown"]


def test_one_file_can_be_imported_alone(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\na")
    (tmp_path / "b.md").write_text("# B\n\nb")

    (record,) = open_importer(str(tmp_path / "a.md"), None, ImportOptions()).records()

    assert record.place == "a.md#a"


def test_very_long_paths_and_headings_stay_within_bounds_and_apart(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(4):
        folder /= "d" * 200
    folder.mkdir(parents=True)
    (folder / "x.md").write_text(f"# {'h' * 3000}a\n\none\n\n# {'h' * 3000}b\n\ntwo\n")

    first, second = (record.memory for record in read(tmp_path))

    assert first is not None
    assert second is not None
    assert first.key != second.key
    assert len(str(first.key)) <= 512


def test_keys_and_order_are_the_same_in_every_run(tmp_path: Path) -> None:
    for name in ("b.md", "a.md", "c.markdown"):
        (tmp_path / name).write_text(f"# {name}\n\ntext\n\n## more\n\ntext\n")

    first = [(record.place, record.memory) for record in read(tmp_path)]
    again = [(record.place, record.memory) for record in read(tmp_path)]

    assert first == again
    assert [place for place, _ in first] == [
        "a.md#amd", "a.md#more", "b.md#bmd", "b.md#more", "c.markdown#cmarkdown", "c.markdown#more",
    ]  # fmt: skip


def test_the_number_of_sections_is_estimated_without_parsing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\na\n\n## B\n\nb\n")

    assert open_importer(str(tmp_path), "markdown", ImportOptions()).count() == 2
