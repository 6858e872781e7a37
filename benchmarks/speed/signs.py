"""What unsigned 8-bit weights cost beside signed ones: ``python benchmarks/speed/signs.py [FOLDER]``, minutes.

The score graph of ``int8-cpu`` of each subject, with its own weights and with the same numbers as signed bytes, beside
fp32: one thread, all take turns. Bundles that a run of ``run.py`` left in FOLDER are taken as they are.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from speed_models import SUBJECTS, Subject, bundle

from vae_edge.bench.measure import Pace, interleaved, latency
from vae_edge_runtime import Bundle
from vae_edge_runtime.device.machine import cpu_model

WAYS = ("fp32", "int8-cpu", "signed", "signed, in float")


def signed(raw: bytes) -> bytes:
    """The same graph with signed weights, as int8-cpu was written before."""
    model = onnx.load_from_string(raw)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    stored = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    for name in {name for node in stored for name in (node.input[0], node.input[2])}:
        array = numpy_helper.to_array(tensors[name])
        if array.dtype == np.uint8:
            shifted = (array.astype(np.int16) - 128).astype(np.int8)
            tensors[name].CopyFrom(numpy_helper.from_array(shifted, name))
    made: bytes = model.SerializeToString()
    return made


def session_of(raw: bytes, *, in_float: bool) -> Any:
    """A session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", str(int(in_float)))
    return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def compared(subject: Subject, folder: Path) -> None:
    """Print a line for each number of rows: times over fp32's, and how far scores lie from those in float."""
    path = bundle(subject, folder, lambda what: print(f"  {what}", file=sys.stderr))
    with Bundle.open(path) as opened:
        fp32, integers = (opened.graph(variant, "score") for variant in ("fp32", "int8-cpu"))
    sessions = [
        session_of(fp32, in_float=False), session_of(integers, in_float=False),
        session_of(signed(integers), in_float=False), session_of(integers, in_float=True),
    ]  # fmt: skip
    rows = subject.rows(True, subject.batch, np.random.default_rng(8))
    for batch in (1, subject.batch):
        feeds = {sessions[0].get_inputs()[0].name: rows[:batch]}
        calls = [lambda one=one, feeds=feeds: one.run(["score"], feeds)[0] for one in sessions]
        times = interleaved(
            calls, Pace(rounds=subject.rounds, calls_per_turn=subject.calls), clock=time.perf_counter, sleep=time.sleep
        )
        p50 = [latency(each).p50_ms for each in times]
        exact = calls[3]()
        wrong = [np.max(np.abs(call() - exact) / np.abs(exact)) for call in calls[1:3]]
        told = ", ".join(f"{way} {ms / p50[0]:.2f}" for way, ms in zip(WAYS, p50, strict=True))
        print(
            f"{subject.name}, {batch} rows: {told}; off by {wrong[0]:.1e} unsigned, {wrong[1]:.1e} signed", flush=True
        )


def main() -> None:
    """All subjects."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    print(cpu_model(Path("/proc/cpuinfo").read_text()), onnxruntime.__version__)
    for subject in SUBJECTS:
        compared(subject, folder)


if __name__ == "__main__":
    main()
