"""The fast runtime of the bundled model: OpenVINO, from an export that is made once and kept.

Settings, with their reasons in `docs/decisions.md`: one stream over all cores (latency hint), 8-bit integers or
bfloat16 where the processor is fast in them, dynamic shapes without padding to steps.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from recollect.embeddings import bundled
from recollect.embeddings.errors import ExportError, InferenceError
from recollect.embeddings.export_cache import (
    EXPORT_FORMAT,
    GRAPH,
    DamagedExportError,
    ExportFacts,
    discard_export,
    new_export,
    read_export,
)
from recollect.embeddings.openvino_library import import_openvino, inference_precision
from recollect.embeddings.openvino_shapes import FixedShapes
from recollect.embeddings.protocol import Agreement, EmbedderStatus, Vectors
from recollect.embeddings.quantization import GROUP_INPUTS
from recollect.embeddings.tokenization import WindowTokenizer

AGREEMENT_MEAN_MIN = 0.999
AGREEMENT_WORST_MIN = 0.995
INPUTS = ("input_ids", "attention_mask")
WINDOW_OVERLAP_TOKENS = 32
_EXPORT_DEADLINE_S = 600
_NAMES = {"int8": "openvino-int8", "bf16": "openvino-bf16", "f32": "openvino-fp32"}
_COMPUTED_IN: dict[str, dict[str, Any]] = {
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP_INPUTS},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "f32": {"INFERENCE_PRECISION_HINT": "f32"},
}

logger = logging.getLogger(__name__)


class OpenVinoRuntime:
    """The bundled model compiled from an export folder. A window is a list of token ids."""

    def __init__(
        self,
        folder: Path,
        *,
        precision: str,
        agreement: Agreement | None = None,
        threads: int | None = None,
        window_overlap_tokens: int = WINDOW_OVERLAP_TOKENS,
    ) -> None:
        """Compile the graph in `folder`.

        Raises:
            ExportError: OpenVINO cannot read or compile it.
        """
        openvino = import_openvino()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, **_COMPUTED_IN[precision]}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            graph = core.read_model(folder / GRAPH)
            compiled = core.compile_model(graph, "CPU", options)
        except RuntimeError as error:
            raise ExportError(f"OpenVINO cannot compile {folder / GRAPH}: {error}") from error
        self._request = compiled.create_infer_request()

        def compile_length(length: int) -> Any:
            of_length = graph.clone()
            of_length.reshape({name: [1, length] for name in INPUTS})
            return core.compile_model(of_length, "CPU", options).create_infer_request()

        self._fixed = FixedShapes(compile_length)
        self._tokenizer = window_tokenizer(window_overlap_tokens)
        self._status = EmbedderStatus(
            model_id=bundled.MODEL_ID,
            dimension=bundled.DIMENSION,
            runtime=_NAMES[precision],
            window_tokens=bundled.WINDOW_TOKENS,
            agreement=agreement,
            threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
        )

    @property
    def status(self) -> EmbedderStatus:
        """The facts about the model."""
        return self._status

    def windows(self, texts: Sequence[str], *, query: bool) -> list[list[list[int]]]:
        """Tokenise and cut texts; this model treats queries and documents alike."""
        del query
        return self._tokenizer.windows(texts)

    def infer(self, windows: Sequence[list[int]]) -> Vectors:
        """Compute one vector per window of token ids, padded to the longest of them, or to a length that is ready.

        Raises:
            InferenceError: OpenVINO failed.
        """
        request, longest = self._request, max(map(len, windows))
        if len(windows) == 1:
            request, longest = self._fixed.request_for(longest) or (request, longest)
        shape = (len(windows), longest)
        ids = np.zeros(shape, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        try:
            answer = request.infer(dict(zip(INPUTS, (ids, mask), strict=True)), share_inputs=True)
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed on a batch of shape {shape}: {error}") from error
        vectors: Vectors = answer[0]
        return vectors

    def close(self) -> None:
        """Free the compiled model."""
        self._fixed.close()
        del self._request


def window_tokenizer(overlap_tokens: int = WINDOW_OVERLAP_TOKENS) -> WindowTokenizer:
    """Return the tokenizer of the bundled model, which cuts texts into windows that share so many tokens."""
    return WindowTokenizer(
        bundled.model_folder() / "tokenizer.json", window_tokens=bundled.WINDOW_TOKENS, overlap_tokens=overlap_tokens
    )


def load_openvino_runtime(
    cache_folder: Path | None = None, *, threads: int | None = None, window_overlap_tokens: int = WINDOW_OVERLAP_TOKENS
) -> OpenVinoRuntime:
    """Bring up the bundled model in OpenVINO, exporting it first where the cache has no whole export of it.

    Args:
        cache_folder: Where exports are kept; None means the user's cache folder.
        threads: Threads of one inference; None lets OpenVINO take the cores it may use.
        window_overlap_tokens: What neighbouring windows of a long text share.

    Returns:
        A runtime whose vectors agree with float32.

    Raises:
        ModelNotFoundError: The package with the weights is missing.
        WeightsMismatchError: The weights are not the published ones.
        ExportError: It cannot be exported, kept or compiled, or does not agree with float32.
    """
    model_folder = bundled.model_folder()
    precision = inference_precision()
    folder = export_folder(cache_folder, precision)
    # Hashing leaves the interpreter free, so the library is imported meanwhile.
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(bundled.check_weights, model_folder)
        import_openvino()
        facts = _find_export(folder)
        checked.result()
    if facts is None:
        facts = _make_export(folder, precision)
    agreement = facts.agreement
    if agreement.cosine_mean < AGREEMENT_MEAN_MIN or agreement.cosine_worst < AGREEMENT_WORST_MIN:
        raise ExportError(
            f"the vectors of {_NAMES[precision]} do not agree with float32 on this machine: cosine "
            f"{agreement.cosine_mean:.5f} on average, {agreement.cosine_worst:.5f} at worst, where "
            f"{AGREEMENT_MEAN_MIN} and {AGREEMENT_WORST_MIN} are asked. Choose runtime = torch"
        )
    return OpenVinoRuntime(
        folder,
        precision=precision,
        agreement=agreement,
        threads=threads,
        window_overlap_tokens=window_overlap_tokens,
    )


def prepare_export(cache_folder: Path | None, precision: str) -> Path:
    """Make the export for a precision where it is not in the cache yet, whatever this processor computes in.

    Returns:
        Where it lies.

    Raises:
        ExportError: It cannot be made or kept.
    """
    folder = export_folder(cache_folder, precision)
    if _find_export(folder) is None:
        _make_export(folder, precision)
    return folder


def export_folder(cache_folder: Path | None, precision: str) -> Path:
    """Return where the export of the bundled model for this OpenVINO and precision lies, or would lie."""
    root = platformdirs.user_cache_path("recollect") if cache_folder is None else cache_folder
    version = metadata.version("openvino")
    key = f"{bundled.WEIGHTS_SHA256[:16]}-openvino-{version}-{precision}-{EXPORT_FORMAT}"
    return root / "models" / f"{bundled.MODEL_ID}-{key}"


def _find_export(folder: Path) -> ExportFacts | None:
    try:
        return read_export(folder)
    except DamagedExportError as error:
        logger.warning("the exported model is damaged and will be made anew: %s", error)
        discard_export(folder)
        return None


def _make_export(folder: Path, precision: str) -> ExportFacts:
    logger.info("exporting %s for OpenVINO into %s; this happens once", bundled.MODEL_ID, folder)
    with new_export(folder) as making:
        command = [sys.executable, "-m", "recollect.embeddings.export", str(making), precision]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, our own module, two arguments of our own
                command, capture_output=True, check=False, timeout=_EXPORT_DEADLINE_S, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"exporting the model took over {_EXPORT_DEADLINE_S} s and was stopped") from error
        if done.returncode != 0:
            tail = done.stderr.decode(errors="replace").strip()[-2000:]
            raise ExportError(f"exporting the model failed with exit status {done.returncode}: {tail}")
    facts = read_export(folder)
    if facts is None:
        raise ExportError(f"the export {folder} vanished as soon as it was made: is something cleaning the cache?")
    logger.info("exported: cosine to float32 %.5f at worst", facts.agreement.cosine_worst)
    return facts
