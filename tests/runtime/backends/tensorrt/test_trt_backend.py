"""A session on TensorRT's doubles gives what the same session gives on the CPU."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_bundle
from rig import Rig
from tiny_bundle import TinyBundle

from vae_edge_runtime import VAE, BackendError, Bundle, OptionError, ProviderUnavailable, load, verify
from vae_edge_runtime.backends.tensorrt import backend as backend

ROWS = np.random.default_rng(5).normal(size=(150, 4)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return TinyBundle(tmp_path / "tiny.vaeb").write()


def test_a_session_gives_the_numbers_of_the_cpu(machine: Rig, path: Path) -> None:
    with load(path, device="cpu") as cpu, load(path, device="tensorrt") as gpu:
        np.testing.assert_allclose(gpu.score(ROWS).score, cpu.score(ROWS).score, rtol=1e-5)
        np.testing.assert_allclose(gpu.encode(ROWS).mean, cpu.encode(ROWS).mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(gpu.score(ROWS).is_anomaly, cpu.score(ROWS).is_anomaly)
        np.testing.assert_allclose(gpu.sample(9, seed=1), cpu.sample(9, seed=1), rtol=1e-5, atol=1e-6)
        assert len(gpu.score(ROWS[:0]).score) == 0
        info = gpu.info
        assert str(info) == "tensorrt 10.3.0 · native (mapped i/o) · fp32"
        assert (info.device, info.degraded) == ("tensorrt", False)
    gc.collect()


def test_verify_runs_the_golden_rows_on_it(machine: Rig, path: Path) -> None:
    report = verify(path, device="tensorrt")
    assert report.ok
    assert report.info.backend == "tensorrt"


def test_engines_are_built_by_the_first_session_and_loaded_by_the_second(machine: Rig, path: Path) -> None:
    for builds in (1, 1):
        with load(path, device="tensorrt") as vae:
            vae.score(ROWS)
        assert machine.trt.builds == builds
    with load(path, device="tensorrt") as vae:
        vae.encode(ROWS)
    assert machine.trt.builds == 2


def test_a_capture_that_fails_is_visible_as_degraded(machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.cuda.failures["cuStreamEndCapture"] = 901
    monkeypatch.setenv("VAE_EDGE_TENSORRT_IO", "copy")
    with load(path, device="tensorrt") as vae:
        vae.score(ROWS)
        assert vae.info.degraded
        assert "DEGRADED: graph 'score' at 1 rows was not captured" in str(vae.info)
        assert "native (copy i/o)" in str(vae.info)


def test_a_graph_that_does_not_build_frees_the_gpu(machine: Rig, path: Path) -> None:
    machine.trt.messages = ["Could not find any implementation for node gemm"]
    with pytest.raises(
        BackendError, match=r"no kernel for a layer of graph 'score': either .* memory .*, or this Tens"
    ):
        load(path, device="tensorrt")


def score_once_refused(machine: Rig, vae: VAE) -> None:
    machine.trt.run_fails = 1
    vae.score(ROWS)


def test_after_an_error_nothing_of_tensorrt_is_left_while_the_error_is_still_looked_at(
    machine: Rig, path: Path
) -> None:
    with pytest.raises(BackendError, match="failed running 64 rows") as caught, load(path, device="tensorrt") as vae:
        score_once_refused(machine, vae)
    assert caught.value.__traceback__ is not None  # it holds the frames that held contexts, an engine and a runtime
    assert machine.cuda.alive == []
    machine.trt.messages = ["Internal Error: tactic"]
    with pytest.raises(BackendError, match="Internal Error") as caught, load(path, device="tensorrt") as vae:
        vae.encode(ROWS)
    assert caught.value.__traceback__ is not None
    assert machine.cuda.alive == []


def test_sessions_one_after_another_never_give_the_cuda_context_back(machine: Rig, path: Path) -> None:
    for _ in range(3):
        with load(path, device="tensorrt") as vae:
            vae.score(ROWS[:2])
    assert machine.cuda.calls.count("cuDevicePrimaryCtxRetain") == 1
    assert "cuDevicePrimaryCtxRelease_v2" not in machine.cuda.calls


def test_sessions_that_nobody_closed_are_freed_before_python_ends_in_their_own_process(
    machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = load(path, device="tensorrt")
    assert machine.cuda.alive != []
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        backend._close_all()
        assert machine.cuda.alive != []  # they are the parent's
    backend._close_all()
    assert machine.cuda.alive == []
    vae.close()


def test_tf32_is_a_device_of_its_own_with_engines_of_its_own(
    machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, flagged in (("tensorrt", 0), ("tensorrt-tf32", 1), ("tensorrt", 1), ("tensorrt-tf32", 1)):
        with load(path, device=device) as vae:
            assert vae.info.device == device
        assert len(machine.trt.flagged) == flagged
    assert (machine.trt.builds, len(machine.trt.cleared)) == (2, 1)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(ProviderUnavailable, match='forbids TF32 to this process: unset it, or take device="tensorrt"'):
        load(path, device="tensorrt-tf32")


def test_a_row_is_run_when_a_session_opens_and_other_sizes_where_they_are_asked_for(
    machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(path, device="tensorrt") as vae:
        assert len(machine.cuda.executables) == 1
        machine.cuda.calls.clear()
        vae.score(ROWS[:1])
        assert "cuStreamBeginCapture_v2" not in machine.cuda.calls
        assert not [call for call in machine.cuda.calls if "Alloc" in call]
    monkeypatch.setenv("VAE_EDGE_TENSORRT_WARM_UP", "1, 8,64")
    with load(path, device="tensorrt"):
        assert len(machine.cuda.executables) == 3
    monkeypatch.setenv("VAE_EDGE_TENSORRT_WARM_UP", "all")
    with pytest.raises(OptionError, match="write numbers of rows from 1, such as 1,8"):
        load(path, device="tensorrt")


def test_without_tensorrt_onnx_runtimes_provider_is_next_and_an_error_names_both(
    rig: Rig, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(backend, "process_driver", rig.process_driver)
    with pytest.raises(ProviderUnavailable, match=r"TensorRT itself: tensorrt cannot.*python3-libnvinfer.*By ONNX Run"):
        load(path, device="tensorrt")
    with load(path, device="tensorrt", allow_fallback=True) as vae:
        assert vae.info.degraded
        assert len(vae.score(ROWS).score) == 150


@pytest.fixture
def offers_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An onnxruntime that seems to have TensorRT; the list holds the providers of each session it makes."""
    import onnxruntime

    seen: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(raw: bytes, *arguments: Any, providers: list[Any], **options: Any) -> Any:
        seen.append(providers)
        made = real(raw, providers=["CPUExecutionProvider"])
        return SimpleNamespace(run=made.run, get_inputs=made.get_inputs, get_providers=lambda: [providers[0][0]])

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that it is afterwards what it was before
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    monkeypatch.setenv("VAE_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return seen


def test_onnx_runtimes_provider_keeps_its_engines_and_knows_the_batches(
    offers_tensorrt: list[Any], path: Path, tmp_path: Path
) -> None:
    with load(path, device="tensorrt") as vae:
        assert vae.info.provider == "TensorrtExecutionProvider"
    (name, settings), (last, nothing) = offers_tensorrt[0]
    assert (name, last, nothing) == ("TensorrtExecutionProvider", "CPUExecutionProvider", {})
    folder = tmp_path / "cache" / "onnxruntime-tensorrt"
    with Bundle.open(path) as bundle:
        digest = hashlib.sha256(bundle.graph("fp32", "score")).hexdigest()
    assert settings == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder / digest[:32]),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_max_workspace_size": str(256 << 20),
        "trt_profile_min_shapes": "x:1x4",
        "trt_profile_opt_shapes": "x:64x4",
        "trt_profile_max_shapes": "x:64x4",
    }
    for private in (folder, folder / digest[:32]):
        assert private.stat().st_mode & 0o777 == 0o700


def test_a_retrained_bundle_does_not_run_on_the_engine_that_onnx_runtime_kept_of_the_old_one(
    offers_tensorrt: list[Any], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tiny_bundle.WEIGHTS, "b_out", tiny_bundle.WEIGHTS["b_out"] + np.float32(1))
    retrained = TinyBundle(tmp_path / "retrained.vaeb").write()
    for file in (path, retrained, path):
        with load(file, device="tensorrt"):
            pass
    engines = [providers[0][1]["trt_engine_cache_path"] for providers in offers_tensorrt]
    assert engines[0] == engines[2] != engines[1]
    timings = {providers[0][1]["trt_timing_cache_path"] for providers in offers_tensorrt}
    assert timings == {str(tmp_path / "cache" / "onnxruntime-tensorrt")}  # times of kernels know no weights


def test_the_log_line_of_a_build_is_seen_once(machine: Rig, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), load(path, device="tensorrt") as vae:
        vae.score(ROWS)
    assert caplog.text.count("building a TensorRT engine") == 1
