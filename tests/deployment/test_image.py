"""The image runs as nobody in particular, holds what a service needs, and says how it is."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from recollect.embeddings import ModelLoadError, bundled, create_embedder
from recollect.embeddings.prepare import PRECISIONS
from recollect.service import Settings

Instructions = list[tuple[str, str]]


def arguments_of(instructions: Instructions, name: str) -> list[str]:
    return [argument for other, argument in instructions if other == name]


@pytest.mark.requirement("F7")
def test_it_is_built_in_one_stage_and_run_in_another_on_the_same_python(instructions: Instructions) -> None:
    assert arguments_of(instructions, "FROM") == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    [python] = [one for one in arguments_of(instructions, "ARG") if one.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-[a-z]+", python)
    last = [name for name, _ in instructions[instructions.index(("FROM", "python:${PYTHON}")) :]]
    assert last.count("RUN") == 1  # nothing is installed there


def test_it_runs_without_rights(instructions: Instructions) -> None:
    assert arguments_of(instructions, "USER") == ["10001:10001"]
    assert any("--uid 10001" in command for command in arguments_of(instructions, "RUN"))


def test_what_is_copied_is_there_and_goes_to_the_builder(root: Path, instructions: Instructions) -> None:
    copied = [
        word
        for argument in arguments_of(instructions, "COPY")
        if not argument.startswith("--from")
        for word in argument.split()[:-1]
    ]
    lines = (root / ".dockerignore").read_text().splitlines()

    assert lines[1] == "*"
    assert sorted(copied) == sorted(line[1:] for line in lines if line.startswith("!"))
    assert all((root / name).exists() for name in copied)


def test_every_variable_is_a_setting_of_the_product(
    instructions: Instructions, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = dict(re.findall(r"(RECOLLECT_\w+)=(\S+)", " ".join(arguments_of(instructions, "ENV"))))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    settings = Settings()
    assert {f"RECOLLECT_{name.upper()}" for name in settings.model_fields_set} >= set(variables)
    assert [str(settings.port)] == arguments_of(instructions, "EXPOSE")
    assert [str(Path(settings.storage.partition(":")[2]).parent)] == arguments_of(instructions, "VOLUME")


def test_the_image_is_named_after_the_version(root: Path) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]

    assert f"image: recollect:{version}\n" in (root / "docker-compose.yml").read_text()


def test_the_model_is_made_ready_for_either_kind_of_processor_where_the_service_looks(
    instructions: Instructions,
) -> None:
    [folder] = re.findall(r"RECOLLECT_CACHE_FOLDER=(\S+)", " ".join(arguments_of(instructions, "ENV")))

    assert any(f"recollect.embeddings.prepare {folder}" in command for command in arguments_of(instructions, "RUN"))
    assert set(PRECISIONS) == {"int8", "bf16", "f32"}


def test_what_is_taken_out_is_what_only_other_models_need(instructions: Instructions) -> None:
    [command] = [one for one in arguments_of(instructions, "RUN") if "uninstall --yes torch" in one]
    removed = command.partition("uninstall --yes ")[2].partition(";")[0].split()

    assert all(metadata.version(name) for name in removed)
    assert not {"openvino", "tokenizers", "numpy", bundled.PACKAGE} & set(removed)


def test_a_model_whose_library_was_taken_out_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for path in bundled.model_folder().iterdir():
        (tmp_path / path.name).symlink_to(path)

    with pytest.raises(ModelLoadError, match=r"pip install sentence-transformers.*TORCH=keep"):
        create_embedder(str(tmp_path))


def test_its_health_is_that_the_service_is_ready(instructions: Instructions) -> None:
    [check] = arguments_of(instructions, "HEALTHCHECK")

    assert "/readyz" in check
    assert "RECOLLECT_PORT" in check
