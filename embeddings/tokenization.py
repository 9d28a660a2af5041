"""Texts to windows of token ids, by the tokenizer that came with the weights."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from recollect.embeddings.errors import ModelLoadError

TokenIds = list[int]


class WindowTokenizer:
    """Cuts texts into overlapping windows of token ids, special tokens included, so that nothing is truncated."""

    def __init__(self, path: Path, *, window_tokens: int, overlap_tokens: int) -> None:
        """Load `tokenizer.json`.

        Raises:
            ModelLoadError: It cannot be read, or the overlap leaves a window nothing new.
        """
        if overlap_tokens > window_tokens // 2:
            raise ModelLoadError(
                f"window_overlap_tokens is {overlap_tokens}, but half of the model's {window_tokens} tokens is the most"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise ModelLoadError(f"the tokenizer {path} cannot be read: {error}. Reinstall the model") from error
        # The file asks for padding and truncation of its own, which would cut what we window.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window_tokens, stride=overlap_tokens)
        self._window_tokens = window_tokens

    def windows(self, texts: Sequence[str]) -> list[list[TokenIds]]:
        """Return the windows of each text, at least one, in the text's order."""
        cut: list[list[TokenIds]] = []
        for encoding in self._tokenizer.encode_batch_fast(texts):
            ids = encoding.ids
            # Only a full window can have more behind it, and asking copies them.
            if len(ids) == self._window_tokens:
                cut.append([ids, *(more.ids for more in encoding.overflowing)])
            else:
                cut.append([ids])
        return cut
