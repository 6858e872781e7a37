"""Nodes of an fp32 graph to float16: a typed graph, with fp32 inputs and outputs.

onnxruntime's CPU kernels compute a float16 graph in float32 and drop the casts between nodes
(measured, 1.32 and 1.23.2: 1000 + 0.3 - 1000 gives 0.29999 and not 0.5), so running it there
proves nothing about a GPU. ``rounded`` is the same graph with every one of those results really
rounded to float16: what gates are measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .activations import element_types
from .layers import RECURRENT

LARGEST = 65504.0
_NORMAL_FROM = 2.0**-14
"""Below, float16 loses a digit with every power of two."""
_ROOM = 4.0
"""Rows to come may be so many times larger than those seen before a tensor overflows."""
_WEIGHT_ERROR = 1e-2
"""Largest norm of what rounding does to a weight, relative to its own."""

_SAFE = frozenset(
    """
    Gemm MatMul Conv ConvTranspose Add Sub Mul Div Neg Abs Min Max Clip Where
    Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Softsign
    Identity Reshape Flatten Squeeze Unsqueeze Concat Split Slice Gather Expand Tile Pad Resize
    DepthToSpace SpaceToDepth MaxPool AveragePool
    """.split()  # noqa: SIM905 (as in onnx_ops)
)
"""Operators that may run in float16: no exponentials, powers, reductions or normalisations. Nor Transpose: one in
float16 before a MatMul ends onnxruntime 1.23 to 1.32 with a segmentation fault on x86 (onnxruntime#28392)."""

_CONVERSIONS = ("Cast", "QuantizeLinear", "DequantizeLinear")

_STAYS_FLOAT = {"Resize": (1, 2)}
"""Inputs that are float32 by the operator's definition, whatever its type: the scales (and the unused roi)."""


@dataclass(frozen=True)
class HalfPlan:
    """What becomes float16, and what does not though it is in the network.

    Attributes:
        nodes: names. weights: names of recurrent nodes, which compute in float32 with weights stored as float16:
            what a step rounds, all later ones carry on.
        kept: name to the reason in words.
    """

    nodes: frozenset[str]
    weights: frozenset[str]
    kept: dict[str, str]


def only(node: str) -> HalfPlan:
    """The plan that touches one node and nothing else."""
    return HalfPlan(frozenset({node}), frozenset(), {})


def plan(model: onnx.ModelProto, network_nodes: frozenset[str], largest: Mapping[str, float]) -> HalfPlan:
    """Which nodes of the network are safe in float16.

    Args:
        network_nodes: names of the nodes of the network.
        largest: absolute value of every float tensor on real rows and probes.
    """
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    types = element_types(model)
    nodes, recurrent, kept = set(), set(), {}
    for node in model.graph.node:
        if node.name not in network_nodes:
            continue
        if node.op_type in RECURRENT:
            recurrent.add(node.name)
            continue
        if types.get(node.output[0]) != TensorProto.FLOAT:
            continue
        if node.op_type not in _SAFE:
            kept[node.name] = f"{node.op_type} stays float32 wherever it stands"
            continue
        problem = next(filter(None, (_of_weight(weights[i]) for i in node.input if i in weights)), None)
        sizes = [largest.get(tensor, 0.0) for tensor in (*node.input, *node.output)]
        if not problem and max(sizes) * _ROOM > LARGEST:
            problem = f"values to {max(sizes):.3g}, float16 ends at 65504"
        elif not problem and (small := [size for size in sizes if 0 < size < _NORMAL_FROM]):
            problem = f"values only to {min(small):.3g}, below float16's normal numbers"
        if problem:
            kept[node.name] = problem
        else:
            nodes.add(node.name)
    return HalfPlan(frozenset(nodes), frozenset(recurrent), kept)


def _of_weight(tensor: onnx.TensorProto) -> str | None:
    array = numpy_helper.to_array(tensor).astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float64)
    if not np.isfinite(rounded).all():
        return f"a weight of {np.abs(array).max():.3g}, float16 ends at 65504"
    norm = float(np.linalg.norm(array))
    lost = float(np.linalg.norm(rounded - array)) / norm if norm else 0.0
    return f"weights too small for float16: {lost:.1%} of their norm is lost" if lost > _WEIGHT_ERROR else None


def to_half(model: onnx.ModelProto, plan: HalfPlan) -> onnx.ModelProto:
    """A new model with nodes typed float16 as planned, and casts where they meet the others."""
    return drop_unread(_Converter(model, plan, rounded=False).converted())


def rounded(model: onnx.ModelProto, plan: HalfPlan) -> onnx.ModelProto:
    """The same in float32 arithmetic, every input, weight and result of those nodes rounded to float16."""
    return drop_unread(_Converter(model, plan, rounded=True).converted())


class _Converter:
    """Tensors exist in up to two types; each is made when a node first asks for it."""

    def __init__(self, model: onnx.ModelProto, plan: HalfPlan, *, rounded: bool) -> None:
        self._model, self._plan, self._rounded = model, plan, rounded
        self._floats = {name for name, type_ in element_types(model).items() if type_ == TensorProto.FLOAT}
        self._weights = {t.name: t for t in model.graph.initializer}
        self._made: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._available: set[str] = set()

    def converted(self) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        for node in self._model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if node.name in self._plan.nodes:
                self._halve(copy)
            else:
                if node.name in self._plan.weights:
                    self._halve_weights(copy)
                self._made.append(copy)
        used = {name for node in self._made for name in node.input}
        weights = [t for t in (*self._weights.values(), *self._initializers.values()) if t.name in used]
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self._made)
        result.graph.initializer.extend(weights)
        return result

    def _halve(self, node: onnx.NodeProto) -> None:
        stays = _STAYS_FLOAT.get(node.op_type, ())
        for index, name in enumerate(node.input):
            if name in self._floats and index not in stays:
                node.input[index] = self._half(name)
        self._made.append(node)
        for index, name in enumerate(node.output):
            if name in self._floats:
                node.output[index] = f"{name}.half" if not self._rounded else f"{name}.exact"
                self._widen(name, node.output[index])

    def _halve_weights(self, node: onnx.NodeProto) -> None:
        for index, name in enumerate(node.input):
            if name in self._floats and name in self._weights:
                wide = f"{name}.widened"
                if wide not in self._available:
                    self._available.add(wide)
                    half = self._half(name)
                    self._cast(half, wide, TensorProto.FLOAT)
                node.input[index] = wide

    def _half(self, name: str) -> str:
        """The float16 twin of a tensor (its rounded twin, where only rounding is wanted)."""
        if self._rounded and name in self._available:
            return name  # a node of ours gave it: it is rounded already
        twin = f"{name}.half"
        if twin in self._available:
            return twin
        self._available.add(twin)
        weight = self._weights.get(name)
        if weight is not None:
            half = numpy_helper.to_array(weight).astype(np.float16)
            self._initializers[twin] = numpy_helper.from_array(half.astype(np.float32) if self._rounded else half, twin)
        elif self._rounded:
            self._round(name, twin)
        else:
            self._cast(name, twin, TensorProto.FLOAT16)
        return twin

    def _widen(self, name: str, given: str) -> None:
        """Give the float32 tensor other nodes read under the old name."""
        if self._rounded:
            self._round(given, name)
            self._available.add(name)
        else:
            self._available.add(given)
            self._cast(given, name, TensorProto.FLOAT)

    def _round(self, source: str, target: str) -> None:
        self._cast(source, f"{target}.rounded", TensorProto.FLOAT16)
        self._cast(f"{target}.rounded", target, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> None:
        self._made.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))


def drop_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove conversions and weights that nobody reads, in place."""
    used = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if node.op_type in _CONVERSIONS and not used.intersection(node.output):
            continue
        kept.append(node)
        used.update(node.input)
    weights = [t for t in model.graph.initializer if t.name in used]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(weights)
    return model
