"""Any other sentence-transformers model, by its folder or its name."""

import json
from pathlib import Path

import pytest

from recollect.embeddings import EmbedderSettings, ModelLoadError, ModelNotFoundError, create_embedder
from recollect.embeddings.bundled import model_folder

PROMPTS = {"prompts": {"query": "question about trains: ", "document": "passage: "}, "default_prompt_name": None}


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """Return a model folder with prompts of its own and the bundled weights."""
    folder = tmp_path / "my-own-model"
    folder.mkdir()
    for path in model_folder().iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "config_sentence_transformers.json").unlink()
    (folder / "config_sentence_transformers.json").write_text(json.dumps(PROMPTS))
    return folder


async def test_a_folder_is_loaded_and_named_by_its_name_and_weights(own_model: Path) -> None:
    embedder = create_embedder(str(own_model))
    name, _, digest = embedder.model_id.rpartition("-")
    assert name == "my-own-model"
    assert len(bytes.fromhex(digest)) == 6
    assert embedder.dimension == 384
    assert embedder.describe().runtime == "torch-fp32"
    await embedder.aclose()


async def test_the_prompts_of_a_model_are_put_before_queries_and_documents(own_model: Path) -> None:
    prompted = create_embedder(str(own_model))
    plain = create_embedder(EmbedderSettings(runtime="torch"))
    query = await prompted.embed_query("night service")
    document = (await prompted.embed_documents(["night service"]))[0][0]
    assert float(query @ await plain.embed_query("question about trains: night service")) > 0.9999
    assert float(document @ await plain.embed_query("passage: night service")) > 0.9999
    await prompted.aclose()
    await plain.aclose()


async def test_windows_leave_room_for_the_prompt(own_model: Path) -> None:
    embedder = create_embedder(str(own_model))
    words = 600
    windows = (await embedder.embed_documents(["word " * words]))[0]
    # 256 tokens less two special ones and the prompt's two, of which 32 are shared.
    assert len(windows) == -(-(words - 32) // (252 - 32))
    await embedder.aclose()


@pytest.mark.parametrize("name", ["/no/such/folder", "./nor-here", "~/nor-there"])
def test_a_folder_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no model folder"):
        create_embedder(name)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="holds no weights"):
        create_embedder(str(tmp_path))


def test_a_name_nobody_knows_names_the_bundled_model_as_remedy() -> None:
    with pytest.raises(ModelNotFoundError, match=r"neither a folder.*Use the bundled all-MiniLM-L6-v2"):
        create_embedder("nobody/knows-this-model")


def test_the_fast_runtime_is_not_offered_for_other_models(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="OpenVINO runs all-MiniLM-L6-v2 only"):
        create_embedder(EmbedderSettings(model=str(tmp_path), runtime="openvino"))
