"""ONNX Runtime's providers for GPUs, on a build that seems to have them: what is asked of it, and what fails."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_edge_runtime import BackendError, ProviderUnavailable, load
from vae_edge_runtime.backends import ort_gpu
from vae_edge_runtime.backends.ort import _first_line
from vae_edge_runtime.backends.ort_providers import padded_rows

ROWS = np.random.default_rng(5).normal(size=(150, 4)).astype(np.float32)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass
class FakeGpuBuild:
    """An onnxruntime with CUDA whose kernels are those of the CPU.

    Attributes:
        starts: sessions have CUDA. preloads: only after ``preload_dlls``. breaks: the error of every run on CUDA.
        raises: the error of every session with CUDA.
        providers, rows: of each session, and of each run.
    """

    starts: bool = True
    preloads: bool = False
    breaks: str = ""
    raises: str = ""
    providers: list[Any] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    preloaded: int = 0


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpuBuild:
    import onnxruntime

    made, real = FakeGpuBuild(), onnxruntime.InferenceSession

    def session(raw: Any, *arguments: Any, providers: list[Any], **options: Any) -> Any:
        made.providers.append(providers)
        if made.raises and providers[0][0] == CUDA:
            raise RuntimeError(made.raises)
        inner = real(raw, providers=[CPU])
        has = providers[0][0] == CUDA and made.starts and (not made.preloads or made.preloaded)

        def run(names: Any, feeds: dict[str, Any]) -> Any:
            if has:
                made.rows.append(len(feeds["x" if "x" in feeds else "z"]))
            if has and made.breaks:
                raise RuntimeError(made.breaks)
            return inner.run(names, feeds)

        return SimpleNamespace(
            run=run, get_inputs=inner.get_inputs, get_providers=lambda: [CUDA, CPU] if has else [CPU]
        )

    def preload() -> None:
        made.preloaded += 1
        sys.stdout.write("Failed to load libcufft.so.12\n")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(onnxruntime, "__file__", str(tmp_path / "onnxruntime" / "__init__.py"))
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    return made


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The build's CUDA provider, which needs a library that is not there, as PyPI's does without its extras."""
    folder = tmp_path / "onnxruntime" / "capi"
    needed = folder / "libcublasLt.so.99"
    for target, more in ((needed, ["-Wl,-soname,libcublasLt.so.99"]), (folder / ort_gpu._LIBRARIES[CUDA], [needed])):
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-x", "none", "-Wl,--no-as-needed"]
        try:
            subprocess.run([*command, *more, "-o", target], check=True, capture_output=True)
        except OSError:
            pytest.skip("there is no compiler here")
    needed.unlink()
    return folder


@pytest.mark.usefixtures("build")
def test_the_reason_of_a_provider_that_does_not_start_is_in_the_error(
    build: FakeGpuBuild, tiny_path: Path, library: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build.starts = False
    with pytest.raises(ProviderUnavailable) as caught:
        load(tiny_path, device="cuda")
    said = str(caught.value)
    assert "lists 'cuda' and could not start it (libcublasLt.so.99: cannot open shared object file" in said
    assert 'pip install --upgrade "vae-edge[gpu]"' in said
    assert "JetPack" not in said
    assert build.preloaded == 1
    assert capfd.readouterr().out == ""


def test_the_place_in_onnxruntimes_source_is_left_out_of_a_message() -> None:
    text = (
        "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::python::Register"
        "TensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::ProviderOptions&) Please install TensorRT"
    )
    assert _first_line(RuntimeError(text)) == "Please install TensorRT"
    assert _first_line(RuntimeError("CUDA error 209: no kernel\nmore")) == "CUDA error 209: no kernel"


def test_a_provider_that_raises_has_its_reason_too(build: FakeGpuBuild, tiny_path: Path, library: Path) -> None:
    build.raises = "Please install TensorRT libraries as mentioned in the GPU requirements page"
    with pytest.raises(ProviderUnavailable, match=r"could not start it \(libcublasLt\.so\.99: cannot open"):
        load(tiny_path, device="cuda")
    assert build.preloaded == 1


def test_a_library_that_the_build_does_not_have_is_named(build: FakeGpuBuild, tiny_path: Path) -> None:
    build.starts = False
    with pytest.raises(ProviderUnavailable, match=r"this build has no libonnxruntime_providers_cuda\.so"):
        load(tiny_path, device="cuda")


def test_on_a_jetson_the_wheel_of_its_jetpack_is_named_and_not_pypis(
    build: FakeGpuBuild, tiny_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.starts = False
    monkeypatch.setattr(ort_gpu, "l4t_release", lambda: "kernel 5.15.148-tegra")
    with pytest.raises(ProviderUnavailable, match="onnxruntime-gpu for this JetPack, which is not the wheel of PyPI"):
        load(tiny_path, device="cuda")


def test_libraries_of_the_extra_are_preloaded_once_and_the_provider_tried_again(
    build: FakeGpuBuild, tiny_path: Path
) -> None:
    build.preloads = True
    with load(tiny_path, device="cuda") as vae:
        assert (vae.info.provider, vae.info.degraded, build.preloaded) == (CUDA, False, 1)
        vae.encode(ROWS)  # another session
    assert build.preloaded == 1


def test_a_gpu_that_fails_at_its_first_row_is_no_device_and_auto_says_so(build: FakeGpuBuild, tiny_path: Path) -> None:
    build.breaks = "CUDA error 209: no kernel image is available for execution on the device"
    with pytest.raises(ProviderUnavailable, match=r"failed at its first row.*no kernel image"):
        load(tiny_path, device="cuda")
    with load(tiny_path) as vae:
        assert (vae.info.device, vae.info.degraded) == ("cpu", True)
        assert "no kernel image" in str(vae.info.degraded_reason)
        assert len(vae.score(ROWS).score) == 150


def test_an_error_after_the_first_row_is_one_of_the_engine(build: FakeGpuBuild, tiny_path: Path) -> None:
    with load(tiny_path, device="cuda") as vae:
        build.breaks = "CUDA error 700: an illegal memory access was encountered"
        with pytest.raises(BackendError, match="illegal memory access"):
            vae.score(ROWS)


@pytest.mark.parametrize(("device", "value"), [("cuda", "0"), ("cuda-tf32", "1")])
def test_tf32_is_switched_by_the_device_and_by_nothing_else(
    build: FakeGpuBuild, tiny_path: Path, device: str, value: str
) -> None:
    with load(tiny_path, device=device) as vae:
        assert vae.info.device == device
    assert build.providers == [[(CUDA, {"use_tf32": value}), (CPU, {})]]


def test_a_board_whose_gpu_shares_its_memory_gets_the_options_for_it(
    build: FakeGpuBuild, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_gpu, "integrated_gpu", lambda: True)
    with load(tiny_path, device="cuda"):
        pass
    assert build.providers[0][0] == (
        CUDA,
        {
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "cudnn_conv_use_max_workspace": "0",
            "arena_extend_strategy": "kSameAsRequested",
        },
    )


def test_batches_are_filled_up_so_that_cudnn_meets_seven_shapes_and_not_64(
    build: FakeGpuBuild, tiny_path: Path
) -> None:
    with load(tiny_path, device="cuda") as vae, load(tiny_path, device="cpu") as cpu:
        build.rows.clear()
        for rows in range(1, 66):
            scores, expected = vae.score(ROWS[:rows]), cpu.score(ROWS[:rows])
            np.testing.assert_allclose(scores.score, expected.score, rtol=1e-5)
        assert set(build.rows) == {1, 2, 4, 8, 16, 32, 64}
    on_gpu = [padded_rows(rows) for rows in range(1, 65)]
    assert sorted(set(on_gpu)) == [1, 2, 4, 8, 16, 32, 64]
    assert all(filled >= rows for rows, filled in enumerate(on_gpu, start=1))
