"""A whole migration: copied, compared, and copied again where the source erases something in between."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.files import FileAdapter
from recollect.adapters.port import ProvenanceStorageAdapter
from recollect.adapters.testing.values import PROFILE, a_commit, a_version, memory_id
from recollect.adapters.versions import VersionRef
from recollect.service.errors import ErasedMeanwhileError
from recollect.service.migration import running
from recollect.service.migration.comparing import Advance, compare_stores
from recollect.service.migration.running import COPIES_MAX, migrate_store


def show_nothing(_what: str, _versions: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda _count: None)


def erase_before_comparing(patch: pytest.MonkeyPatch, times: int) -> None:
    """Have the source erase one more memory before each of the first comparisons."""
    left = iter(range(1, times + 1))

    async def compare(source: ProvenanceStorageAdapter, *others: Any, **more: Any) -> Any:
        if (number := next(left, None)) is not None:
            await source.commit(a_commit(a_version(90 + number), erases=(VersionRef(memory_id(number), "main", 1),)))
        return await compare_stores(source, *others, **more)

    patch.setattr(running, "compare_stores", compare)


@pytest.fixture
async def urls(tmp_path: Path) -> tuple[str, str]:
    source = FileAdapter(tmp_path / "source")
    await source.open(PROFILE)
    for number in range(1, 6):
        await source.commit(a_commit(a_version(number)))
    await source.close()
    return f"file:{tmp_path / 'source'}", f"file:{tmp_path / 'target'}"


async def test_what_is_erased_before_the_comparison_is_erased_in_the_target_too(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    erase_before_comparing(monkeypatch, COPIES_MAX - 1)

    report = await migrate_store(*urls, show_nothing)

    assert report.copied is not None
    assert (report.copied.versions, report.copied.erased, report.copied.resumed_at) == (7, 2, 0)
    assert report.compared.versions == 7


async def test_a_source_that_goes_on_erasing_is_told(urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    erase_before_comparing(monkeypatch, COPIES_MAX)

    with pytest.raises(ErasedMeanwhileError, match="copy again"):
        await migrate_store(*urls, show_nothing)
