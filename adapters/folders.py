"""Which kind of store lies in a folder, told by a file that each kind has from its beginning.

A backend refuses to make a store in the folder of another kind: what is there would look lost.
"""

from pathlib import Path

from recollect.adapters.errors import StoreUnavailableError

MARKS = {"edge": "store.json", "file": "catalog.sqlite3"}
"""By the scheme of its URL, the file that tells a store."""

_CALLED = {"edge": "a store of the embedded engine", "file": "a file store"}


def kind_of(folder: Path) -> str | None:
    """Return the scheme that opens the store in a folder; None if there is none."""
    return next((scheme for scheme, name in MARKS.items() if (folder / name).exists()), None)


def refuse_other_kind(folder: Path, scheme: str) -> None:
    """Raise if the store in a folder is not of the kind that a scheme stands for.

    Raises:
        StoreUnavailableError: It is of another kind; the message names the URL that opens it, and how to copy it.
    """
    found = kind_of(folder)
    if found not in {None, scheme}:
        raise StoreUnavailableError(
            f"{folder} holds {_CALLED[found]}: open it as {found}:{folder}, or copy it into another folder by "
            f"`recollect migrate-store {found}:{folder} {scheme}:OTHER_FOLDER`"
        )
