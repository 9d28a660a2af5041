"""Any sentence-transformers model, in torch float32: the reference, and the road for every model but the bundled one.

A model's own prompts for queries and documents are applied (`encode_query`, `encode_document`).
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recollect.embeddings import bundled
from recollect.embeddings.errors import ModelLoadError, ModelNotFoundError
from recollect.embeddings.protocol import EmbedderStatus, Vectors

_WINDOW_TOKENS_WITHOUT_LIMIT = 512
"""For models that name no limit of their own: beyond that a vector says little about any part of the text."""


class TextWindow:
    """A piece of text that fits the model, how many tokens it has, and which of the model's prompts it takes."""

    __slots__ = ("query", "text", "tokens")

    def __init__(self, text: str, tokens: int, *, query: bool) -> None:
        self.text = text
        self.tokens = tokens
        self.query = query

    def __len__(self) -> int:
        return self.tokens


class SentenceTransformersRuntime:
    """A sentence-transformers model on this machine's processor."""

    def __init__(
        self, model: str, *, threads: int | None = None, window_overlap_tokens: int = 32, degraded: str | None = None
    ) -> None:
        """Load a model.

        Args:
            model: A folder, the bundled model's name, or a name that the library looks up in its own cache and, if it
                may, on the model hub.
            threads: Of torch, for this whole process; None leaves them as they are.
            window_overlap_tokens: What neighbouring windows of a long text share.
            degraded: Why this runtime stands in for a faster one, to be said in the status.

        Raises:
            ModelNotFoundError: There is no such model.
            ModelLoadError: It is there but cannot be loaded.
            WeightsMismatchError: It is the bundled model, with other weights than the published ones.
        """
        folder, model_id = _locate(model)
        self._model = _load(folder or model, local=folder is not None)
        import torch  # noqa: PLC0415 - only where a torch model is really loaded

        if threads is not None:
            torch.set_num_threads(threads)
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelLoadError(f"the model {model} does not say its dimension: it is no text embedding model")
        self._window_tokens = int(self._model.max_seq_length or _WINDOW_TOKENS_WITHOUT_LIMIT)
        self._overlap_tokens = min(window_overlap_tokens, self._window_tokens // 4)
        self._prompts = {query: self._prompt(query=query) for query in (True, False)}
        self._status = EmbedderStatus(
            model_id=model_id,
            dimension=int(dimension),
            runtime="torch-fp32",
            window_tokens=self._window_tokens,
            degraded=degraded,
            threads=torch.get_num_threads(),
        )

    @property
    def status(self) -> EmbedderStatus:
        """The facts about the model."""
        return self._status

    def windows(self, texts: Sequence[str], *, query: bool) -> list[list[TextWindow]]:
        """Cut texts where the model's tokenizer says that they are full, leaving room for the prompt."""
        prompt = self._prompts[query]
        room = self._window_tokens - 2 - len(self._offsets([prompt])[0] if prompt else ())
        room = max(room, self._window_tokens // 4)
        overlap = min(self._overlap_tokens, room // 4)
        cut = []
        for text, offsets in zip(texts, self._offsets(texts), strict=True):
            if len(offsets) <= room:
                cut.append([TextWindow(text, len(offsets) + 2, query=query)])
                continue
            starts = range(0, len(offsets) - overlap, room - overlap)
            ends = [min(start + room, len(offsets)) for start in starts]
            cut.append(
                [
                    TextWindow(text[offsets[start][0] : offsets[end - 1][1]], end - start + 2, query=query)
                    for start, end in zip(starts, ends, strict=True)
                ]
            )
        return cut

    def infer(self, windows: Sequence[TextWindow]) -> Vectors:
        """Encode the windows of one batch, which are all queries or all documents."""
        encode = self._model.encode_query if windows[0].query else self._model.encode_document
        vectors = encode(
            [window.text for window in windows],
            batch_size=len(windows),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def close(self) -> None:
        """Free the model."""
        del self._model

    def _prompt(self, *, query: bool) -> str:
        names = ("query",) if query else ("document", "passage", "corpus")
        prompts: dict[str, str] = self._model.prompts
        default = prompts.get(self._model.default_prompt_name or "", "")
        return next((prompts[name] for name in names if prompts.get(name)), default)

    def _offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return where each token begins and ends in its text, special tokens left out."""
        tokenizer = self._model.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            return [_estimated_offsets(text) for text in texts]
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        offsets: list[list[tuple[int, int]]] = encoded["offset_mapping"]
        return offsets


def _estimated_offsets(text: str) -> list[tuple[int, int]]:
    """Stand in for a tokenizer that tells no offsets: three characters to a token, which is fewer than usual."""
    return [(start, min(start + 3, len(text))) for start in range(0, len(text), 3)]


def _locate(model: str) -> tuple[Path | None, str]:
    """Return the folder of a model, None when it has to be looked up by name, and its model id."""
    if model in bundled.NAMES:
        folder = bundled.model_folder()
        bundled.check_weights(folder)
        return folder, bundled.MODEL_ID
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, f"{folder.resolve().name}-{_weights_hash(folder)[:12]}"
    if folder.is_absolute() or model.startswith((".", "~")):
        raise ModelNotFoundError(f"there is no model folder {folder}: give the folder that holds modules.json")
    return None, model


def _weights_hash(folder: Path) -> str:
    """Return a SHA-256 over the names and sums of all weight files below a model folder.

    Raises:
        ModelNotFoundError: There are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".bin", ".pt", ".npy"))
    if not files:
        raise ModelNotFoundError(
            f"the folder {folder} holds no weights (*.safetensors or *.bin): is it a model folder?"
        )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder)}\0{bundled.file_sha256(path)}\0".encode())
    return digest.hexdigest()


def _load(model: str | Path, *, local: bool) -> Any:
    # Read when the library is imported; nobody asked to be counted.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds, and only this runtime needs it
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415 - as above

    transformers_logging.disable_progress_bar()
    try:
        return SentenceTransformer(str(model), device="cpu", local_files_only=local)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:500]
        if not local and isinstance(error, OSError):
            raise ModelNotFoundError(
                f"the model {model} is neither a folder, nor in the local cache of models, nor could it be fetched "
                f"({reason}). Use the bundled {bundled.MODEL_ID}, or give the folder of a model"
            ) from error
        raise ModelLoadError(f"the model {model} cannot be loaded: {reason}") from error
