"""Turns the products of a traced graph into products of 8-bit integers, whose vectors agree with those of float32.

Weights are kept as int8, with a scale for each group of inputs of each output. What they are multiplied with OpenVINO
brings to int8 as it comes, with a scale for each group of each token (`DYNAMIC_QUANTIZATION_GROUP_SIZE`), so the range
of no text is fixed in advance. But the channels of a transformer differ in size by a factor of twenty, and next to a
large one the others of its group would be left with few bits. So they are evened out before, as Xiao et al. do in
"SmoothQuant" (2023): a channel is divided by a number, and the weights that meet it are multiplied by it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recollect.embeddings.openvino_library import import_openvino

GROUP_INPUTS = 192
"""How many inputs share a scale. It divides both widths of the bundled model, 384 and 1,536."""

MIGRATION = 0.6
"""How much of the unevenness of the inputs goes to the weights (alpha of SmoothQuant, where 0.5 is half of it)."""

INT8_MAX = 127
_WEIGHT_MIN = 1e-6

_Array = NDArray[np.float32]


def quantize(graph: Any, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Replace the weights of all products in a graph.

    Args:
        graph: An OpenVINO model with float32 weights of shape (outputs, inputs). It is changed.
        feeds: Inputs of the graph, from which the size of each channel is learnt.

    Raises:
        ValueError: A product has another shape than those of the bundled model.
    """
    operators = import_openvino().opset13
    products = _products(graph)
    reaches = _reaches(graph, feeds)
    for name, readers in products.items():
        weights = [reader.input_value(1).get_node().data.astype(np.float32) for reader in readers]
        if any(weight.shape[1] % GROUP_INPUTS for weight in weights):
            raise ValueError(f"the weights at {name} have {weights[0].shape[1]} inputs, no multiple of {GROUP_INPUTS}")
        divisors = smoothing(reaches[name], weights)
        source = readers[0].input_value(0)
        smooth = operators.multiply(source, operators.constant(1 / divisors))
        for reader, weight in zip(readers, weights, strict=True):
            reader.input(0).replace_source_output(smooth.output(0))
            reader.input(1).replace_source_output(_stored(operators, weight * divisors).output(0))


def smoothing(reach: _Array, weights: Sequence[_Array]) -> _Array:
    """Return what to divide the input channels by, shape (inputs,).

    Args:
        reach: The largest magnitude of each input channel, shape (inputs,).
        weights: The weights that meet these inputs, each of shape (outputs, inputs).
    """
    met = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    divisors = np.maximum(reach, _WEIGHT_MIN) ** MIGRATION / np.maximum(met, _WEIGHT_MIN) ** (1 - MIGRATION)
    # Around 1, so that no number leaves the range in which float32 is at its best.
    return np.asarray(divisors / np.exp(np.log(divisors).mean()), dtype=np.float32)


def to_int8(weight: _Array) -> tuple[NDArray[np.int8], _Array]:
    """Return weights as int8 in groups, and their scales.

    Args:
        weight: Shape (outputs, inputs).

    Returns:
        Shape (outputs, groups, GROUP_INPUTS), and (outputs, groups, 1): their product is the weight, nearly.
    """
    grouped = weight.reshape(weight.shape[0], -1, GROUP_INPUTS)
    scales = np.maximum(np.abs(grouped).max(axis=2, keepdims=True), _WEIGHT_MIN) / INT8_MAX
    return np.rint(grouped / scales).astype(np.int8), scales.astype(np.float32)


def _stored(operators: Any, weight: _Array) -> Any:
    """Return weights as OpenVINO expects them of a compressed model: int8, made float, scaled, in their own shape."""
    numbers, scales = to_int8(weight)
    scaled = operators.multiply(operators.convert(operators.constant(numbers), "f32"), operators.constant(scales))
    return operators.reshape(scaled, operators.constant(np.array(weight.shape)), special_zero=False)


def _products(graph: Any) -> dict[str, list[Any]]:
    """Return the products with constant weights, by the name of what they multiply: several may read the same."""
    products: dict[str, list[Any]] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        if not node.get_attributes()["transpose_b"]:
            raise ValueError(f"the weights of {node.get_friendly_name()} are not of shape (outputs, inputs)")
        products.setdefault(node.input_value(0).get_node().get_friendly_name(), []).append(node)
    return products


def _reaches(graph: Any, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, _Array]:
    """Return the largest magnitude of each channel of what is multiplied, by its name."""
    watched = graph.clone()
    products = _products(watched)
    kept = len(watched.outputs)
    watched.add_outputs([readers[0].input_value(0) for readers in products.values()])
    request = import_openvino().Core().compile_model(watched, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reaches: dict[str, _Array] = {}
    for feed in feeds:
        answer = request(feed)
        for place, name in enumerate(products, kept):
            seen = np.abs(answer[place]).reshape(-1, answer[place].shape[-1]).max(axis=0)
            reaches[name] = np.maximum(reaches.get(name, 0), seen)
    return reaches
