"""From settings to an embedder that is ready to answer."""

import logging
from typing import Any

from recollect.embeddings import bundled
from recollect.embeddings.batching import BatchingEmbedder
from recollect.embeddings.caching import QueryCachingEmbedder
from recollect.embeddings.errors import ExportError, ModelLoadError, ModelNotFoundError
from recollect.embeddings.hashing import HashRuntime
from recollect.embeddings.protocol import Embedder, Runtime
from recollect.embeddings.settings import EmbedderSettings

logger = logging.getLogger(__name__)


def create_embedder(spec: EmbedderSettings | str = bundled.MODEL_ID) -> Embedder:
    """Bring up an embedder. It may take seconds, so call it in a thread where an event loop runs.

    Args:
        spec: All settings, or just the model as in `EmbedderSettings.model`.

    Returns:
        An embedder whose model is loaded and has answered or is about to; close it with `aclose()`.

    Raises:
        ModelNotFoundError: There is no such model.
        WeightsMismatchError: The bundled weights are not the published ones.
        ModelLoadError: The model cannot be loaded, or `runtime` was asked of a model that has it not.
        EmbeddingServiceError: The endpoint does not answer with embeddings.
    """
    settings = EmbedderSettings(model=spec) if isinstance(spec, str) else spec
    embedder: Embedder
    if settings.model.startswith(("http://", "https://")):
        # Only here, because an embedder with a model of its own needs no HTTP client.
        from recollect.embeddings.openai_compatible import OpenAICompatibleEmbedder  # noqa: PLC0415 - see above

        embedder = OpenAICompatibleEmbedder(settings)
    else:
        embedder = BatchingEmbedder(
            _runtime(settings),
            batch_tokens_max=settings.batch_tokens_max,
            queue_texts_max=settings.queue_texts_max,
        )
    status = embedder.describe()
    logger.info("embedding with %s by %s, dimension %d", status.model_id, status.runtime, status.dimension)
    if settings.query_cache_entries:
        embedder = QueryCachingEmbedder(embedder, entries_max=settings.query_cache_entries)
    return embedder


def _runtime(settings: EmbedderSettings) -> Runtime[Any]:
    name, _, parameter = settings.model.partition(":")
    if name == "hash":
        if settings.model == "hash":
            return HashRuntime()
        if not (parameter.isascii() and parameter.isdigit()):
            raise ModelNotFoundError(f"{settings.model!r} is no model: write hash or hash:DIMENSION, such as hash:64")
        return HashRuntime(int(parameter))
    if settings.model not in bundled.NAMES:
        if settings.runtime == "openvino":
            raise ModelLoadError(f"OpenVINO runs {bundled.MODEL_ID} only: choose runtime = auto for {settings.model}")
        return _torch(settings)
    if settings.runtime == "torch":
        return _torch(settings)
    return _fast(settings)


def _fast(settings: EmbedderSettings) -> Runtime[Any]:
    """Return the bundled model in OpenVINO; if that may not be had and need not, in torch, saying why."""
    # Only here, because no other runtime needs OpenVINO's modules.
    from recollect.embeddings.openvino_runtime import load_openvino_runtime  # noqa: PLC0415 - see above

    try:
        return load_openvino_runtime(
            settings.cache_folder,
            threads=settings.threads,
            window_overlap_tokens=settings.window_overlap_tokens,
        )
    except ExportError as error:
        if settings.runtime == "openvino":
            raise
        logger.warning("falling back to the slower torch runtime: %s", error)
        return _torch(settings, degraded=f"torch runs instead of OpenVINO, about four times slower: {error}")


def _torch(settings: EmbedderSettings, *, degraded: str | None = None) -> Runtime[Any]:
    # Only here, because torch takes seconds to import and hundreds of megabytes.
    from recollect.embeddings.sentence_transformers_runtime import SentenceTransformersRuntime  # noqa: PLC0415 - see above

    try:
        return SentenceTransformersRuntime(
            settings.model,
            threads=settings.threads,
            window_overlap_tokens=settings.window_overlap_tokens,
            degraded=degraded,
        )
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{settings.model} needs the package {error.name}, which is not installed: pip install "
            "sentence-transformers; for the container image, build it with --build-arg TORCH=keep"
        ) from error
