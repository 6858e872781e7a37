"""What an engine says of its layers: which kernel runs, and in which precision it writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError
from .binding import Binding
from .calls import Calls, releases_on_error
from .driver import Driver

_PRECISIONS = {
    "int8": "int8", "bfloat16": "bf16", "bf16": "bf16", "half": "fp16", "fp16": "fp16", "float": "fp32",
    "fp32": "fp32", "int64": "int64", "int32": "int32", "bool": "bool",
}  # fmt: skip
"""Words in TensorRT's formats, such as ``Channel major FP16 format where channel % 8 == 0``: the first counts."""


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        kind: TensorRT's word, such as ``CaskConvolution``. precision: of its first output; ``unknown`` where TensorRT
            does not say. tactic: the kernel; empty where there is no name.
    """

    name: str
    kind: str
    precision: str
    tactic: str = ""


def engine_layers(raw: bytes, *, binding: Binding, driver: Driver, graph: str) -> tuple[Layer, ...]:
    """Deserialise an engine and ask for its layers.

    Raises:
        BackendError: TensorRT does not take the engine, or answers in no form known.
    """
    with driver.current():
        text = _information(raw, binding, graph)
    return parse_layers(text, graph)


@releases_on_error
def _information(raw: bytes, binding: Binding, graph: str) -> str:
    """TensorRT's JSON; its objects are gone when this returns, while the context is still current."""
    trt, log = binding.module, binding.logger()
    calls = Calls(log, graph)
    with calls("starting its runtime"):
        runtime = trt.Runtime(log)
    with calls("loading the engine"):
        engine = runtime.deserialize_cuda_engine(raw)
    calls.must(engine, "loading the engine")
    with calls("asking the engine for its layers"):
        inspector = engine.create_engine_inspector()
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(text: str, graph: str) -> tuple[Layer, ...]:
    """Layers of TensorRT's own JSON.

    Raises:
        BackendError: it is another JSON, or none.
    """
    try:
        layers = json.loads(text)["Layers"]
        return tuple(_layer(layer) for layer in layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"TensorRT described the layers of graph '{graph}' in an unknown form: {error!r}") from error


def _layer(layer: Any) -> Layer:
    if isinstance(layer, str):  # an engine that was built without detail has names only
        return Layer(layer, "unknown", "unknown")
    outputs = layer.get("Outputs") or [{}]
    return Layer(
        name=str(layer["Name"]),
        kind=str(layer.get("LayerType", "unknown")),
        precision=_precision(str(outputs[0].get("Format/Datatype", ""))),
        tactic=str(layer.get("TacticName", "")),
    )


def _precision(text: str) -> str:
    words = text.lower()
    return next((name for word, name in _PRECISIONS.items() if word in words), "unknown")
