"""Products in 8-bit integers: near those in float32, also where a few inputs are far larger than the others."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recollect.embeddings import openvino_library, quantization
from recollect.embeddings.openvino_library import import_openvino, inference_precision
from recollect.embeddings.quantization import GROUP_INPUTS, quantize, smoothing, to_int8

INPUTS, OUTPUTS, TOKENS = 2 * GROUP_INPUTS, 64, 40
Array = NDArray[np.float32]


def inputs_of(seed: int) -> Array:
    """Return tokens of which three channels are fifty times as large as the others, shape (TOKENS, INPUTS)."""
    tokens = np.random.default_rng(seed).standard_normal((TOKENS, INPUTS), dtype=np.float32)
    tokens[:, [5, 70, 300]] *= 50
    return tokens


def weights() -> Array:
    return np.random.default_rng(1).standard_normal((OUTPUTS, INPUTS), dtype=np.float32)


def graph_of(weight: Array, *, transposed: bool = True) -> Any:
    """Return a graph of two products with the same input."""
    openvino = import_openvino()
    operators = openvino.opset13
    tokens = operators.parameter([-1, INPUTS], np.float32, name="tokens")
    stored = weight if transposed else np.ascontiguousarray(weight.T)
    products = [operators.matmul(tokens, operators.constant(stored * by), False, transposed) for by in (1.0, -2.0)]
    return openvino.Model([operators.add(*products)], [tokens])


def computed(graph: Any, tokens: Array) -> Array:
    return np.asarray(import_openvino().Core().compile_model(graph, "CPU")({"tokens": tokens})[0])


def relative_error(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_a_weight_differs_from_its_8_bits_by_half_a_step_at_most() -> None:
    weight = weights()
    weight[3, :GROUP_INPUTS] = 0
    numbers, scales = to_int8(weight)
    assert numbers.dtype == np.int8
    assert numbers.shape == (OUTPUTS, INPUTS // GROUP_INPUTS, GROUP_INPUTS)
    assert scales.shape == (OUTPUTS, INPUTS // GROUP_INPUTS, 1)
    error = np.abs(numbers * scales - weight.reshape(numbers.shape))
    assert (error <= scales * 0.501).all()
    assert not numbers[3, 0].any()


def test_smoothing_changes_no_product_and_evens_the_inputs_out() -> None:
    tokens, weight = inputs_of(2), weights()
    reach = np.abs(tokens).max(axis=0)
    divisors = smoothing(reach, [weight, 0.5 * weight])
    np.testing.assert_allclose((tokens / divisors) @ (weight * divisors).T, tokens @ weight.T, rtol=0, atol=1e-3)
    evened = np.abs(tokens / divisors).max(axis=0)
    assert evened.max() / evened.min() < 0.25 * reach.max() / reach.min()


def test_a_channel_that_was_never_seen_is_left_finite() -> None:
    divisors = smoothing(np.zeros(INPUTS, dtype=np.float32), [np.zeros((OUTPUTS, INPUTS), dtype=np.float32)])
    assert np.isfinite(divisors).all()
    assert (divisors > 0).all()


def test_a_quantized_graph_gives_nearly_the_same_from_8_bit_weights() -> None:
    graph, tokens = graph_of(weights()), inputs_of(3)
    expected = computed(graph, tokens)
    quantize(graph, [{"tokens": inputs_of(4)}])
    kinds = [node.get_element_type().get_type_name() for node in graph.get_ops() if node.get_type_name() == "Constant"]
    assert kinds.count("i8") == 2
    assert 0 < relative_error(computed(graph, tokens), expected) < 0.02


def test_without_smoothing_large_inputs_cost_the_others_their_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = inputs_of(3)

    def error_at(migration: float) -> float:
        monkeypatch.setattr(quantization, "MIGRATION", migration)
        divisors = smoothing(np.abs(inputs_of(4)).max(axis=0), [weights()])
        smooth = tokens / divisors
        step = np.abs(smooth).max(axis=1, keepdims=True) / quantization.INT8_MAX
        rounded = np.rint(smooth / step) * step
        return relative_error(rounded @ (weights() * divisors).T, tokens @ weights().T)

    assert error_at(quantization.MIGRATION) < 0.5 * error_at(0.0)


def test_weights_of_another_shape_are_refused() -> None:
    feeds = [{"tokens": inputs_of(4)}]
    with pytest.raises(ValueError, match="outputs, inputs"):
        quantize(graph_of(weights(), transposed=False), feeds)


def test_a_width_that_the_groups_do_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "GROUP_INPUTS", 100)
    with pytest.raises(ValueError, match="no multiple of 100"):
        quantize(graph_of(weights()), [{"tokens": inputs_of(4)}])


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx2", "avx512f"}, "f32"),
        ({"avx512f", "avx512_vnni"}, "int8"),
        ({"avx512_vnni", "avx512_bf16"}, "int8"),
        ({"avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"}, "bf16"),
        ({"asimd", "bf16"}, "bf16"),
        (set(), "f32"),
    ],
)
def test_the_precision_follows_from_what_the_processor_is_fast_in(
    flags: set[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_library, "processor_flags", lambda: frozenset(flags))
    assert inference_precision.__wrapped__() == precision
