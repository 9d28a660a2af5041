"""The settings as options and as a table, both made from `Settings`, so that they cannot disagree with it.

    python -m recollect.service.cli.settings_table docs/settings.md

writes the table anew between its marks.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from recollect.service.cli.options import OptionsOf, inner_type, shape_of
from recollect.service.settings import Settings

BEGIN = "<!-- settings -->"
END = "<!-- /settings -->"

SETTINGS_OPTIONS = OptionsOf(
    model=Settings,
    environment="RECOLLECT_",
    defaults={"storage": "the user's data folder"},
)
_SHAPES = {"flag": "true or false", "many": "text, repeated", "integer": "integer", "number": "number", "text": "text"}


def settings_table() -> str:
    """Return the table of all settings in Markdown, in the order of `Settings`."""
    return "\n".join(
        [
            "| option | environment | takes | default | what it says |",
            "|---|---|---|---|---|",
            *_rows(),
        ]
    )


def _rows() -> Iterator[str]:
    for name, field in SETTINGS_OPTIONS.fields():
        default = SETTINGS_OPTIONS.default_text(name, field)
        cells = (
            f"`{SETTINGS_OPTIONS.flag(name)}`",
            f"`RECOLLECT_{name.upper()}`",
            _takes(field.annotation),
            f"`{default}`" if default and name not in SETTINGS_OPTIONS.defaults else default or "",
            (field.description or "").replace("|", r"\|"),
        )
        yield f"| {' | '.join(cells)} |"


def _takes(annotation: Any) -> str:
    shape = shape_of(annotation)
    if shape == "choice":
        return ", ".join(f"`{choice}`" for choice in get_args(inner_type(annotation)))
    return _SHAPES[shape]


def with_table(document: str) -> str:
    """Return a document with the table between its marks.

    Raises:
        ValueError: The document has no marks.
    """
    written, count = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}",
        lambda _: f"{BEGIN}\n{settings_table()}\n{END}",
        document,
        count=1,
        flags=re.DOTALL,
    )
    if not count:
        raise ValueError(f"the document has no place for the table; mark it by {BEGIN} and {END}")
    return written


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
