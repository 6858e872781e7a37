"""A machine made of doubles, and a graph for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from fake_cuda import FakeCuda
from fake_tensorrt import FakeTensorRt
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vae_edge_runtime.backends.tensorrt import Binding, BuildOptions, Driver, Executor, build

Feeds = dict[str, NDArray[Any]]


def two_inputs() -> bytes:
    """ONNX of ``y = 2 x + 1`` and ``s = sum(x) + k``, rows free; x is (n, 3, 8) float32, k is (n,) int64."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["double"]),
            helper.make_node("Add", ["double", "one"], ["y"]),
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["k"], ["k_float"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["sum", "k_float"], ["s"]),
        ],
        "two_inputs",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8]),
            helper.make_tensor_value_info("k", TensorProto.INT64, ["n"]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, ["n"]),
        ],
        [
            numpy_helper.from_array(np.float32(2), "two"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.array([1, 2]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(onnx.load_from_string(model.SerializeToString()).SerializeToString())


def feeds_of(rows: int, seed: int = 0) -> Feeds:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3, 8)).astype(np.float32)
    return {"x": x, "k": rng.integers(-9, 9, rows)}


@dataclass
class Rig:
    """A machine with a GPU and TensorRT, made of doubles."""

    cuda: FakeCuda = field(default_factory=FakeCuda)

    def __post_init__(self) -> None:
        self.trt = FakeTensorRt(self.cuda)
        self.binding = Binding(self.trt, "tensorrt", self.trt.__version__, True)

        self._process: Driver | None = None

    def driver(self) -> Driver:
        """A driver of the test's own, which the test closes."""
        return Driver(self.cuda)

    def process_driver(self) -> Driver:
        """The one of a process, kept until ``close``."""
        if self._process is None:
            self._process = Driver(self.cuda)
        return self._process

    def close(self) -> None:
        """The process ends."""
        if self._process is not None:
            self._process.close()

    def executor(self, driver: Driver, *, max_batch: int = 64, **options: Any) -> Executor:
        limits = BuildOptions(max_batch=max_batch)
        raw = build(two_inputs(), limits, binding=self.binding, graph="score", current=driver.current).engine
        return Executor(raw, binding=self.binding, driver=driver, graph="score", **options)
