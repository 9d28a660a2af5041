"""The cache folder of an exported model: found whole and unharmed, or not at all.

One folder per export, named by everything that decides its content:

    model-KEY/
        model.xml        the graph (OpenVINO intermediate representation)
        model.bin        its weights, float32 or (precision int8) 8-bit integers
        export.json      format, SHA-256 of both files, and the agreement measured

It is made in a folder beside it, every file and folder synced, and renamed into place, so that a name that exists is a
whole export, whatever died when. Of two processes that export at once the first to rename wins and the other takes
that one.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from recollect.embeddings.bundled import file_sha256
from recollect.embeddings.errors import ExportError
from recollect.embeddings.protocol import Agreement

EXPORT_FORMAT = 1
GRAPH = "model.xml"
WEIGHTS = "model.bin"
FACTS = "export.json"
_ABANDONED_AFTER_S = 3600
"""Far beyond the time any export may take, so that no living one is swept away."""


class ExportFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `export.json` holds.

    Attributes:
        format: `EXPORT_FORMAT` of the writer.
        sha256: By file name, in hexadecimal.
        agreement: With the float32 reference, at the precision that the export's key names.
    """

    format: int
    sha256: dict[str, str]
    agreement: Agreement


class DamagedExportError(ExportError):
    """An export is there, but not as it was written."""


def read_export(folder: Path) -> ExportFacts | None:
    """Read the facts of an export and check every byte of it.

    Args:
        folder: Where it lies.

    Returns:
        Its facts, or None when there is no such folder.

    Raises:
        DamagedExportError: A file is missing, unreadable, or differs from its checksum; it says which.
    """
    try:
        facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=ExportFacts)
        if facts.format != EXPORT_FORMAT or set(facts.sha256) != {GRAPH, WEIGHTS}:
            raise DamagedExportError(f"{folder / FACTS} is of another format")
        # Two threads, because hashing leaves the interpreter free and is most of the work.
        with ThreadPoolExecutor(2) as pool:
            found = dict(
                zip(facts.sha256, pool.map(lambda name: file_sha256(folder / name), facts.sha256), strict=True)
            )
    except (OSError, msgspec.MsgspecError) as error:
        if not folder.exists():
            return None
        raise DamagedExportError(f"{folder} cannot be read: {error}") from error
    for name, expected in facts.sha256.items():
        if found[name] != expected:
            raise DamagedExportError(f"{folder / name} has SHA-256 {found[name]}, expected {expected}")
    return facts


def write_facts(folder: Path, agreement: Agreement) -> None:
    """Write `export.json` for the graph and weights that already lie in the folder.

    Raises:
        OSError: A file cannot be read or written.
    """
    sums = {name: file_sha256(folder / name) for name in (GRAPH, WEIGHTS)}
    facts = ExportFacts(format=EXPORT_FORMAT, sha256=sums, agreement=agreement)
    (folder / FACTS).write_bytes(msgspec.json.format(msgspec.json.encode(facts)))


@contextmanager
def new_export(folder: Path) -> Iterator[Path]:
    """Give a fresh folder to write an export into, and put it in place when the block ends well.

    Args:
        folder: Where the export shall lie.

    Yields:
        An empty folder on the same file system.

    Raises:
        ExportError: The cache folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ExportError(
            f"the model cache {folder.parent} cannot be written: {error}. Set another cache_folder"
        ) from error
    try:
        yield making
        _sync_and_rename(making, folder)
    except OSError as error:
        raise ExportError(
            f"the model cache {folder.parent} cannot be written: {error}. Set another cache_folder"
        ) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def discard_export(folder: Path) -> None:
    """Move an export out of its place in one step, then delete it.

    Raises:
        ExportError: The cache folder cannot be written.
    """
    try:
        grave = Path(tempfile.mkdtemp(prefix=f".{folder.name}-damaged-", dir=folder.parent))
        try:
            folder.rename(grave / folder.name)
        except FileNotFoundError:
            pass  # another process has moved it first, which is what was wanted
        finally:
            shutil.rmtree(grave, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"the damaged export {folder} cannot be removed: {error}. Delete it by hand") from error


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"the model cache {folder} cannot be written: {error}. Set another cache_folder")


def _sweep(folder: Path) -> None:
    """Delete what exports left behind that were killed before they could clean up."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        try:
            forgotten = time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S
        except FileNotFoundError:
            continue  # its own process has just removed or renamed it
        if forgotten:
            shutil.rmtree(left, ignore_errors=True)


def _sync_and_rename(making: Path, folder: Path) -> None:
    for path in making.iterdir():
        _sync(path)
    _sync(making)
    making.chmod(0o755)
    try:
        making.rename(folder)
    except OSError:
        # A folder that is not empty stands there: another process was first with the same export.
        if not (folder / FACTS).is_file():
            raise
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
