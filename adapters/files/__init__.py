"""Memories in plain files: SQLite as the truth, packs of vectors and of provenance beside it."""

from recollect.adapters.files.adapter import FileAdapter, from_url

__all__ = ["FileAdapter", "from_url"]
