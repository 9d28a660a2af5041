"""The state machine can fail: it finds what is wrong with a backend that is wrong only now and then."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from recollect.adapters.port import Commit, CommitReceipt, Match, ReadPoint, SimilarityQuery
from recollect.adapters.testing import AdapterFactory, ModelAdapter, ModelStorage, StorageMachine
from recollect.adapters.versions import Version


class ForgetsWhatABranchHides(ModelAdapter):
    def _visible(self, read_point: ReadPoint) -> list[Version]:
        return super()._visible(replace(read_point, lineage=read_point.lineage[::-1]))


class LosesTheThirdPut(ModelAdapter):
    async def commit(self, commit: Commit) -> CommitReceipt:
        return await super().commit(replace(commit, puts=commit.puts[:2]))


class ThresholdIsExclusive(ModelAdapter):
    async def find_similar(self, query: SimilarityQuery) -> AsyncGenerator[Sequence[Match], None]:
        async for batch in super().find_similar(query):
            if kept := [match for match in batch if query.threshold is None or match.score > query.threshold]:
                yield kept


@pytest.mark.parametrize("broken", [ForgetsWhatABranchHides, LosesTheThirdPut, ThresholdIsExclusive])
def test_the_state_machine_catches_a_broken_backend(broken: type[ModelAdapter]) -> None:
    class BrokenMachine(StorageMachine):
        def new_storage(self, folder: Path) -> AdapterFactory:  # noqa: ARG002 - the model needs no folder
            storage = ModelStorage()
            return lambda: broken(storage)

    search = settings(
        max_examples=500,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(BrokenMachine, settings=search)
