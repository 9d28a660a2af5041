"""Makes the fast form of the bundled model ahead of time: `python -m recollect.embeddings.prepare CACHE_FOLDER`.

An image that is built this way needs neither torch nor transformers to run, and its first start is as fast as any. It
makes all precisions, because the processor that builds an image is not the one that runs it. The agreement with float32
that each is told with is the one measured here.
"""

import sys
from pathlib import Path

from recollect.embeddings import bundled
from recollect.embeddings.openvino_runtime import prepare_export

PRECISIONS = ("int8", "bf16", "f32")


def main(folder: Path) -> None:
    """Make what a processor of any kind will look for in the cache.

    Raises:
        EmbeddingError: The weights are not the published ones, or cannot be exported.
    """
    bundled.check_weights(bundled.model_folder())
    for precision in PRECISIONS:
        prepare_export(folder, precision)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
