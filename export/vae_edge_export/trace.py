"""torch.nn.Module to ONNX: dynamic batch, opset 18, nothing optimised away."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import ExportFailed

from .adapt import kept_rng

OPSET = 18
IR_VERSION = 8
"""Of the graphs shipped: the one of opset 18. The exporter writes 10, which onnxruntime 1.17 refuses."""
_NEWEST_TRACED_IR_VERSION = 10
TRACED_ROWS = 3  # 0 and 1 are specialised by torch.export

_RANDOM = ("Random", "Bernoulli", "Multinomial", "Dropout")


def trace(
    module: nn.Module, example: Tensor, *, graph: str, input_name: str, outputs: Sequence[str]
) -> onnx.ModelProto:
    """Trace ``module`` with rows like ``example`` (at least one) into an unoptimised ONNX model.

    Raises:
        ExportFailed: torch.export or the translation failed, or a random op is in the graph.
    """
    repeats = -(-TRACED_ROWS // len(example))
    rows = example.repeat(repeats, *[1] * (example.ndim - 1))[:TRACED_ROWS]
    batch = torch.export.Dim("batch")
    try:
        with _quiet(), kept_rng(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (rows,),
                dynamo=True,
                # The stock optimiser deletes additions of 1e-8 and less (0/0 on a black frame).
                optimize=False,
                opset_version=OPSET,
                dynamic_shapes=({0: batch},),
                input_names=[input_name],
                output_names=list(outputs),
                verbose=False,
            )
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        lines = str(root).strip().split("\n")
        raise ExportFailed(
            f"graph '{graph}' could not be exported: {type(root).__name__}: {lines[0][:300]}. Usual reasons: "
            "Python branches on tensor values, shapes fixed to one batch size, or results that are not tensors"
        ) from error
    if program is None:
        raise ExportFailed(f"graph '{graph}': the exporter returned nothing")
    model: onnx.ModelProto = program.model_proto
    if model.ir_version > _NEWEST_TRACED_IR_VERSION:
        # What 9 and 10 added (float8, metadata on nodes) is stripped or off the allow-list; of 11 we know nothing.
        raise ExportFailed(f"graph '{graph}' has IR version {model.ir_version}, newer than this exporter knows")
    for node in model.graph.node:
        if node.op_type.startswith(_RANDOM):
            raise ExportFailed(
                f"graph '{graph}' draws random numbers ({node.op_type} at '{node.name}'): return the mean and the "
                "scale parameter, and leave the noise to the runtime"
            )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own deprecation warnings and notes on torchvision off the user's screen."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
