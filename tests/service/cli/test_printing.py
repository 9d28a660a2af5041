"""What people see: tables, panels and paragraphs that stored text cannot steer."""

from typing import TYPE_CHECKING

import pytest

from recollect.service.cli.printing import one_line, printable

if TYPE_CHECKING:
    from tests.service.cli.conftest import Cli

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202egnp.exe \x00 \x9b1m"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


def test_stored_text_cannot_steer_a_terminal() -> None:
    shown = printable(HOSTILE)

    assert not any(character in shown for character in "\x1b\x07\x00\x9b\u202e")
    assert "[bold]markup[/bold]" in shown
    assert printable("line one\r\nline two\ttab") == "line one\nline two\ttab"
    assert one_line(" a\n b\u2028c ") == "a b c"


@pytest.mark.parametrize("command", ["get", "list", "history", "recall"])
def test_no_command_lets_stored_text_through_unseen(cli: "Cli", namespace: str, command: str) -> None:
    text = HOSTILE.replace("\x00", "")
    stored = cli.json(
        "remember", text, "--summary", text, "--namespace", namespace, "--key", text, "--tag", text, "--actor", text,
        "--source", text, "--note", text, "--track-provenance",
    )  # fmt: skip
    arguments = {
        "get": ["get", stored["id"], "--view", "full", "--include", "provenance"],
        "list": ["list", "--namespace", namespace],
        "history": ["history", stored["id"]],
        "recall": ["recall", "red", "--namespace", namespace, "--view", "full", "--include", "provenance"],
    }[command]

    shown = cli.run(*arguments).output

    assert "[bold]markup[/bold]" in shown
    assert not any(character in shown for character in "\x1b\x07\x9b\u202e")


def test_a_write_says_what_became_of_it(cli: "Cli", namespace: str) -> None:
    shown = cli.run("remember", "text", "--namespace", namespace).stdout

    assert shown.startswith("created  ")
    assert f"version 1  {namespace} on main" in shown


def test_a_memory_is_shown_with_its_content_and_where_it_came_from(cli: "Cli", namespace: str) -> None:
    stored = cli.json(
        "remember", "Window seats.", "--namespace", namespace, "--metadata", '{"trip": 7}', "--actor", "ana",
        "--source", "message:1", "--note", "said so", "--track-provenance", "--tag", "travel",
    )  # fmt: skip

    shown = cli.run("get", stored["id"], "--view", "full", "--include", "provenance").stdout

    for words in (stored["id"], "Window seats.", '"trip": 7', "created by ana", "message:1", "said so", "travel"):
        assert words in shown


def test_a_recall_shows_score_summary_and_id_best_first(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", "night trains to Rome", "--namespace", namespace)
    cli.json("remember", "bread", "--namespace", namespace)

    result = cli.run("recall", "night trains to Rome", "--namespace", namespace, "--explain")

    first = result.stdout.splitlines()[0]
    assert first.split()[:2] == ["1", "1.000"]
    assert first.endswith("night trains to Rome")
    assert stored["id"] in result.stdout.splitlines()[1]
    assert "dense 1.000" in result.stdout
    assert "2 found in" in result.stderr


def test_a_history_shows_who_did_what(cli: "Cli", namespace: str) -> None:
    stored = cli.json("remember", "old", "--namespace", namespace, "--actor", "ana")
    cli.json("revise", stored["id"], "new", "--actor", "ben")
    cli.json("forget", stored["id"], "--actor", "eve")

    rows = [row.split() for row in cli.run("history", stored["id"]).stdout.splitlines()[1:]]

    # version, "on", branch, day, time, action, actor
    assert [row[5:7] for row in rows] == [["forgotten", "eve"], ["revised", "ben"], ["created", "ana"]]


def test_a_list_shows_whole_ids_and_how_to_go_on(cli: "Cli", namespace: str) -> None:
    stored = [cli.json("remember", f"memory {number}", "--namespace", namespace)["id"] for number in range(3)]

    result = cli.run("list", "--namespace", namespace, "--limit", "2")

    assert stored[2] in result.stdout
    assert stored[0] not in result.stdout
    assert "there are more: --cursor " in result.stderr


def test_the_status_is_shown_in_words(cli: "Cli") -> None:
    shown = cli.run("status").stdout

    assert "healthy" in shown
    assert "memories" in shown


def test_an_error_is_one_paragraph_on_standard_error(cli: "Cli") -> None:
    result = cli.run("get", "--key", "none", exit_code=3)

    assert result.stdout == ""
    assert result.stderr.startswith("error: there is no memory with the key 'none'")
    assert len(result.stderr.splitlines()) == 1
