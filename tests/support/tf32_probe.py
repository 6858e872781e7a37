"""A device that multiplies as a GPU does in TF32: the factors of every product keep 10 bits after the point.

It shows on a CPU which gate notices TF32. Sums keep all bits of float32, as those of a tensor core do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from vae_edge_runtime.backends.base import Description, DeviceOptions, GraphBytes
from vae_edge_runtime.device.devices import Candidate, Device, Engine

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum")
_SPLIT = np.float32(2**13 + 1)
"""Veltkamp's constant: float32 has 24 significant bits, and 13 fewer leave 1 before and 10 after the point."""


def rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Float32 values rounded to TF32."""
    large = values * _SPLIT
    return large - (large - values)


def with_tf32(onnx_bytes: bytes) -> tuple[bytes, int]:
    """The graph with both factors of every product rounded, and how many products there are."""
    model = onnx.load_from_string(onnx_bytes)
    graph, nodes, count = model.graph, [], 0
    graph.initializer.append(numpy_helper.from_array(_SPLIT, "tf32.split"))
    for node in graph.node:
        if node.op_type in PRODUCTS:
            count += 1
            for index in range(min(2, len(node.input))):
                name, new = node.input[index], f"tf32.{count}.{index}"
                nodes += [
                    helper.make_node("Mul", [name, "tf32.split"], [f"{new}.large"]),
                    helper.make_node("Sub", [f"{new}.large", name], [f"{new}.low"]),
                    helper.make_node("Sub", [f"{new}.large", f"{new}.low"], [new]),
                ]
                node.input[index] = new
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString(), count


class Backend:
    def __init__(self, load: GraphBytes, options: DeviceOptions) -> None:
        self._load, self._options = load, options
        self._sessions: dict[str, Any] = {}

    def prepare(self, graph: str) -> None:
        if graph not in self._sessions:
            raw, _ = with_tf32(self._load(graph))
            settings = onnxruntime.SessionOptions()
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self._sessions[graph] = onnxruntime.InferenceSession(raw, settings, providers=["CPUExecutionProvider"])

    def run(self, graph: str, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
        self.prepare(graph)
        results: list[Any] = self._sessions[graph].run(list(outputs), dict(feeds))
        return results

    def describe(self) -> Description:
        return Description("probe", onnxruntime.__version__, "TF32 by rounding", "tf32-probe", None, None)

    def close(self) -> None:
        self._sessions.clear()


ROW = Device(
    name="tf32-probe",
    help="products of TF32 on a CPU",
    candidates=(Candidate(Engine(package="onnxruntime", title="Probe", backend="tf32_probe:Backend")),),
    exact=False,
)
