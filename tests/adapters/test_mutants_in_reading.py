"""The suite can fail: each of these backends breaks a promise of reading or searching, and is caught."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from recollect.adapters.filters import Filter
from recollect.adapters.port import (
    SUMMARY,
    ByKey,
    Match,
    Projection,
    ReadPoint,
    Scan,
    Selector,
    SimilarityQuery,
)
from recollect.adapters.testing import ModelAdapter
from recollect.adapters.versions import Version

pytest_plugins = ["pytester"]

SuiteFailures = Callable[[type[ModelAdapter], str], set[str]]
CAUGHT_BY: dict[type[ModelAdapter], str] = {}
"""By broken backend, the test of the suite that must fail."""


def caught_by(test: str) -> Callable[[type[ModelAdapter]], type[ModelAdapter]]:
    """Register a broken backend with the test that must catch it."""

    def register(mutant: type[ModelAdapter]) -> type[ModelAdapter]:
        CAUGHT_BY[mutant] = test
        return mutant

    return register


@caught_by("a_revised_memory_is_found_as_its_newest_version_only")
class ForgetsMarks(ModelAdapter):
    """Shows every version that is not a tombstone, as if nothing had been superseded."""

    def _visible(self, read_point: ReadPoint) -> list[Version]:
        reached = {span.branch: span.up_to for span in read_point.lineage}
        return [
            version
            for version in self._opened().versions
            if version.position <= reached.get(version.branch, -1) and not version.forgotten
        ]


@caught_by("a_branch_sees_its_parent_as_it_was_at_the_fork")
class ReadsUpToAndOneFurther(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        spans = tuple(
            replace(
                span,
                up_to=min((v.position for v in self._opened().versions if v.position > span.up_to), default=span.up_to),
            )
            for span in read_point.lineage
        )
        return super()._visible(replace(read_point, lineage=spans))


@caught_by("a_read_as_of_a_position_shows_the_state_after_its_commit")
class ReadsShortOfUpTo(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        spans = tuple(replace(span, up_to=span.up_to - 1) for span in read_point.lineage)
        return super()._visible(replace(read_point, lineage=spans))


@caught_by("revising_on_a_branch_leaves_its_parent_as_it_was")
class PrefersTheFarBranch(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        return super()._visible(replace(read_point, lineage=read_point.lineage[::-1]))


@caught_by("what_is_forgotten_replaced_or_expired_is_never_found")
class ShowsTheExpired(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        return super()._visible(replace(read_point, at_ms=None))


@caught_by("a_memory_is_gone_from_the_moment_it_expires")
class ExpiresOneLate(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        late = None if read_point.at_ms is None else read_point.at_ms - 1
        return super()._visible(replace(read_point, at_ms=late))


@caught_by("system_namespaces_are_hidden_unless_they_are_named")
class ShowsSystemNamespaces(ModelAdapter):
    def _select(
        self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, matching: Filter | None
    ) -> list[Version]:
        every = tuple({version.namespace for version in self._opened().versions})
        return super()._select(read_point, every if namespaces is None else namespaces, matching)


@caught_by("no_namespaces_hold_no_memories")
class TakesNoNamespacesForAll(ModelAdapter):
    def _select(
        self, read_point: ReadPoint | None, namespaces: Sequence[str] | None, matching: Filter | None
    ) -> list[Version]:
        return super()._select(read_point, namespaces or None, matching)


@caught_by("hostile_names_select_their_own_memory_and_no_other")
class FoldsCaseInKeys(ModelAdapter):
    def _find(self, selector: Selector, read_point: ReadPoint) -> Version | None:
        if isinstance(selector, ByKey):
            keys = {version.key for version in self._visible(read_point) if version.key}
            folded = [key for key in keys if key.casefold() == selector.key.casefold()]
            selector = ByKey(selector.namespace, min(folded, default=selector.key))
        return super()._find(selector, read_point)


@caught_by("a_read_loads_the_parts_that_were_asked_for_and_no_others")
class LoadsProvenanceUnasked(ModelAdapter):
    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        return await super().get(selectors, read_point, replace(projection, provenance=True))


@caught_by("a_version_comes_back_with_every_field_as_it_was_written")
class LosesVectorsOnRead(ModelAdapter):
    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        return await super().get(selectors, read_point, replace(projection, vectors=False))


@caught_by("answers_stand_in_the_order_of_the_questions_with_none_for_what_is_not_there")
class SkipsWhatItDoesNotFind(ModelAdapter):
    async def get(
        self, selectors: Sequence[Selector], read_point: ReadPoint, projection: Projection = SUMMARY
    ) -> list[Version | None]:
        return [version for version in await super().get(selectors, read_point, projection) if version is not None]


async def items(stream: AsyncGenerator[Sequence[Any], None]) -> list[Any]:
    return [item async for batch in stream for item in batch]


@caught_by("a_scan_is_in_order_with_ties_by_id")
class ScansUnsorted(ModelAdapter):
    async def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        async for batch in super().scan(scan):
            yield sorted(batch, key=lambda version: version.memory_id)


@caught_by("pages_joined_by_cursors_are_the_whole_scan")
class RepeatsTheCursor(ModelAdapter):
    async def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        after = scan.after and replace(scan.after, number=scan.after.number + (1 if scan.descending else -1))
        async for batch in super().scan(replace(scan, after=after)):
            yield batch


@caught_by("a_stream_shows_the_state_in_which_it_began")
class ScansPageByPage(ModelAdapter):
    """Looks again for each batch, so that a stream shows commits that came while it ran."""

    async def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        given = 0
        while page := (await items(super().scan(scan)))[given : given + scan.batch_size]:
            given += len(page)
            yield page


@caught_by("a_scan_keeps_its_limit_and_its_batch_size")
class IgnoresTheBatchSize(ModelAdapter):
    async def scan(self, scan: Scan) -> AsyncGenerator[Sequence[Version], None]:
        yield await items(super().scan(scan))


@caught_by("history_is_newest_first_with_tombstones_and_other_memories_left_out")
class HistoryStopsAtTombstones(ModelAdapter):
    async def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        found = [
            version
            for version in await items(super().history(memory_id, read_point, projection))
            if not version.forgotten
        ]
        if found:
            yield found


@caught_by("a_branch_sees_its_parent_as_it_was_at_the_fork")
class CountsTombstones(ModelAdapter):
    async def count(
        self, read_point: ReadPoint, namespaces: Sequence[str] | None = None, matching: Filter | None = None
    ) -> int:
        gone = sum(version.forgotten for version in self._opened().versions)
        return await super().count(read_point, namespaces, matching) + gone


@caught_by("equal_scores_come_by_id")
class BreaksTiesBackwards(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        found: list[Match] = await items(super().find_similar(replace(query, limit=None)))
        found.sort(key=lambda match: match.version.memory_id, reverse=True)
        found.sort(key=lambda match: -match.score)
        if found := found[: query.limit]:
            yield found


@caught_by("a_threshold_lets_through_what_equals_it")
class ThresholdIsExclusive(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        async for batch in super().find_similar(query):
            if kept := [match for match in batch if query.threshold is None or match.score > query.threshold]:
                yield kept


@caught_by("filters_and_namespaces_apply_before_ranking")
class FiltersAfterRanking(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        kept = {version.memory_id for version in self._select(query.read_point, query.namespaces, query.filter)}
        async for batch in super().find_similar(replace(query, filter=None)):
            if found := [match for match in batch if match.version.memory_id in kept]:
                yield found


@caught_by("a_fusion_takes_only_the_best_candidates_of_each_ranking")
class FusesAllCandidates(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        async for batch in super().find_similar(replace(query, candidates=10_000)):
            yield batch


@caught_by("nothing_found_is_no_batch")
class YieldsAnEmptyBatch(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        async for batch in super().find_similar(query):
            yield batch
        yield []


@caught_by("sparse_matches_come_by_dot_product_and_share_a_term")
class FindsWhatSharesNoTerm(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        found: list[Match] = await items(super().find_similar(query))
        names = {match.version.memory_id for match in found}
        rest = self._select(query.read_point, query.namespaces, query.filter) if query.dense is None else []
        found += [Match(version, 0.0, None, 0.0) for version in rest if version.memory_id not in names]
        if found := found[: query.limit]:
            yield found


@caught_by("fused_matches_come_by_the_sum_of_their_reciprocal_ranks")
class FusesByTheSumOfScores(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        found: list[Match] = await items(super().find_similar(query))
        if query.dense is not None and query.sparse is not None:
            found = [replace(match, score=(match.dense or 0.0) + (match.sparse or 0.0)) for match in found]
            found.sort(key=lambda match: (-match.score, match.version.memory_id))
        if found:
            yield found


@caught_by("dense_matches_come_by_cosine")
class LeavesOutOppositeMeanings(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        async for batch in super().find_similar(query):
            if found := [match for match in batch if match.score > 0]:
                yield found


@caught_by("history_shows_what_has_expired")
class HistoryHidesTheExpired(ModelAdapter):
    async def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        at_ms = read_point.at_ms if read_point else None
        async for batch in super().history(memory_id, read_point, projection):
            if found := [version for version in batch if at_ms is None or (version.expires_at_ms or at_ms + 1) > at_ms]:
                yield found


@caught_by("history_shows_the_state_in_which_it_began")
class HistoryGoesPageByPage(ModelAdapter):
    async def history(
        self, memory_id: str, read_point: ReadPoint | None, projection: Projection = SUMMARY
    ) -> AsyncGenerator[Sequence[Version], None]:
        given = 0
        while page := (await items(super().history(memory_id, read_point, projection)))[given : given + 100]:
            given += len(page)
            yield page


@caught_by("a_ref_is_found_from_everywhere")
class FindsRefsAlongTheLineageOnly(ModelAdapter):
    def _find(self, selector: Selector, read_point: ReadPoint) -> Version | None:
        found = super()._find(selector, read_point)
        branches = {span.branch for span in read_point.lineage}
        return found if found is not None and found.branch in branches else None


@caught_by("a_vector_that_cannot_be_ranked_is_refused")
class SearchesForAnything(ModelAdapter):
    def _validate_query(self, query: SimilarityQuery) -> None:  # noqa: ARG002 - it looks at nothing
        return


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: mutant.__name__)
def test_the_suite_catches_a_broken_backend(suite_failures: SuiteFailures, mutant: type[ModelAdapter]) -> None:
    assert f"test_{CAUGHT_BY[mutant]}" in suite_failures(mutant, CAUGHT_BY[mutant])
