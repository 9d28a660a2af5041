"""Provenance records of older schemas, upgraded when they are read. What is stored stays as it was written.

A step leads from one schema to the next, so that a record of any age is upgraded by all the steps after it. To change
the schema: raise `SCHEMA_VERSION`, add the step from the schema before, and name the new one in the records that are
written; a record that names none is of the first.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from recollect.adapters.versions import SCHEMA_VERSION, Provenance

Document = dict[str, Any]
Upgrade = Callable[[Document], Document]

FIRST_SCHEMA_VERSION = 1
UPGRADES: Mapping[int, Upgrade] = {}
"""For each schema but the newest, the step that leads from it to the next. There is one schema so far."""

_RECORDS = msgspec.json.Decoder(list[Provenance | None])


def read_records(
    data: bytes | str, *, upgrades: Mapping[int, Upgrade] = UPGRADES, newest: int = SCHEMA_VERSION
) -> list[Provenance | None]:
    """Decode a JSON list of provenance records, and upgrade those of older schemas.

    Args:
        data: The list; a record may be `null`.
        upgrades: The steps from each schema to the next.
        newest: The schema to end at.

    Returns:
        The records in their order. One of a newer schema is read as far as it is known.

    Raises:
        msgspec.ValidationError: One is not a record of its schema.
    """
    if newest == FIRST_SCHEMA_VERSION:
        return _RECORDS.decode(data)  # there is nothing older, and decoding once is what most reads cost
    documents = msgspec.json.decode(data, type=list[Document | None])
    return [None if document is None else _upgraded(document, upgrades, newest) for document in documents]


def _upgraded(document: Document, upgrades: Mapping[int, Upgrade], newest: int) -> Provenance:
    schema = document.get("schema_version", FIRST_SCHEMA_VERSION)
    for step in range(schema, newest):
        document = upgrades[step](document)
    return msgspec.convert({**document, "schema_version": max(schema, newest)}, Provenance)
