"""Vectors of real sentences: what an index finds of them is what a user gets, and is unlike what it finds of noise.

The sentences are the 117,659 glosses of WordNet 3.0, which Debian has as `wordnet-base` (`apt-get install
wordnet-base`) and any copy of WordNet's `dict` folder holds as `data.adj`, `data.adv`, `data.noun` and `data.verb`.
They are embedded once with the bundled model, in minutes, and kept in a file.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recollect.adapters.versions import Vector
from recollect.embeddings import create_embedder

FOLDER = Path("/usr/share/wordnet")
PARTS = ("adj", "adv", "noun", "verb")
BATCH_TEXTS = 4_096


def glosses(folder: Path) -> Iterator[str]:
    """Yield the glosses of WordNet: a definition each, often with an example."""
    for part in PARTS:
        with (folder / f"data.{part}").open(encoding="utf-8") as lines:
            for line in lines:
                # The licence stands first, indented; a synset's gloss follows the bar.
                if not line.startswith(" "):
                    yield line.partition("|")[2].strip()


def real_vectors(folder: Path, cache: Path) -> Vector:
    """Return the vectors of all glosses, shape (glosses, dimension), float32, in an order mixed once and for all.

    Args:
        folder: WordNet's.
        cache: Where the vectors are kept between runs.

    Raises:
        OSError: WordNet is not there.
    """
    texts = [text for text in glosses(folder) if text]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    path = cache / f"wordnet-{digest[:16]}.npy"
    if path.exists():
        rows: Vector = np.load(path)
        return rows
    order = np.random.default_rng(0).permutation(len(texts)).tolist()
    rows = asyncio.run(_embedded([texts[at] for at in order]))
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.npy")
    np.save(unfinished, rows)
    unfinished.rename(path)
    return rows


async def _embedded(texts: list[str]) -> Vector:
    embedder = create_embedder()
    parts: list[Vector] = []
    for start in range(0, len(texts), BATCH_TEXTS):
        rows = await embedder.embed_documents(texts[start : start + BATCH_TEXTS])
        # A gloss that is longer than the model's window has several rows; its first stands for it.
        parts.append(np.concatenate([some[:1] for some in rows]))
    await embedder.aclose()
    return np.concatenate(parts)
