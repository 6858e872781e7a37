"""What the targets of ``lint`` are: versions of engines, not measurements of boards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An engine that will read the graphs.

    Attributes:
        engines: in words. tensorrt: whether TensorRT reads them.
        max_opset, max_ir: of the oldest of these engines.
        dla: whether boards of this target may have a deep learning accelerator that this TensorRT can use.
    """

    name: str
    engines: str
    tensorrt: bool
    max_opset: int
    max_ir: int
    dla: bool


TARGETS = {
    target.name: target
    for target in (
        Target("jetson-jp6", "TensorRT 10.3 and onnxruntime 1.23.2 (JetPack 6.1 and 6.2)", True, 20, 10, True),
        Target("jetson-jp7", "TensorRT 10.13 to 11 and onnxruntime 1.23.2 or newer (JetPack 7)", True, 22, 10, False),
        Target("ort-cpu", "onnxruntime 1.17 or newer on a CPU", False, 20, 9, False),
    )
}
"""Opsets as the parsers' own pages give them, not tried on a device; DLA left TensorRT 10 after 10.7."""
