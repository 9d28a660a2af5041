"""What the service answers about erasing."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Reason = Literal["named", "revision", "derived"]


class PlannedVersion(Struct, frozen=True, kw_only=True):
    """One version that would go, or stay flagged."""

    id: Annotated[str, Meta(description="The memory.")]
    version: Annotated[int, Meta(description="Its number.")]
    branch: Annotated[str, Meta(description="The branch that it was written on.")]
    namespace: Annotated[str, Meta(description="Where it lives.")]
    reason: Annotated[Reason, Meta(description="Named by the request, a later version of such, or derived from such.")]
    summary: Annotated[str, Meta(description="What it says, in a few words.")]


class ErasurePlan(Struct, frozen=True, kw_only=True):
    """What an erasure would do. Send its digest as `confirm` to do it."""

    digest: Annotated[str, Meta(description="Stands for exactly this plan.")]
    versions: Annotated[int, Meta(description="How many versions would be erased, on all branches.")]
    memories: Annotated[int, Meta(description="How many memories they belong to.")]
    derived: Annotated[int, Meta(description="How many versions of other memories were made of them.")]
    records: Annotated[
        int,
        Meta(description="How many records of the system that name them would go or be cleaned: receipts and such."),
    ]
    policy: Annotated[Literal["keep", "flag", "erase"], Meta(description="What becomes of what was derived.")]
    items: Annotated[list[PlannedVersion], Meta(description="The first thousand versions, those that are derived too.")]


class ErasureReceipt(Struct, frozen=True, kw_only=True):
    """That an erasure happened. It holds digests and numbers, and nothing of what was erased."""

    id: Annotated[str, Meta(description="The receipt's id.")]
    time: Annotated[datetime, Meta(tz=True, description="When.")]
    requested_by: Annotated[str, Meta(description="Who asked for it.")]
    plan_digest: Annotated[str, Meta(description="The plan that was carried out.")]
    request_digest: Annotated[str, Meta(description="SHA-256 of what was asked for.")]
    policy: Annotated[Literal["keep", "flag", "erase"], Meta(description="What became of what was derived.")]
    versions: Annotated[int, Meta(description="How many versions were erased.")]
    memories: Annotated[int, Meta(description="How many memories they belonged to.")]
    flagged: Annotated[int, Meta(description="How many derived memories were flagged.")]
    records: Annotated[int, Meta(description="How many records of the system were erased or cleaned.")]
    version_digests: Annotated[
        list[str], Meta(description="SHA-256 of each version's name, `id/branch/version`, sorted.")
    ]
    position: Annotated[int, Meta(description="The commit's place in the order.")] = 0


class Erased(Struct, frozen=True, kw_only=True):
    """What an erasure did."""

    receipt: Annotated[ErasureReceipt, Meta(description="The receipt, which is kept.")]
    compacted: Annotated[
        bool,
        Meta(description="Whether no byte is left in the store's files; false: it goes on, or `note` says why not."),
    ]
    note: Annotated[str | None, Meta(description="Why the files could not be cleaned yet, and what to do.")] = None


class ErasuresAnswer(Struct, frozen=True, kw_only=True):
    """Receipts of erasures, newest first."""

    items: Annotated[list[ErasureReceipt], Meta(description="The receipts.")]
