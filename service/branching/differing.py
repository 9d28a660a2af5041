"""The difference between two branches, streamed, and the log of one."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from difflib import unified_diff

from recollect.adapters.clock import POSITION_MAX, position_ms
from recollect.adapters.port import FULL, SUMMARY, BranchSpan, Scan
from recollect.adapters.versions import Version
from recollect.service.answers import VersionName
from recollect.service.branches import existing
from recollect.service.branching import answers, records
from recollect.service.branching.states import FIRST_MEMORIES, beyond, bounds_of, same, states, written
from recollect.service.parts import Parts
from recollect.service.presenting import moment, name_of

TEXT_CHARS_MAX = 200_000
"""Longer texts are not compared line by line: that may take as long as their lengths multiplied."""


class Differing:
    """The use cases of comparing branches."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def diff(
        self, first: str, second: str, *, text: bool = False, as_of: datetime | int | None = None
    ) -> AsyncGenerator[answers.DiffFrame, None]:
        """Stream what the second branch holds otherwise than the first, ended by one `DiffEndFrame`.

        Only what was written since one was forked from the other, or both from a third, is looked at.

        Args:
            first: The state that is compared with.
            second: The state that is compared.
            text: Whether to compare the contents line by line too.
            as_of: As of when to read both; now if not given.

        Raises:
            BranchNotFoundError: One of them is not there; before the first frame.
        """
        store = self._parts.store
        with self._parts.telemetry.operation("diff") as operation:
            before, after = [await self._spans(name, as_of) for name in (first, second)]
            segments = (*beyond(after, bounds_of(before)), *beyond(before, bounds_of(after)))
            counts: Counter[str] = Counter()
            async with aclosing(written(store, segments, FIRST_MEMORIES)) as batches:
                async for changed in batches:
                    changes = await self._changes(changed, before, after, text=text)
                    counts.update(change.change for change in changes)
                    if changes:
                        yield answers.ChangesFrame(changes=changes)
            yield answers.DiffEndFrame(
                added=counts["added"],
                revised=counts["revised"],
                forgotten=counts["forgotten"],
                elapsed_ms=round(operation.elapsed_ms, 3),
            )

    async def _spans(self, name: str, as_of: datetime | int | None) -> tuple[BranchSpan, ...]:
        spans = (await existing(self._parts.store, name)).record.spans()
        return spans if as_of is None else records.at_position(spans, records.position_of(as_of))

    async def _changes(
        self, memory_ids: list[str], before: tuple[BranchSpan, ...], after: tuple[BranchSpan, ...], *, text: bool
    ) -> list[answers.Change]:
        projection = FULL if text else SUMMARY
        was, now = await asyncio.gather(
            states(self._parts.store, memory_ids, before, projection),
            states(self._parts.store, memory_ids, after, projection),
        )
        differing = [(old, new) for old, new in zip(was, now, strict=True) if not same(old, new)]
        if not text:
            return [_change(old, new, None) for old, new in differing]
        return await asyncio.to_thread(lambda: [_change(old, new, _text_diff(old, new)) for old, new in differing])

    async def log(self, name: str, *, limit: int = 50, before: int | None = None) -> answers.LogPage:
        """Return the commits that a branch is made of, newest first, those before its fork included.

        Args:
            name: The branch.
            limit: How many at most.
            before: Only commits before this position.

        Raises:
            BranchNotFoundError: It is not there.
        """
        with self._parts.telemetry.operation("log"):
            spans = (await existing(self._parts.store, name)).record.spans()
            last = POSITION_MAX if before is None else max(before - 1, 0)
            segments = beyond(records.at_position(spans, last), {})
            entries: list[answers.LogEntry] = []
            scan = Scan(read_point=None, segments=segments, descending=True, projection=SUMMARY)
            commit: list[Version] = []
            async with aclosing(self._parts.store.scan(scan)) as batches:
                async for batch in batches:
                    for version in batch:
                        if commit and commit[0].position != version.position:
                            entries.append(_entry(commit))
                            commit = []
                        if len(entries) == limit:
                            return answers.LogPage(items=entries, next_before=entries[-1].position)
                        commit.append(version)
            if commit:
                entries.append(_entry(commit))
            return answers.LogPage(items=entries, next_before=None)


def _change(old: Version | None, new: Version | None, text_diff: str | None) -> answers.Change:
    shown = new or old
    assert shown is not None  # noqa: S101 - two states without a memory do not differ in it
    return answers.Change(
        change="added" if old is None else "forgotten" if new is None else "revised",
        id=shown.memory_id,
        namespace=shown.namespace,
        key=shown.key,
        before=_name(old),
        after=_name(new),
        summary_before=None if old is None else old.summary,
        summary_after=None if new is None else new.summary,
        text_diff=text_diff,
    )


def _name(version: Version | None) -> VersionName | None:
    return None if version is None else name_of(version.ref)


def _text_diff(old: Version | None, new: Version | None) -> str | None:
    """Return a unified diff of two contents; None where they are too long to be compared by lines."""
    one, other = ((version.content or "") if version is not None else "" for version in (old, new))
    if max(len(one), len(other)) > TEXT_CHARS_MAX:
        return None
    lines = unified_diff(one.splitlines(), other.splitlines(), _label(old), _label(new), lineterm="")
    return "\n".join(lines)


def _label(version: Version | None) -> str:
    return "nothing" if version is None else f"version {version.number} on {version.branch}"


def _entry(commit: list[Version]) -> answers.LogEntry:
    forgotten = sum(version.forgotten for version in commit)
    created = sum(version.number == 1 and not version.forgotten for version in commit)
    return answers.LogEntry(
        position=commit[0].position,
        time=moment(position_ms(commit[0].position)),
        branch=records.name_of_id(commit[0].branch),
        actors=sorted({version.actor for version in commit}),
        created=created,
        revised=len(commit) - created - forgotten,
        forgotten=forgotten,
    )
