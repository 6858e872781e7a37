"""Graphs of one node with mutated attributes, constants and shapes; those that pass the scanner are run."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from mutate import NUMBERS
from onnx import helper, numpy_helper
from operator_cases import CASES
from operator_graphs import build

from vae_edge_runtime import GraphRefused
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.format.onnx_scan import scan

MEMORY_BYTES, LIMIT_S = 8 << 30, 120.0
ENGINES = ("onnxruntime", "openvino")
SMALL = (-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 8)
_SIGNED = tuple(n for n in NUMBERS if -(1 << 63) <= n < 1 << 63)


def number(rng: random.Random) -> int:
    """Mostly a small one."""
    return rng.choice(SMALL) if rng.random() < 0.7 else rng.choice(_SIGNED)


def mutate(model: onnx.ModelProto, rng: random.Random) -> None:
    """One change to the node, to a constant, or to the shape of an input."""
    node, graph = model.graph.node[0], model.graph
    what = rng.random()
    if what < 0.55:
        schema = onnx.defs.get_schema(node.op_type, 18)
        kinds = {name: int(a.type.value) for name, a in schema.attributes.items()}
        wanted = [name for name, kind in kinds.items() if kind in (1, 2, 3, 6, 7, 8)]
        if wanted:
            name = rng.choice(wanted)
            kept = [a for a in node.attribute if a.name != name]
            old = next((a for a in node.attribute if a.name == name), None)
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, changed(kinds[name], old, rng))])
    elif what < 0.75 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        array = numpy_helper.to_array(tensor).copy()
        if rng.random() < 0.2:
            array = array.reshape(-1)[: rng.randrange(array.size + 1)]
        elif array.size:
            at = rng.randrange(array.size)
            with np.errstate(all="ignore"):
                array.reshape(-1)[at : at + 1] = np.array([number(rng)]).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif what < 0.9 and graph.input:
        shape = rng.choice(graph.input).type.tensor_type.shape
        if rng.random() < 0.3:
            shape.dim.add().dim_value = rng.choice((0, 1, 2, 3))
        elif len(shape.dim) > 1:
            shape.dim[rng.randrange(1, len(shape.dim))].dim_value = rng.choice((0, 1, 2, 3, 5, 64))
    elif node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(("", *node.input))


def changed(kind: int, old: onnx.AttributeProto | None, rng: random.Random) -> Any:
    """A value for an attribute of this kind, in ONNX's numbering."""
    if kind == 1:
        return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf"), 0.5))
    if kind == 2:
        return number(rng)
    if kind == 3:
        return rng.choice(("", "NOTSET", "SAME_UPPER", "VALID", "bidirectional", "reverse", "linear", "cubic", "x"))
    if kind == 8:
        return [changed(3, None, rng).encode() for _ in range(rng.randrange(1, 4))]
    length = len(old.ints or old.floats) if old is not None and rng.random() < 0.8 else rng.randrange(6)
    values = [number(rng) if rng.random() < 0.5 else 1 for _ in range(length)]
    return list(map(float, values or [1])) if kind == 6 else values or [number(rng)]


def runner(engine: str) -> Callable[[bytes, dict[str, Any]], object]:
    """What runs a graph once."""
    if engine == "onnxruntime":
        ort = require("onnxruntime", extra="cpu", why="fuzzing")
        options = ort.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, 1, 1

        def run(raw: bytes, feeds: dict[str, Any]) -> object:
            return ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    else:
        core = require("openvino", extra="openvino", why="fuzzing").Core()

        def run(raw: bytes, feeds: dict[str, Any]) -> object:
            settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
            return core.compile_model(core.read_model(raw), "CPU", settings).create_infer_request().infer(feeds)

    return run


def feeds_of(model: onnx.ModelProto, rows: int, engine: str) -> dict[str, Any]:
    """Numbers for the inputs, small enough to be an index now and then.

    OpenVINO gets 0 for every integer: it does not check indices that come out of rows (``docs/limits.md``).
    """
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else rows for d in kind.shape.dim]
        numbers = np.arange(int(np.prod(shape))) % 7 / 3 - 0.7
        if engine == "openvino" and kind.elem_type in (6, 7):
            numbers = numbers * 0
        feeds[value.name] = numbers.reshape(shape).astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return feeds


def graphs(rng: random.Random) -> Iterator[bytes | None]:
    """Mutated graphs without end; None for one that the scanner refuses."""
    seeds = [build(op, case)[0] for op, case in CASES.items()]
    while True:
        model = onnx.load_from_string(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 3))):
            mutate(model, rng)
        raw = model.SerializeToString()
        try:
            scan(raw)
        except GraphRefused:
            yield None
        else:
            yield raw


def end_of(engine: str, raws: Sequence[bytes]) -> str:
    """How a process of its own ends that runs these graphs with batches of 1, 2 and 5 rows; empty where in order."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            run = runner(engine)
            for raw in raws:
                for rows in (1, 2, 5):
                    with contextlib.suppress(Exception):  # refusing is the engine's right; ending the process is not
                        run(raw, feeds_of(onnx.load_from_string(raw), rows, engine))
        finally:
            os._exit(0)
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else ""
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"no end within {LIMIT_S:.0f} s"
