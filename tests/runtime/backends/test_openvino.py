"""A session on OpenVINO gives what the same session gives on ONNX Runtime."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cpus import need_bfloat16
from tiny_bundle import TinyBundle

from vae_edge_runtime import BackendError, MissingDependency, ProviderUnavailable, load, verify
from vae_edge_runtime.backends.opening import open_backend
from vae_edge_runtime.backends.openvino_unroll import unroll_transposed

pytest.importorskip("openvino", reason="the extra openvino is not installed")
ROWS = np.random.default_rng(3).normal(size=(130, 4)).astype(np.float32)


def test_it_computes_what_onnx_runtime_computes(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu") as cpu, load(tiny_path, device="openvino", threads=1) as other:
        np.testing.assert_allclose(other.score(ROWS).score, cpu.score(ROWS).score, rtol=2e-6)
        np.testing.assert_allclose(other.score(ROWS, maps=True).map, cpu.score(ROWS, maps=True).map, rtol=1e-5)
        np.testing.assert_allclose(other.encode(ROWS).logvar, cpu.encode(ROWS).logvar, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other.sample(7, seed=2), cpu.sample(7, seed=2), rtol=1e-5, atol=1e-6)
        assert other.score(ROWS[:0]).score.shape == (0,)
        info = other.info
        assert (info.backend, info.device, info.provider, info.threads) == ("openvino", "openvino", "CPU", 1)
        assert (info.degraded, str(info).split(" · ")[1:]) == (False, ["CPU", "fp32"])


def test_golden_vectors_of_the_bundle_are_right_on_it(tiny_path: Path) -> None:
    assert verify(tiny_path, device="openvino").ok


def test_bfloat16_is_coarser_and_says_what_it_is(tiny_path: Path) -> None:
    need_bfloat16()
    with load(tiny_path, device="openvino") as exact, load(tiny_path, device="openvino-bf16", threads=1) as coarse:
        a, b = exact.score(ROWS).score, coarse.score(ROWS).score
        np.testing.assert_allclose(b, a, rtol=0.05)
        assert np.max(np.abs(b - a) / a) > 1e-4  # 8 bits of mantissa, and not float32 by another name
        info = coarse.info
    assert (info.backend, info.device, info.provider, info.variant) == (
        "openvino",
        "openvino-bf16",
        "CPU, bfloat16",
        "fp32",
    )
    assert not verify(tiny_path, device="openvino-bf16").ok  # the bundle's proof is of float32


@pytest.mark.parametrize(
    ("kernel", "attributes", "form"),
    [
        ((4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, "Convolution"),
        ((3, 5), {"strides": [2, 2], "pads": [1, 2, 0, 1], "output_padding": [0, 1]}, "Convolution"),
        ((3, 3), {"strides": [3, 3]}, "Convolution"),
        ((3, 3), {"strides": [2, 1]}, "ConvolutionBackpropData"),
        ((3, 3), {"strides": [1, 1]}, "ConvolutionBackpropData"),
        ((3, 3), {"strides": [2, 2], "dilations": [2, 2]}, "ConvolutionBackpropData"),
        ((2, 2), {"strides": [2, 2], "output_padding": [1, 1]}, "ConvolutionBackpropData"),
        ((3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, "ConvolutionBackpropData"),
        ((4,), {"strides": [2]}, "ConvolutionBackpropData"),
    ],
)
def test_the_form_for_bfloat16_is_exact(kernel: tuple[int, ...], attributes: dict[str, object], form: str) -> None:
    import openvino

    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 5, 7)[: len(kernel) + 2]).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", *x.shape[1:]])],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [
            onnx.numpy_helper.from_array(rng.normal(size=(4, 6, *kernel)).astype(np.float32), "w"),
            onnx.numpy_helper.from_array(rng.normal(size=6).astype(np.float32), "b"),
        ],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    found = []
    for unrolled in (False, True):
        model = openvino.Core().read_model(proto.SerializeToString())
        if unrolled:
            assert unroll_transposed(model) == (form == "Convolution")
            assert form in [node.get_type_name() for node in model.get_ordered_ops()]
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        request = openvino.compile_model(model, "CPU", settings).create_infer_request()
        request.infer({"x": x})
        found.append(np.array(request.get_tensor("y").data))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)


def test_a_cpu_without_bfloat16_is_refused_or_the_fallback_seen(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    with pytest.raises(ProviderUnavailable, match='no bfloat16 arithmetic: pass device="openvino"'):
        load(tiny_path, device="openvino-bf16")
    with load(tiny_path, device="openvino-bf16", allow_fallback=True) as vae:
        assert (vae.info.device, vae.info.degraded) == ("cpu", True)
        assert "no bfloat16 arithmetic" in str(vae.info.degraded_reason)


def test_results_stay_as_they_are_when_the_session_goes_on_or_ends(tiny_path: Path) -> None:
    with load(tiny_path, device="openvino") as vae:
        first = vae.score(ROWS[:5]).score
        kept = first.copy()
        vae.score(ROWS[5:10])
    np.testing.assert_array_equal(first, kept)


def test_many_threads_get_their_own_numbers(tiny_path: Path) -> None:
    with load(tiny_path, device="openvino", threads=1) as vae, ThreadPoolExecutor(8) as pool:
        whole = vae.score(ROWS).score
        parts = list(pool.map(lambda i: float(vae.score(ROWS[i : i + 1]).score[0]), range(len(ROWS))))
    np.testing.assert_allclose(parts, whole, rtol=2e-6)


def test_a_graph_that_it_does_not_take_is_refused_in_its_words() -> None:
    backend = open_backend("openvino", lambda name: b"no onnx", allow_fallback=False, threads=None)
    with pytest.raises(BackendError, match=r"openvino \S+ refused graph 'score': \S"):
        backend.prepare("score")


def test_a_feed_that_does_not_fit_is_an_error_of_the_engine(tiny: TinyBundle) -> None:
    with load(tiny.write(), device="openvino") as vae:
        with pytest.raises(BackendError, match="openvino failed running graph 'score'"):
            vae._backend.run("score", {"x": np.zeros((1, 5), np.float32)}, ["score"])
        assert vae.score(ROWS[:1]).score.shape == (1,)


def test_without_the_package_the_extra_is_named_or_the_fallback_seen(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r'pip install "vae-edge\[openvino\]"'):
        load(tiny_path, device="openvino")
    with load(tiny_path, device="openvino", allow_fallback=True) as vae:
        assert (vae.info.device, vae.info.degraded) == ("cpu", True)
        assert "openvino" in str(vae.info.degraded_reason)
