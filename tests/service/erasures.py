"""What the tests of erasures share."""

from pathlib import Path

from recollect.service import MemoryService, NewMemory, ProvenanceInput
from recollect.service.erasure.answers import Erased
from recollect.service.erasure.requests import ErasureRequest

MARK = "quokka"
"""A word that is looked for after it was erased."""


async def erase(memory: MemoryService, request: ErasureRequest) -> Erased:
    """Plan an erasure and carry it out."""
    plan = await memory.erasure.plan(request)
    return await memory.erasure.erase(request.model_copy(update={"confirm": plan.digest}))


async def store(memory: MemoryService, content: str, **provenance: object) -> str:
    """Store a memory and return its id."""
    given = ProvenanceInput.model_validate(provenance)
    return (await memory.remember(NewMemory(content=content, provenance=given))).id


def folder_of(storage: str) -> Path:
    """Return where a store lies, by its URL."""
    return Path(storage.partition(":")[2])
