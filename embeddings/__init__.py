"""Text to vectors: models, runtimes, batching, sparse terms.

    create_embedder()           settings to an embedder
    Embedder                    what callers hold (protocol.py)
      QueryCachingEmbedder        remembers query vectors, in front of any embedder
      BatchingEmbedder            one bounded queue, over any synchronous runtime
        OpenVinoRuntime             the bundled model, fast
        SentenceTransformersRuntime any model, float32
        HashRuntime                 no model; for tests
      OpenAICompatibleEmbedder    an endpoint
    sparse_terms()              the words of a text, weighted as in BM25

Importing this package imports no model library; creating an embedder imports the one it needs.
"""

from recollect.embeddings.batching import BatchingEmbedder
from recollect.embeddings.caching import QueryCachingEmbedder
from recollect.embeddings.errors import (
    EmbedderBusyError,
    EmbedderClosedError,
    EmbeddingError,
    EmbeddingServiceError,
    EmbeddingServiceTimeoutError,
    ExportError,
    InferenceError,
    ModelLoadError,
    ModelNotFoundError,
    WeightsMismatchError,
)
from recollect.embeddings.factory import create_embedder
from recollect.embeddings.hashing import HashEmbedder
from recollect.embeddings.protocol import Agreement, Embedder, EmbedderStatus, Runtime
from recollect.embeddings.settings import EmbedderSettings
from recollect.embeddings.sparse import sparse_query_terms, sparse_terms

__all__ = [
    "Agreement",
    "BatchingEmbedder",
    "Embedder",
    "EmbedderBusyError",
    "EmbedderClosedError",
    "EmbedderSettings",
    "EmbedderStatus",
    "EmbeddingError",
    "EmbeddingServiceError",
    "EmbeddingServiceTimeoutError",
    "ExportError",
    "HashEmbedder",
    "InferenceError",
    "ModelLoadError",
    "ModelNotFoundError",
    "QueryCachingEmbedder",
    "Runtime",
    "WeightsMismatchError",
    "create_embedder",
    "sparse_query_terms",
    "sparse_terms",
]
