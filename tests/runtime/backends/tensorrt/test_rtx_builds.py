"""TensorRT RTX really parses and builds every graph of every family at every precision, without a GPU.

It cannot load or run what it built: that takes a GPU, and a Jetson takes full TensorRT. Strong typing
makes it a check for missing casts, and its parser is that of TensorRT.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export import ExportConfig, export
from vae_edge_export.gates import Gate
from vae_edge_runtime import BackendError
from vae_edge_runtime.backends.tensorrt import Binding, BuildOptions, build, check_engines, find_binding
from vae_edge_runtime.format.bundle import Bundle

pytestmark = pytest.mark.rtx
_CHOSEN = (
    "tutorial: flat",
    "tutorial: encoder, fc_mu",  # upsampling: merged in fp32, as traced in fp16 and int8
    "spatial",
    "conditional: label",
    "sequence",
    "hierarchical",
    "VQ-VAE by hand",
    "compression",
)
FAMILIES = {family.name: family for family in families.by_hand() if family.name.startswith((*_CHOSEN, "likelihood: g"))}
"""Those that differ in their operators; the others built as well when they were tried by hand."""
OPEN = Gate(
    min_rank_correlation=0, min_decision_agreement=0, max_auroc_change=1, min_psnr_db=0, min_ssim=0, max_latent_error=9
)
"""Weights are random here; whether a variant is good is another test's question."""


@pytest.fixture(scope="module")
def rtx() -> Binding:
    pytest.importorskip("tensorrt_rtx", reason="make rtx installs it")
    return find_binding(rtx=True)


def bundle_of(name: str, folder: Path, *precisions: Any) -> Path:
    family, rng = FAMILIES[name], np.random.default_rng(0)
    torch.manual_seed(0)
    condition = {"condition": family.condition(rng)} if family.condition else {}
    config = ExportConfig(
        precisions=precisions, gates=dict.fromkeys(precisions, OPEN), false_positive_rate=0.05, **family.config
    )
    path = folder / "family.vaeb"
    export(family.make().eval(), path, calibration=family.rows(rng), config=config, **condition, **family.options)
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_every_graph_builds(name: str, tmp_path: Path, rtx: Binding) -> None:
    path = bundle_of(name, tmp_path, "fp32", "fp16", "int8", "int8-cpu")
    found = check_engines(path, variant="all", options=BuildOptions(max_batch=16), binding=rtx)
    assert min(one.engine_bytes for one in found.engines) > 1000
    with Bundle.open(path) as bundle:
        graphs = {(variant, graph) for variant, v in bundle.manifest.variants.items() for graph in v.graphs}
    assert {(one.variant, one.graph) for one in found.engines} == {v for v in graphs if v[0] != "int8-cpu"}


def test_int8_for_cpus_and_junk_are_refused_in_words(tmp_path: Path, rtx: Binding) -> None:
    with Bundle.open(bundle_of("tutorial: flat MLP on pictures", tmp_path, "int8-cpu")) as bundle:
        unsigned = bundle.graph("int8-cpu", "score")
    with pytest.raises(BackendError, match=r"(?s)refused graph 'score'.*(zero point|UINT8|Int32)"):
        build(unsigned, BuildOptions(), binding=rtx, graph="score")
    with pytest.raises(BackendError, match="parse the ONNX"):
        build(b"junk", BuildOptions(), binding=rtx, graph="score")


def large_graph(layers: int = 24, channels: int = 256) -> bytes:
    """ONNX of a stack of convolutions that takes about a second to build."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for i in range(layers):
        weights.append(
            numpy_helper.from_array(rng.normal(size=(channels, channels, 3, 3)).astype(np.float32) / 48, f"w{i}")
        )
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        last = f"r{i}"
    shape = ["n", channels, 16, 16]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def build_and_wait(raw: bytes, rtx: Binding, seconds: float) -> None:
    build(raw, BuildOptions(), binding=rtx, graph="large")
    time.sleep(seconds)  # the build ended before the signal came, and the signal is still to come


def test_ctrl_c_ends_a_real_build_wherever_it_strikes(rtx: Binding) -> None:
    raw = large_graph()
    whole = build(raw, BuildOptions(), binding=rtx, graph="large").seconds
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        timer = threading.Timer(share * whole, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            build_and_wait(raw, rtx, 2 * whole)
        timer.join()
    assert not [thread for thread in threading.enumerate() if "build" in thread.name]
    assert len(build(raw, BuildOptions(), binding=rtx, graph="large").engine) > 1000


def test_options_of_the_builder_are_taken(rtx: Binding, tmp_path: Path) -> None:
    with Bundle.open(bundle_of("tutorial: flat MLP on pictures", tmp_path, "fp32")) as bundle:
        raw = bundle.graph("fp32", "score")
    options = BuildOptions(optimization_level=1, aux_streams=0, timing_iterations=2)
    assert len(build(raw, options, binding=rtx, graph="score", tf32=True, tactic_bytes=1 << 30).engine) > 1000
