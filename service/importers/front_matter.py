"""Front matter: the YAML block between `---` lines at the top of a Markdown file."""

import math
import re
from datetime import date, datetime
from typing import Any

import yaml

CHARACTERS_MAX = 65_536

_BLOCK = re.compile(r"---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """Reads plain YAML, without aliases: a few of them can stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases, and read everything else."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read in front matter")
        return super().compose_node(parent, index)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split a document into its front matter and the rest.

    Args:
        text: The document, with LF line ends.

    Returns:
        The front matter as JSON values, and the text below it. Where the top is no front matter (no block, no
        mapping, no YAML) an empty mapping and the whole text, so that nothing is lost.
    """
    found = _BLOCK.match(text, 0, min(len(text), CHARACTERS_MAX))
    if found is None:
        return {}, text
    try:
        document = yaml.load(found[1] or "", Loader=_Loader)  # noqa: S506 - the loader is a safe one
        mapping = _json_value(document)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return {}, text
    return (mapping, text[found.end() :]) if isinstance(mapping, dict) else ({}, text)


def _json_value(value: Any) -> Any:
    """Return a YAML value as JSON knows it: times as text, keys as text, no NaN."""
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
