"""What a write promises is what the store can keep."""

import pytest

from recollect.service import MemoryService, NewMemory, Revision

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("storage", "kept"),
    [
        ("file", "relaxed"),
        pytest.param("edge", "relaxed", marks=SLOW),
        pytest.param("server", "durable", marks=SLOW),  # a server logs every write before it answers
    ],
    indirect=["storage"],
)
async def test_a_write_that_may_be_relaxed_says_what_it_is(memory: MemoryService, kept: str) -> None:
    stored = await memory.remember(NewMemory(content="soon", durability="relaxed"))
    revised = await memory.revise(stored.id, Revision(content="sooner", durability="relaxed"))
    durable = await memory.remember(NewMemory(content="now"))
    await memory.save_all()
    assert (stored.durability, revised.durability, durable.durability) == (kept, kept, "durable")
    assert (await memory.retrieve(stored.id), await memory.retrieve(durable.id)) == ("sooner", "now")
