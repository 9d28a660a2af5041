"""The names in points: fields of payloads, vectors, and which fields the engines index.

No name holds a character of the engines' path language.
"""

from recollect.adapters.clock import POSITION_MAX

HEAD = "head"
BODY = "body"
PROVENANCE = "provenance"
CHECKSUMS = "checksums"
"""CRC-32 of head, body, provenance, rows and terms, in this order."""

MEMORY = "memory"
BRANCH = "branch"
NUMBER = "number"
NAMESPACE = "namespace"
CLASS = "class"
"""`user`, `system`, `user-forgotten` or `system-forgotten`: by the namespace, and whether it is a tombstone."""

CURRENT = "current"
"""The class and the branch, while no later version of the memory lies on the branch; then empty."""

POSITION = "position"
UNTIL = "until"
"""The position at which the next version of the memory on the same branch was written; `NEVER` while there is none."""

FIRST = "first"
"""The position of the memory's first version on this branch."""

BRANCHES = "branches"
"""The branches on which the memory has versions, if there are several."""

FIRSTS = "firsts"
"""For each of `branches`, an object of `branch` and `first`."""

WINDOWED = "windowed"
"""`yes` where a version has several rows."""

TOKENS = "tokens"
LIVE = "live"
"""The common ones of the tokens again while the version is current, with the mark of its class and branch; then none.

One condition on these says both what a version equals and that it is seen. An engine that looks at one condition alone
need not look at each point that it finds a second time, which takes half of the time of a search.
"""

NUMBERS = "numbers"
IMPORTANCE = "importance"
CONFIDENCE = "confidence"
CREATED = "created"
UPDATED = "updated"
EXPIRES = "expires"

CHANGING = (CURRENT, UNTIL, BRANCHES, FIRSTS)
"""What later commits change of a point, and what stays when its version is erased; `LIVE` follows `CURRENT`."""

NEVER = POSITION_MAX + 1

KEYWORD_INDEXES = (NAMESPACE, CURRENT, CLASS, BRANCH, BRANCHES, WINDOWED, TOKENS)
"""The first is the one that divides a collection best: the tenant index of a server. `LIVE` is indexed only where reads
can be sure that what is current now is current for them, which is in one process."""

UUID_INDEXES = (MEMORY,)
NUMBER_INDEXES = (POSITION, UNTIL, CREATED, UPDATED, EXPIRES, IMPORTANCE, CONFIDENCE)

# --- The names of vectors ---

DENSE = "dense"
WINDOWS = "windows"
TERMS = "terms"


def current_on(branch: str, class_: str) -> str:
    """Return what `CURRENT` holds for a version of a class that is the last of its memory on a branch."""
    return f"{class_}/{branch}"
