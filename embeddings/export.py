"""Makes the fast form of the bundled model: `python -m recollect.embeddings.export FOLDER PRECISION`.

It runs in a process of its own, because it needs torch and transformers, which would stay in the memory of a service
that never uses them again. It writes `model.xml`, `model.bin` and `export.json` into an empty folder.

The graph is traced from the same module that computes the float32 reference, with mean pooling (Reimers and Gurevych,
"Sentence-BERT", 2019) and normalisation inside it. Then both embed the built-in sentences, and the cosines between
their vectors are recorded beside the graph.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.embeddings import bundled
from recollect.embeddings.export_cache import GRAPH, write_facts
from recollect.embeddings.openvino_library import import_openvino
from recollect.embeddings.openvino_runtime import INPUTS, OpenVinoRuntime, window_tokenizer
from recollect.embeddings.protocol import Agreement, Vectors
from recollect.embeddings.quantization import quantize

_SHORT_TEXTS = (
    "",
    "Hi!",
    "Water boils at 100 degrees Celsius at sea level.",
    "The meeting was moved from Tuesday to Thursday afternoon.",
    "What did she say about the trip to Lisbon last spring?",
    "I'm allergic to peanuts, please remember that when you plan dinner.",
    "ERROR 2026-03-14T09:26:53Z worker[17]: connection reset by peer (attempt 3 of 5)",
    "def area(radius: float) -> float: return 3.14159 * radius ** 2",
    "Die Katze schläft auf dem warmen Fensterbrett, während es draußen schneit.",
    "La réunion aura lieu à neuf heures, sauf si le train est en retard.",
    "明日の朝、駅前の喫茶店で会いましょう。",
    "£1,250.75 was refunded on 3 March; 40 % of it is still outstanding…",
    "They adopted a shy grey dog named Pepper and, a year later, her brother Salt.",
    "🌧️ umbrella!! don't forget :)",
)
_LONG_TEXTS = (
    (
        "The old lighthouse keeper wrote down everything: the hour at which the fog came in, the ships that passed "
        "and whether they answered, what he ate, how far the oil had sunk in the lamp, and which of his knees hurt. "
        "When the light was made automatic, nobody asked for the books. His daughter kept them in a trunk for thirty "
        "years before a historian of the harbour read them and found, between the suppers and the knees, the only "
        "record of the night on which two trawlers collided without a witness."
    ),
    (
        "To make the dough, mix five hundred grams of flour with ten grams of salt and three grams of dried yeast, "
        "add three hundred and forty millilitres of lukewarm water, and stir until no dry flour is left. Cover it and "
        "wait half an hour; fold it four times over the next two hours; shape it, let it rise overnight in a cold "
        "place, and bake it in a covered pot at two hundred and forty degrees for thirty minutes, then uncovered for "
        "fifteen more."
    ),
    (
        "A transaction is durable when its effects outlive the process that made them. A write that has only reached "
        "the page cache survives the death of the process but not the loss of power; one that was synced survives "
        "both, provided that the directory entry was synced too. Group commit lets many transactions share one such "
        "sync: each waits a little longer, and all of them together pay for it once."
    ),
)


def built_in_texts() -> list[str]:
    """Return the sentences on which runtimes are compared: short, long, of several scripts, and beyond one window."""
    return [*_SHORT_TEXTS, *_LONG_TEXTS, " ".join(_LONG_TEXTS * 3), *(" ".join(_SHORT_TEXTS[1:n]) for n in range(3, 9))]


def agreement_between(vectors: Vectors, reference: Vectors) -> Agreement:
    """Compare two arrays of shape (texts, dimension), rows of length 1, row by row."""
    cosines = np.einsum("ij,ij->i", vectors.astype(np.float64), reference.astype(np.float64))
    return Agreement(cosine_mean=float(cosines.mean()), cosine_worst=float(cosines.min()), texts=len(cosines))


def trace_graph(model_folder: Path) -> tuple[Any, Any]:
    """Trace the model with pooling and normalisation.

    Args:
        model_folder: Of the bundled model.

    Returns:
        The torch module, and the OpenVINO model of it: inputs `input_ids` and `attention_mask`, int64 of shape
        (texts, tokens); output float32 of shape (texts, dimension), rows of length 1.
    """
    import torch  # noqa: PLC0415 - only an export needs it
    from transformers import AutoModel  # noqa: PLC0415 - only an export needs it

    class PooledEncoder(torch.nn.Module):
        def __init__(self, encoder: torch.nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, p=2.0, dim=1)

    # The fused attention operator: OpenVINO has a kernel for it, which is faster than the one it is made of.
    encoder = AutoModel.from_pretrained(model_folder, attn_implementation="sdpa", local_files_only=True)
    module = PooledEncoder(encoder).eval()
    # Uneven lengths, so that nothing of the mask is traced away as constant.
    example = {
        "input_ids": torch.ones((2, 8), dtype=torch.int64),
        "attention_mask": torch.tensor([[1] * 8, [1] * 5 + [0] * 3]),
    }
    from openvino.frontend import FrontEndManager  # noqa: PLC0415 - after import_openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415 - as above

    with torch.no_grad():
        decoder = TorchScriptPythonDecoder(module, example_input=example)
    frontend = FrontEndManager().load_by_framework("pytorch")
    return module, frontend.convert(frontend.load(decoder))


def export(folder: Path, precision: str) -> None:
    """Write the exported model and its facts into an empty folder.

    Args:
        folder: An empty folder.
        precision: `int8`, `bf16` or `f32`. The agreement is measured in it; for `bf16` the weights are in float32 too.

    Raises:
        WeightsMismatchError: The bundled weights are not the published ones.
        OSError: The folder cannot be written.
    """
    openvino = import_openvino()
    model_folder = bundled.model_folder()
    bundled.check_weights(model_folder)
    module, graph = trace_graph(model_folder)
    windows = [window for windows in window_tokenizer().windows(built_in_texts()) for window in windows]
    if precision == "int8":
        quantize(graph, [_alone(window) for window in windows])
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    runtime = OpenVinoRuntime(folder, precision=precision)
    vectors = runtime.infer(windows)
    write_facts(folder, agreement_between(vectors, _reference(module, windows)))


def _alone(window: list[int]) -> dict[str, NDArray[np.int64]]:
    ids = np.array([window], dtype=np.int64)
    return dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))


def _reference(module: Any, windows: list[list[int]]) -> Vectors:
    """Embed each window by itself in torch float32, so that padding cannot hide a fault of either side."""
    import torch  # noqa: PLC0415 - only an export needs it

    rows = []
    with torch.inference_mode():
        for window in windows:
            ids = torch.tensor([window])
            rows.append(module(ids, torch.ones_like(ids)).numpy())
    return np.concatenate(rows)


def main(arguments: list[str]) -> int:
    """Run an export as a program; what goes wrong is printed and exits 1."""
    folder, precision = arguments
    export(Path(folder), precision)
    return 0


if __name__ == "__main__":
    # The weights lie here, so no hub is asked; set before the libraries that read it are imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    sys.exit(main(sys.argv[1:]))
