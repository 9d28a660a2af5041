"""Does a store's folder still hold what was erased?"""

from pathlib import Path


def files_that_hold(folder: Path, *wanted: bytes) -> list[str]:
    """Return the names of a folder's files, of which there is at least one, that hold one of these bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [path.name for path in paths if any(part in path.read_bytes() for part in wanted)]
