import pytest
import structlog

from recollect.service import MemoryService, NewMemory
from recollect.service.telemetry import Telemetry

pytestmark = pytest.mark.requirement("A16")


async def test_operations_are_counted_with_their_times(memory: MemoryService) -> None:
    for text in ("a", "b", "c"):
        await memory.remember(text)
    figures = (await memory.status()).operations["remember"]
    assert figures["count"] == 3
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]


def test_a_failed_operation_counts_as_an_error_and_passes_on() -> None:
    telemetry = Telemetry(slow_operation_ms=1000)

    def fail() -> None:
        with telemetry.operation("break"):
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        fail()
    assert telemetry.summary()["break"]["errors"] == 1


async def test_a_slow_operation_is_logged_with_its_parts_and_without_content(make_service: object) -> None:
    memory: MemoryService = await make_service(slow_operation_ms=0.000001)  # type: ignore[operator]
    with structlog.testing.capture_logs() as logs:
        await memory.remember(NewMemory(content="top secret", key="hidden-key", metadata={"who": "nobody"}))
    (slow,) = [entry for entry in logs if entry["event"] == "slow operation"]
    assert slow["operation"] == "remember"
    assert {"embed", "commit"} <= slow["parts_ms"].keys()
    assert not any(word in repr(logs) for word in ("secret", "hidden-key", "nobody"))
