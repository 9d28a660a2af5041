"""Windows that come alone get graphs of their own length, few and only for lengths that come often."""

import logging
from collections import Counter
from concurrent.futures import wait

import numpy as np
import pytest

from recollect.embeddings.openvino_runtime import OpenVinoRuntime, load_openvino_runtime
from recollect.embeddings.openvino_shapes import KEPT_MAX, LENGTHS, USES_BEFORE, USES_REMEMBERED, FixedShapes


def ask(shapes: FixedShapes, tokens: int) -> tuple[object, int] | None:
    """Ask for a window, and wait until what is compiled because of it is there."""
    found = shapes.request_for(tokens)
    if shapes._coming is not None:
        wait([shapes._coming[1]])
    return found


def until_ready(shapes: FixedShapes, tokens: int) -> tuple[object, int]:
    """Ask as often as it takes to compile a graph of this length."""
    length = next(length for length in LENGTHS if length >= tokens)
    while (found := ask(shapes, tokens)) is None or found[1] != length:
        pass
    return found


def test_a_length_that_comes_often_gets_a_graph_of_the_next_larger_length() -> None:
    shapes = FixedShapes(lambda length: f"graph of {length}")
    assert until_ready(shapes, 17) == ("graph of 32", 32)
    assert until_ready(shapes, 32) == ("graph of 32", 32)
    shapes.close()


def test_nothing_is_compiled_for_a_length_that_is_rare_or_longer_than_any_window() -> None:
    compiled: list[int] = []
    shapes = FixedShapes(compiled.append)
    for _ in range(USES_BEFORE - 1):
        assert shapes.request_for(10) is None
    for _ in range(10 * USES_BEFORE):
        assert shapes.request_for(LENGTHS[-1] + 1) is None
    shapes.close()
    assert compiled == []


def full(compiled: list[int]) -> FixedShapes:
    """Return as many graphs as there may be, of the shortest lengths, each used as often as the others."""

    def compile_length(length: int) -> int:
        compiled.append(length)
        return length

    shapes = FixedShapes(compile_length)
    for length in LENGTHS[:KEPT_MAX]:
        until_ready(shapes, length)
    shapes._uses = Counter(dict.fromkeys(LENGTHS[:KEPT_MAX], 10))
    return shapes


def test_there_are_few_graphs_and_the_one_used_least_gives_way_to_one_that_is_used_more() -> None:
    shapes = full([])
    shapes._uses[LENGTHS[1]] = 5
    until_ready(shapes, LENGTHS[KEPT_MAX])
    assert set(shapes._kept) == {*LENGTHS[: KEPT_MAX + 1]} - {LENGTHS[1]}
    shapes.close()


def test_lengths_that_come_equally_often_do_not_take_turns_at_being_compiled() -> None:
    compiled: list[int] = []
    shapes = full(compiled)
    for _ in range(100):
        for length in LENGTHS:
            ask(shapes, length)
    shapes.close()
    assert compiled == [*LENGTHS[:KEPT_MAX]]


def test_what_came_long_ago_counts_less_than_what_comes_now() -> None:
    shapes = full([])
    shapes._uses = Counter(dict.fromkeys(LENGTHS[:KEPT_MAX], 60))
    for _ in range(2 * USES_REMEMBERED):
        ask(shapes, LENGTHS[-1])
    assert LENGTHS[-1] in shapes._kept
    shapes.close()


def test_a_length_without_a_graph_is_served_by_one_that_is_not_much_longer() -> None:
    shapes = FixedShapes(lambda length: length)
    until_ready(shapes, 96)
    assert shapes.request_for(70) == (96, 96)
    assert shapes.request_for(40) is None
    assert shapes.request_for(100) is None
    shapes.close()


def test_where_a_graph_cannot_be_compiled_it_is_said_once_and_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[int] = []

    def failing(length: int) -> object:
        tries.append(length)
        raise RuntimeError("no such shape")

    shapes = FixedShapes(failing)
    with caplog.at_level(logging.ERROR):
        while not caplog.records:
            assert shapes.request_for(10) is None
        for _ in range(10 * USES_BEFORE):
            assert shapes.request_for(10) is None
    assert len(tries) == len(caplog.records) == 1


@pytest.fixture(scope="module")
def runtime() -> OpenVinoRuntime:
    return load_openvino_runtime()


def test_a_graph_of_fixed_length_gives_the_vectors_of_the_one_for_all_lengths(runtime: OpenVinoRuntime) -> None:
    texts = [
        "the ferries stopped in January",
        "coffee without sugar, then the long way home along the frozen harbour and past the old mill",
    ]
    for text in texts:
        (windows,) = runtime.windows([text], query=False)
        before = runtime.infer(windows)
        for _ in range(USES_BEFORE):
            runtime.infer(windows)
        fixed = runtime._fixed
        request, length = until_ready(fixed, len(windows[0]))
        assert length > len(windows[0])
        after = runtime.infer(windows)
        assert float((before * after).sum()) > 0.9999
        np.testing.assert_allclose(np.linalg.norm(after), 1.0, atol=1e-3)
        assert request is not runtime._request
