"""Provenance of older schemas is upgraded when it is read."""

import msgspec
import pytest

from recollect.adapters.upgrades import UPGRADES, Document, read_records
from recollect.adapters.versions import SCHEMA_VERSION, Action, Provenance

pytestmark = pytest.mark.requirement("A15")
RECORD = Provenance(action=Action.CREATED, actor="ana", time_ms=7, source="message:1", confidence=0.5)


def name_the_actor(record: Document) -> Document:
    return {**record, "actor": record.pop("author")}


def split_the_time(record: Document) -> Document:
    return {**record, "time_ms": record.pop("seconds") * 1000}


STEPS = {1: name_the_actor, 2: split_the_time}


def test_a_record_of_the_newest_schema_is_read_as_it_is() -> None:
    assert read_records(msgspec.json.encode([RECORD, None])) == [RECORD, None]


def test_there_is_a_step_from_every_schema_but_the_newest() -> None:
    assert sorted(UPGRADES) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize(
    "stored",
    [
        {"action": "created", "author": "ana", "seconds": 3, "source": "message:1"},
        {"action": "created", "actor": "ana", "seconds": 3, "source": "message:1", "schema_version": 2},
        {"action": "created", "actor": "ana", "time_ms": 3000, "source": "message:1", "schema_version": 3},
    ],
)
def test_an_older_record_goes_through_every_step_after_it(stored: Document) -> None:
    (record,) = read_records(msgspec.json.encode([stored]), upgrades=STEPS, newest=3)
    assert record == Provenance(action=Action.CREATED, actor="ana", time_ms=3000, source="message:1", schema_version=3)


def test_records_of_all_ages_stand_side_by_side() -> None:
    old = {"action": "created", "author": "ben", "seconds": 1}
    new = {"action": "revised", "actor": "eve", "time_ms": 2, "schema_version": 3}
    records = read_records(msgspec.json.encode([old, None, new]), upgrades=STEPS, newest=3)
    assert [record and (record.actor, record.time_ms) for record in records] == [("ben", 1000), None, ("eve", 2)]


def test_a_record_of_a_newer_schema_is_read_as_far_as_it_is_known() -> None:
    newer = {"action": "created", "actor": "ana", "time_ms": 7, "schema_version": 9, "mood": "good"}
    for newest in (1, 2):
        (record,) = read_records(msgspec.json.encode([newer]), upgrades=STEPS, newest=newest)
        assert record == Provenance(action=Action.CREATED, actor="ana", time_ms=7, schema_version=9)


def test_what_is_no_record_of_its_schema_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        read_records(b'[{"action": "created"}]')
