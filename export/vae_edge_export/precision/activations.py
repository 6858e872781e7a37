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
from numpy.typing import NDArray
from onnx import TensorProto

from vae_edge_export.rows import Feeds, rows_of
from vae_edge_runtime.backends.integers import add_exactly
from vae_edge_runtime.dependencies import require

onnxruntime = require("onnxruntime", extra="export", why="exporting")

RangeMethod = Literal["minmax", "entropy", "percentile"]
RANGE_METHODS: tuple[RangeMethod, ...] = ("percentile", "entropy", "minmax")

_AT_ONCE_BYTES = 1 << 28
"""Of all tensors of a graph, which are held at the same time."""
_IN_ALL_BYTES = 1 << 33
"""Of all tensors and rows that ranges are taken from: histograms take about 10 s for each of these GB."""
_FEWEST, _MOST = 16, 256


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name to ONNX element type, for every tensor whose type can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def bytes_per_row(model: onnx.ModelProto, feeds: Feeds) -> int:
    """Of all float tensors that the nodes give for one row."""
    wanted = _float_results(model)
    results = session_of(_giving(model, wanted)).run(wanted, rows_of(feeds, slice(1)))
    return max(1, sum(int(array.nbytes) for array in results))


def range_rows(model: onnx.ModelProto, feeds: Feeds) -> int:
    """How many rows to take ranges from: 256, fewer of large images, 16 at least."""
    return min(max(_IN_ALL_BYTES // bytes_per_row(model, feeds), _FEWEST), _MOST)


def largest_values(model: onnx.ModelProto, feeds: Iterable[Feeds]) -> dict[str, float]:
    """Largest absolute value of every float tensor the nodes give, over all rows of all feeds."""
    wanted = _float_results(model)
    session = session_of(_giving(model, wanted))
    largest = dict.fromkeys(wanted, 0.0)
    for part in feeds:
        for piece in pieces(part, _AT_ONCE_BYTES // bytes_per_row(model, part)):
            for name, array in zip(wanted, session.run(wanted, piece), strict=True):
                largest[name] = max(largest[name], float(np.abs(array).max(initial=0.0)))
    return largest


def first_not_finite(model: onnx.ModelProto, feeds: Feeds) -> str | None:
    """The name of the first node, in the order of the graph, that gives infinity or NaN; None where no node does.

    Of a cast, the name of the node whose result it rounds.
    """
    names = _float_results(model)
    producers = {name: node for node in model.graph.node for name in node.output}
    session = session_of(_giving(model, names))
    for piece in pieces(feeds, 1):
        values = run(session, names, piece)
        for node in model.graph.node:
            if any(name in values and not np.isfinite(values[name]).all() for name in node.output):
                while node.op_type == "Cast" and node.input[0] in producers:
                    node = producers[node.input[0]]
                return str(node.name)
    return None


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
        # One piece at a time: the collector keeps all tensors of what it is given, and stacks them.
        for piece in pieces(feeds, _AT_ONCE_BYTES // bytes_per_row(model, feeds)):
            collector.collect_data(_Reader(iter([piece])))
        return collector.compute_data()


def pieces(feeds: Feeds, rows: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Some rows at a time: as many as asked for, at least one, at most 16."""
    rows = min(max(1, rows), _FEWEST)
    for start in range(0, len(next(iter(feeds.values()))), rows):
        yield rows_of(feeds, slice(start, start + rows))


def session_of(model: onnx.ModelProto, level: Any = None) -> Any:
    """An onnxruntime session on the CPU, with its usual graph optimisations unless ``level`` says another one."""
    options = onnxruntime.SessionOptions()
    if level is not None:
        options.graph_optimization_level = level
    options.log_severity_level = 4
    raw = model.SerializeToString()
    add_exactly(options, raw)  # a variant is judged by what it computes, and not by this CPU
    return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def run(session: Any, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs by name, 16 rows at a time."""
    by_piece = [session.run(list(names), piece) for piece in pieces(feeds, _FEWEST)]
    return {name: np.concatenate([outputs[i] for outputs in by_piece]) for i, name in enumerate(names)}


def _float_results(model: onnx.ModelProto) -> list[str]:
    types = element_types(model)
    return [o for n in model.graph.node for o in n.output if types.get(o) == TensorProto.FLOAT]


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
