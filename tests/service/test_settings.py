"""One place for settings: the model, the options of `serve`, and the table in the documents agree."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recollect.service.cli.main import app
from recollect.service.cli.settings_table import BEGIN, END, SETTINGS_OPTIONS, settings_table, with_table
from recollect.service.settings import CONFIG_VARIABLE, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RECOLLECT_{name.upper()}", raising=False)


def serve_help() -> str:
    answer = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "500", "NO_COLOR": "1"})
    assert answer.exit_code == 0
    return " ".join(answer.output.replace("│", " ").split())


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_serve_has_an_option_for_each_setting_and_says_the_same_of_it(name: str) -> None:
    field = Settings.model_fields[name]
    default = SETTINGS_OPTIONS.default_text(name, field)
    said = serve_help()

    assert f"{SETTINGS_OPTIONS.flag(name)} " in said
    words = f"{field.description} (environment: RECOLLECT_{name.upper()})".replace("`", "")
    assert " ".join(words.split()) + (f" [default: {default}]" if default else "") in said


def test_the_table_in_the_documents_is_that_of_the_code() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written.partition(BEGIN)[2].partition(END)[0].strip() == settings_table(), (
        "run `python -m recollect.service.cli.settings_table docs/settings.md`"
    )


def test_the_table_has_a_row_for_each_setting_with_its_default() -> None:
    rows = settings_table().splitlines()[2:]

    assert len(rows) == len(Settings.model_fields)
    assert "| `--port` | `RECOLLECT_PORT` | integer | `8300` | The port that" in "\n".join(rows)
    assert "| `auto`, `openvino`, `torch` | `auto` |" in "\n".join(rows)


def test_writing_the_table_twice_changes_nothing() -> None:
    once = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    assert with_table(once) == once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        with_table("nothing here")


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_options_win_over_the_environment_which_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    file = tmp_path / f"settings.{suffix}"
    sign = "=" if suffix == "toml" else ":"
    file.write_text(f'host{sign} "from-file"\nport{sign} 1111\nlog_level{sign} "error"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("RECOLLECT_PORT", "2222")
    monkeypatch.setenv("RECOLLECT_LOG_LEVEL", "warning")

    settings = Settings(log_level="debug")

    assert (settings.host, settings.port, settings.log_level) == ("from-file", 2222, "debug")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "99999"], "port"),
        (["--port", "many"], "port"),
        (["--preset", "loud"], "preset"),
        (["--heartbeat-s", "60"], "heartbeat_s"),
        (["--config", "/nowhere/settings.toml"], "which is no file"),
        (["--prot", "1"], "No such option"),
    ],
)
def test_a_wrong_setting_stops_serve_with_its_name_and_the_code_for_wrong_usage(
    arguments: list[str], told: str
) -> None:
    answer = CliRunner().invoke(app, ["serve", *arguments], env={"COLUMNS": "300", CONFIG_VARIABLE: None})

    assert answer.exit_code == 2
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_unknown_name_in_the_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))

    answer = CliRunner().invoke(app, ["serve"])

    assert answer.exit_code == 2
    assert "prot" in answer.stderr
