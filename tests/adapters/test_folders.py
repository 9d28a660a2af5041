"""A folder that holds a store of one kind is never taken for an empty one by another."""

from pathlib import Path

import pytest

from recollect.adapters.errors import StoreUnavailableError
from recollect.adapters.files import FileAdapter
from recollect.adapters.folders import kind_of
from recollect.adapters.qdrant.edge.adapter import EdgeAdapter
from recollect.adapters.testing.values import PROFILE

KINDS = {"edge": EdgeAdapter, "file": FileAdapter}


def names_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(("held", "asked"), [("edge", "file"), ("file", "edge")])
async def test_a_store_of_another_kind_is_refused_with_its_url_and_left_as_it_is(
    tmp_path: Path, held: str, asked: str
) -> None:
    store = KINDS[held](tmp_path)
    await store.open(PROFILE)
    await store.close()
    before = names_in(tmp_path)

    with pytest.raises(StoreUnavailableError, match=f"open it as {held}:{tmp_path}, or copy it") as refused:
        await KINDS[asked](tmp_path).open(PROFILE)

    assert f"migrate-store {held}:{tmp_path} {asked}:" in str(refused.value)
    assert names_in(tmp_path) == before
    assert kind_of(tmp_path) == held


def test_a_folder_without_a_store_is_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert kind_of(tmp_path) is None
    assert kind_of(tmp_path / "nowhere") is None
