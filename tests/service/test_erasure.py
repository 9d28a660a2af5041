"""What is erased is gone everywhere: versions, branches, what was made of it, receipts, and the bytes of every file."""

import pytest

from recollect.adapters.port import Projection, Scan
from recollect.service import MemoryService, NewMemory, ProvenanceInput, ReadOptions, Revision, SearchRequest
from recollect.service.branching.requests import NewBranch
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.errors import ErasureNotFoundError, InvalidInputError, MemoryNotFoundError, PlanChangedError
from recollect.service.namespaces import SYSTEM_NAMESPACES
from tests.leftovers import files_that_hold
from tests.service.erasures import MARK, erase, folder_of, store

FULL = ReadOptions(view="full", include_provenance=True)
FULL_PROJECTION = Projection(content=True)


@pytest.mark.requirement("A1")
@pytest.mark.parametrize("storage", ["file", "edge"], indirect=True)
async def test_nothing_of_an_erased_memory_is_left_in_any_file_of_the_store(
    memory: MemoryService, storage: str
) -> None:
    source, note = ProvenanceInput(actor=f"{MARK} actor", source=f"message:{MARK}", note=f"{MARK} note"), MARK
    stored = await memory.remember(
        NewMemory(
            content=f"a {MARK} lives here",
            summary=f"{MARK}!",
            tags=[MARK],
            key=f"{MARK}/1",
            metadata={"note": note},
            provenance=source,
        )
    )
    await memory.revise(stored.id, Revision(content=f"two {MARK}s live here", provenance=source))
    await memory.branches.create(NewBranch(name="draft"))
    await memory.revise(stored.id, Revision(content=f"three {MARK}s", branch="draft", provenance=source))
    kept = await store(memory, "something else")
    await memory.search(SearchRequest(text=f"where does the {MARK} live"))
    done = await erase(memory, ErasureRequest(ids=[stored.id]))

    assert (done.receipt.versions, done.receipt.memories, done.compacted) == (3, 1, True)
    assert files_that_hold(folder_of(storage), MARK.encode()) == []
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id)
    with pytest.raises(MemoryNotFoundError):
        await memory.get(stored.id, ReadOptions(as_of=stored.position))
    assert [hit.id for hit in (await memory.search(SearchRequest(text=MARK))).hits] == [kept]
    history = (await memory.history(stored.id, FULL)).items
    assert [(one.forgotten, one.summary, one.key) for one in history] == [(True, "", None)] * 2


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ErasureRequest(source="document:9#1"), {"from page one"}),
        (ErasureRequest(document="9"), {"from page one", "from page two"}),
        (ErasureRequest(document="document:9"), {"from page one", "from page two"}),
        (ErasureRequest(actor="mallory"), {"from mallory"}),
        (ErasureRequest(session="s1"), {"said in the session"}),
        (ErasureRequest(filters={"source": "document:90"}), {"from another document"}),
    ],
    ids=["source", "document", "document_with_scheme", "actor", "session", "filter"],
)
async def test_each_way_to_name_what_to_erase_takes_exactly_that(
    memory: MemoryService, request_: ErasureRequest, expected: set[str]
) -> None:
    await store(memory, "from page one", source="document:9#1")
    await store(memory, "from page two", source="document:9#2")
    await store(memory, "from another document", source="document:90")
    await store(memory, "from mallory", actor="mallory")
    await store(memory, "said in the session", source="session:s1")
    plan = await memory.erasure.plan(request_)
    assert {item.summary for item in plan.items} == expected
    done = await erase(memory, request_)
    assert done.receipt.versions == len(expected)
    left = await memory.search(SearchRequest(text="from", limit=10))
    assert {hit.summary for hit in left.hits}.isdisjoint(expected)
    assert len(left.hits) == 5 - len(expected)


async def test_a_bad_revision_goes_with_what_went_on_from_it_and_the_one_before_stays(memory: MemoryService) -> None:
    stored = await store(memory, "the good text", actor="ana")
    await memory.revise(stored, Revision(content="the bad text", provenance=ProvenanceInput(actor="mallory")))
    await memory.revise(stored, Revision(tags=["later"], provenance=ProvenanceInput(actor="ana")))
    plan = await memory.erasure.plan(ErasureRequest(actor="mallory"))
    assert [(item.version, item.reason) for item in plan.items] == [(2, "named"), (3, "revision")]
    await erase(memory, ErasureRequest(actor="mallory"))
    history = (await memory.history(stored, FULL)).items
    assert [(one.version, one.forgotten) for one in history] == [(3, True), (2, True), (1, False)]


@pytest.mark.parametrize("policy", ["keep", "flag", "erase"])
async def test_what_was_made_of_it_is_kept_flagged_or_erased_as_asked(memory: MemoryService, policy: str) -> None:
    root = await store(memory, "the bad root", source="message:1")
    child = await store(memory, "made of the root", derived_from=[root])
    grandchild = await store(memory, "made of that", derived_from=[child])
    request = ErasureRequest.model_validate({"source": "message:1", "derived": policy})
    plan = await memory.erasure.plan(request)
    assert plan.derived == 2
    done = await erase(memory, request)
    assert done.receipt.versions == (3 if policy == "erase" else 1)
    for memory_id in (child, grandchild):
        if policy == "erase":
            with pytest.raises(MemoryNotFoundError):
                await memory.get(memory_id)
        else:
            assert ("source-erased" in (await memory.get(memory_id)).tags) == (policy == "flag")


async def test_only_the_confirmed_plan_is_carried_out(memory: MemoryService) -> None:
    await store(memory, "one", source="message:1")
    request = ErasureRequest(source="message:1")
    plan = await memory.erasure.plan(request)
    with pytest.raises(InvalidInputError, match="confirm"):
        await memory.erasure.erase(request)
    await store(memory, "two", source="message:1")
    with pytest.raises(PlanChangedError) as caught:
        await memory.erasure.erase(request.model_copy(update={"confirm": plan.digest}))
    assert caught.value.found == {"digest": (await memory.erasure.plan(request)).digest}
    assert len((await memory.search(SearchRequest(text="one"))).hits) == 2


async def test_a_receipt_holds_digests_only_and_can_be_read_again(memory: MemoryService) -> None:
    stored = await store(memory, f"a {MARK}", source=f"message:{MARK}", actor=MARK)
    done = await erase(memory, ErasureRequest(source=f"message:{MARK}", requested_by="officer"))
    assert await memory.erasure.receipts() == [done.receipt]
    assert await memory.erasure.receipt(done.receipt.id) == done.receipt
    assert done.receipt.requested_by == "officer"
    assert len(done.receipt.version_digests) == 1
    assert stored not in str(done.receipt)
    assert MARK not in str(done.receipt)
    with pytest.raises(ErasureNotFoundError):
        await memory.erasure.receipt(stored)


async def test_receipts_and_relations_no_longer_name_an_erased_memory(memory: MemoryService) -> None:
    stored, other = await store(memory, "erased"), await store(memory, "kept")
    await memory.search(SearchRequest(text="erased"))
    await erase(memory, ErasureRequest(ids=[stored]))
    names = tuple(name for name in SYSTEM_NAMESPACES if name not in ("_lineage", "_erasures"))
    scan = Scan(read_point=None, namespaces=names, projection=FULL_PROJECTION)
    held = [version async for batch in memory._store.scan(scan) for version in batch]
    assert all(stored not in f"{version.tags} {version.content}" for version in held)
    assert any(other in version.tags for version in held)


async def test_what_was_erased_can_be_stored_and_erased_again(memory: MemoryService, storage: str) -> None:
    for _ in range(2):
        await memory.remember(NewMemory(content=f"a {MARK}", key="k", provenance=ProvenanceInput(source="message:1")))
        assert len((await memory.search(SearchRequest(text=MARK))).hits) == 1
        done = await erase(memory, ErasureRequest(source="message:1"))
        assert done.receipt.versions == 1
        assert files_that_hold(folder_of(storage), MARK.encode()) == []
    nothing = await erase(memory, ErasureRequest(source="message:1"))
    assert (nothing.receipt.versions, nothing.compacted) == (0, True)
