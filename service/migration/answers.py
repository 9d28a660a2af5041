"""What a migration says when it is done."""

from msgspec import Struct


class Copied(Struct, frozen=True, kw_only=True):
    """What was copied.

    Attributes:
        versions: How many versions were written into the target now.
        commits: In how many commits.
        erased: How many versions that the target held before were erased in it, because the source has erased them.
        note: What could not be done about the files in which their words may still be; None where they are clean.
        resumed_at: The position up to which the target held everything already; 0 for a new one.
        up_to: The position up to which it does now.
    """

    versions: int
    commits: int
    erased: int
    note: str | None
    resumed_at: int
    up_to: int


class Compared(Struct, frozen=True, kw_only=True):
    """What two stores both hold, up to a position.

    Attributes:
        versions: How many versions.
        commits: In how many commits.
        checksum: SHA-256 over all of them in the order of commits, with everything they hold; the same on both sides.
        up_to: The last position of the source, up to which both were compared.
        target_is_ahead: Whether the target has been written to since.
    """

    versions: int
    commits: int
    checksum: str
    up_to: int
    target_is_ahead: bool


class MigrationReport(Struct, frozen=True, kw_only=True):
    """What became of a migration.

    Attributes:
        source: Where the source is.
        target: Where the target is.
        model_id: The model that made the vectors of both.
        dimension: How many numbers each vector has.
        copied: What was written; None where the stores were compared only.
        compared: What both hold.
    """

    source: str
    target: str
    model_id: str
    dimension: int
    copied: Copied | None
    compared: Compared
