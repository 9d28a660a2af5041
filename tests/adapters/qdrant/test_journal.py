"""The journal gives back what was acknowledged, drops what was never finished, and tells the one from the other."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from recollect.adapters.errors import StoreDamagedError
from recollect.adapters.qdrant.edge.journal import Journal, Record


def record(number: int) -> Record:
    return Record(number, number.to_bytes(16), b"content %d" % number)


def opened(folder: Path) -> tuple[Journal, list[int]]:
    journal = Journal(folder)
    return journal, [found.position for found, _ in journal.replay()]


def write(folder: Path, *groups: Iterable[int], synced: bool = True) -> None:
    """Write groups of records, each with one append and one sync."""
    journal, _ = opened(folder)
    for group in groups:
        journal.append([record(number) for number in group])
        if synced:
            journal.sync()
    journal.close()


def newest(folder: Path) -> Path:
    return max(folder.glob("*.journal"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def positions(folder: Path) -> list[int]:
    journal, found = opened(folder)
    journal.close()
    return found


def test_records_come_back_in_order_with_their_content_and_token(tmp_path: Path) -> None:
    write(tmp_path, [1, 2], [3])
    write(tmp_path, [4])
    journal = Journal(tmp_path)
    found = [item for item, _ in journal.replay()]
    journal.close()
    assert [(item.position, item.token, item.content) for item in found] == [
        (number, number.to_bytes(16), b"content %d" % number) for number in (1, 2, 3, 4)
    ]


@pytest.mark.requirement("B7")
@pytest.mark.parametrize("cut_bytes", [1, 10, 40, 52])
def test_a_record_that_was_never_finished_is_dropped_and_the_journal_goes_on(tmp_path: Path, cut_bytes: int) -> None:
    write(tmp_path, [1], [2])
    write(tmp_path, [3], synced=False)
    path = newest(tmp_path)
    os.truncate(path, path.stat().st_size - cut_bytes)
    assert positions(tmp_path) == [1, 2]
    write(tmp_path, [4])
    assert positions(tmp_path) == [1, 2, 4]


def test_a_hole_in_a_group_that_was_never_synced_is_no_damage(tmp_path: Path) -> None:
    write(tmp_path, [1])
    end = newest(tmp_path).stat().st_size
    write(tmp_path, [2, 3], synced=False)
    flip(newest(tmp_path), end + 50)
    assert positions(tmp_path) == [1]


@pytest.mark.requirement("B11")
@pytest.mark.parametrize("at", [70, 90, 110, 130])
def test_a_damaged_record_before_acknowledged_ones_is_named(tmp_path: Path, at: int) -> None:
    write(tmp_path, [1], [2], [3])
    flip(newest(tmp_path), at)
    with pytest.raises(StoreDamagedError, match="journal is damaged") as caught:
        positions(tmp_path)
    assert str(newest(tmp_path)) in caught.value.place


def test_damage_to_the_last_acknowledged_record_is_named_too(tmp_path: Path) -> None:
    write(tmp_path, [1], [2])
    flip(newest(tmp_path), newest(tmp_path).stat().st_size - 1)
    with pytest.raises(StoreDamagedError, match="journal is damaged"):
        positions(tmp_path)


def test_a_journal_that_lost_its_end_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, [1], [2])
    os.truncate(newest(tmp_path), newest(tmp_path).stat().st_size - 1)
    with pytest.raises(StoreDamagedError, match="journal is damaged"):
        positions(tmp_path)


def test_segments_are_read_one_after_the_other_and_cut_from_the_front(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for number in (1, 2, 3):
        journal.append([record(number)])
        journal.begin_segment()
    journal.close()
    assert positions(tmp_path) == [1, 2, 3]
    journal, _ = opened(tmp_path)
    journal.cut(3)
    journal.close()
    assert positions(tmp_path) == [3]


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    for number in (1, 2, 3):
        journal.append([record(number)])
        journal.begin_segment()
    journal.close()
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    with pytest.raises(StoreDamagedError, match="missing"):
        positions(tmp_path)


@pytest.mark.parametrize("length", [0, 7, 35])
def test_a_segment_whose_making_was_cut_off_is_made_again(tmp_path: Path, length: int) -> None:
    write(tmp_path, [1])
    (tmp_path / "0000000000000002.journal").write_bytes(newest(tmp_path).read_bytes()[:length])
    write(tmp_path, [2])
    assert positions(tmp_path) == [1, 2]


def test_text_that_looks_like_a_record_is_not_taken_for_one(tmp_path: Path) -> None:
    forger, _ = opened(tmp_path / "other")
    forger.append([record(9)])
    forger.close()
    forged = newest(tmp_path / "other").read_bytes()
    journal, _ = opened(tmp_path / "real")
    journal.append([Record(1, bytes(16), b"")])
    journal.sync()
    journal.append([Record(2, bytes(16), forged)])
    journal.close()
    path = newest(tmp_path / "real")
    os.truncate(path, path.stat().st_size - 1)
    assert positions(tmp_path / "real") == [1]
