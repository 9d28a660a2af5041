"""Who wrote each sentence of a memory last, and what changed from one version to the next."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher, unified_diff

import msgspec

from recollect.adapters.versions import Version, VersionRef
from recollect.service.presenting import JSON_TYPE
from recollect.service.provenance.derivations import merged_into

CONTEXT_LINES = 2
_SENTENCE_END = re.compile(r"(?<=[.!?…])(?=\s)|(?<=[。！？])|(?<=\n)")  # noqa: RUF001
Blame = list[tuple[str, VersionRef]]
"""Sentences, each with the version that brought it."""


def sentences_of(version: Version) -> list[str]:
    """Return the sentences of a text, or the lines of a JSON content, without white space around them."""
    text = version.content or ""
    if version.content_type == JSON_TYPE:
        return msgspec.json.format(text, indent=2).splitlines()
    return [sentence for part in _SENTENCE_END.split(text) if (sentence := " ".join(part.split()))]


def blame(line: Sequence[Version], before: Mapping[VersionRef, VersionRef | None], wanted: VersionRef) -> Blame:
    """Return who brought each sentence of a version.

    A sentence keeps its version as long as it stands in the text, word for word. A version that was merged from others
    takes over what those say of their own sentences.

    Args:
        line: All versions of the memory, on all branches, oldest first, with content and provenance.
        before: The version that each took the place of.
        wanted: The version to explain.
    """
    known: dict[VersionRef, Blame] = {}
    for version in line:
        earlier = before[version.ref]
        kept = [] if earlier is None else known.get(earlier, [])
        merged = [item for ref in merged_into(version) for item in known.get(ref, [])]
        known[version.ref] = _carried(version, kept, merged)
    return known.get(wanted, [])


def _carried(version: Version, before: Blame, merged: Blame) -> Blame:
    sentences = sentences_of(version)
    brought = dict(reversed(merged))  # where a sentence stands twice, the first counts
    carried = [(sentence, brought.get(sentence, version.ref)) for sentence in sentences]
    matcher = SequenceMatcher(None, [sentence for sentence, _ in before], sentences, autojunk=False)
    for at, here, size in matcher.get_matching_blocks():
        carried[here : here + size] = before[at : at + size]
    return carried


def changes(before: Version | None, after: Version) -> list[str]:
    """Return what changed in the content as lines of a unified diff, a sentence a line; empty if nothing did."""
    old = [] if before is None else sentences_of(before)
    lines = unified_diff(old, sentences_of(after), lineterm="", n=CONTEXT_LINES)
    return list(lines)[2:]
