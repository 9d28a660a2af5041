"""Forgetting: a version without content marks that the memory is gone on its branch."""

import msgspec

from recollect.adapters.clock import now_ms
from recollect.adapters.port import Put
from recollect.adapters.versions import Action, Provenance, Version

SYSTEM_ACTOR = "recollect"
QUARANTINED_TAG = "quarantined"
"""The tag of a tombstone that hides a memory only until its quarantine is released."""


def tombstone(current: Version, *, branch: str, provenance: Provenance | None = None, note: str | None = None) -> Put:
    """Return the write that forgets a memory on a branch.

    Args:
        current: The version that is visible there.
        branch: Where it is forgotten.
        provenance: Who forgets it and why; the system itself if not given.
        note: Why the system does.
    """
    now = now_ms()
    record = provenance or Provenance(action=Action.FORGOTTEN, actor=SYSTEM_ACTOR, time_ms=now, note=note)
    version = msgspec.structs.replace(
        current,
        branch=branch,
        number=current.number + 1,
        position=0,
        summary="",
        tags=(),
        updated_at_ms=now,
        expires_at_ms=None,
        content_hash="",
        actor=record.actor,
        source=record.source,
        forgotten=True,
        content="",
        metadata={},
        provenance=record,
        vectors=None,
        sparse=None,
    )
    return Put(version, supersedes=current.ref)
