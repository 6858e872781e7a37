"""Strip everything a device does not need, and name each constant by what it holds."""

from __future__ import annotations

import hashlib

import onnx
from onnx import numpy_helper

from vae_edge_export.onnx_version import IR_VERSION
from vae_edge_runtime.errors import ExportFailed


def strip_and_name(model: onnx.ModelProto, *, graph: str) -> onnx.ModelProto:
    """A new model with nodes, inputs, outputs and initialisers only.

    Doc strings, stack traces (they hold paths of the exporting machine) and shape annotations go.
    An initialiser is renamed to the hash of its type, shape and bytes, so equal weights of
    different graphs carry one name and are stored once.

    Raises:
        ExportFailed: an initialiser points to external data, or a local function is left.
    """
    if model.functions:
        raise ExportFailed(f"graph '{graph}' keeps local functions: {', '.join(f.name for f in model.functions)}")
    renamed: dict[str, str] = {}
    initializers: dict[str, onnx.TensorProto] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ExportFailed(f"graph '{graph}': weight {tensor.name} is stored outside the model")
        stored = numpy_helper.from_array(numpy_helper.to_array(tensor))
        stored.name = renamed[tensor.name] = weight_name(stored)
        initializers[stored.name] = stored
    nodes = []
    for node in model.graph.node:
        kept = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=node.name)
        kept.input.extend(renamed.get(name, name) for name in node.input)
        kept.output.extend(node.output)
        for attribute in sorted(node.attribute, key=lambda a: a.name):
            copied = kept.attribute.add()
            copied.CopyFrom(attribute)
            copied.ClearField("doc_string")
        nodes.append(kept)
    clean = onnx.ModelProto(ir_version=IR_VERSION, producer_name="vae-edge")
    clean.opset_import.extend(o for o in model.opset_import if o.domain in ("", "ai.onnx"))
    clean.graph.name = graph
    clean.graph.node.extend(nodes)
    clean.graph.initializer.extend(initializers[name] for name in sorted(initializers))
    for source, target in ((model.graph.input, clean.graph.input), (model.graph.output, clean.graph.output)):
        for value in source:
            copied_value = target.add(name=value.name)
            copied_value.type.CopyFrom(value.type)
    _repeat_check(clean, graph)
    return clean


def weight_name(tensor: onnx.TensorProto) -> str:
    """``w_`` and 16 hex digits of SHA-256 over type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.data_type}{list(tensor.dims)}".encode() + tensor.raw_data)
    return "w_" + digest.hexdigest()[:16]


def drop_dead_nodes(graph: onnx.GraphProto) -> None:
    """Remove nodes and initialisers that no output needs, in place."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    initializers = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _repeat_check(model: onnx.ModelProto, graph: str) -> None:
    outputs = [value.name for value in model.graph.output]
    names = {value.name for value in model.graph.input} | {t.name for t in model.graph.initializer}
    if passed := names.intersection(outputs):
        raise ExportFailed(
            f"graph '{graph}': output {min(passed)} is an input or a constant; the model ignores its input"
        )
