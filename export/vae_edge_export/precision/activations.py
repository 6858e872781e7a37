"""What flows through a graph on real rows: the largest value of every tensor, and ranges to quantise by."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from vae_edge_export.parity import Feeds, rows_of

RangeMethod = Literal["minmax", "entropy", "percentile"]
RANGE_METHODS: tuple[RangeMethod, ...] = ("percentile", "entropy", "minmax")

ROWS_AT_ONCE = 16
"""Every tensor of a graph is held for so many rows at once."""


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name to ONNX element type, for every tensor whose type can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {t.name: t.data_type for t in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def largest_values(model: onnx.ModelProto, feeds: Iterable[Feeds]) -> dict[str, float]:
    """Largest absolute value of every float tensor the nodes give, over all rows of all feeds."""
    types = element_types(model)
    wanted = [o for n in model.graph.node for o in n.output if types.get(o) == TensorProto.FLOAT]
    session = session_of(_giving(model, wanted))
    found = dict.fromkeys(wanted, 0.0)
    for part in feeds:
        for piece in pieces(part):
            for name, array in zip(wanted, session.run(wanted, piece), strict=True):
                found[name] = max(found[name], float(np.abs(array).max(initial=0.0)))
    return found


def ranges(
    model: onnx.ModelProto, feeds: Feeds, *, method: RangeMethod, op_types: Sequence[str], symmetric: bool
) -> Any:
    """Ranges of the tensors next to nodes of some types, as onnxruntime's quantiser takes them.

    ``minmax``: all values seen. ``percentile``: all but the outermost 0.001 %. ``entropy``: least
    Kullback-Leibler divergence of the histogram from its 8-bit one (Migacz, GTC 2017).
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder, "graph.onnx")
        onnx.save(model, path)
        collector = create_calibrator(
            str(path),
            list(op_types),
            augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method=methods[method],
            extra_options={"symmetric": symmetric},
        )
        for piece in pieces(feeds):  # one at a time: it keeps all tensors of what it is given, and stacks them
            collector.collect_data(_Reader(iter([piece])))
        return collector.compute_data()


def pieces(feeds: Feeds) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows, a few at a time."""
    count = len(next(iter(feeds.values())))
    for start in range(0, count, ROWS_AT_ONCE):
        yield rows_of(feeds, slice(start, start + ROWS_AT_ONCE))


def session_of(model: onnx.ModelProto, level: Any = None) -> Any:
    """An onnxruntime session on the CPU, with its usual graph optimisations unless ``level`` says another one."""
    options = onnxruntime.SessionOptions()
    if level is not None:
        options.graph_optimization_level = level
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: Any, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs by name, a few rows at a time."""
    found = [session.run(list(names), piece) for piece in pieces(feeds)]
    return {name: np.concatenate([outputs[i] for outputs in found]) for i, name in enumerate(names)}


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more outputs."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    have = {value.name for value in more.graph.output}
    more.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in have
    )
    return more


class _Reader:
    """What onnxruntime's calibrators read rows from."""

    def __init__(self, rows: Iterator[dict[str, NDArray[Any]]]) -> None:
        self._rows = rows

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._rows, None)
