"""Rows that lie on the GPU are scored from where they are, on the doubles; nothing here is a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import BIAS, Stream
from numpy.typing import NDArray
from rig import Rig
from shell import run
from tiny_bundle import TinyBundle

from vae_edge_runtime import InputError, Status, load
from vae_edge_runtime.backends.gpu_rows import _Tensor, gpu_rows, on_gpu

ROWS = np.random.default_rng(5).normal(size=(150, 4)).astype(np.float32)


class Array:
    """Rows in memory of the double, which says so as CuPy does."""

    def __init__(self, rig: Rig, rows: NDArray[Any], **says: Any) -> None:
        driver = rig.process_driver()
        with driver.current():
            self.address = driver.allocate(max(rows.nbytes, 1))
        ctypes.memmove(self.address - BIAS, rows.tobytes(), rows.nbytes)
        self._free, self._current, self.rows = driver.free, driver.current, rows
        self.__cuda_array_interface__ = {
            "shape": rows.shape,
            "typestr": rows.dtype.str,
            "data": (self.address, False),
            "version": 3,
        } | says

    def close(self) -> None:
        with self._current():
            self._free(self.address)


class Capsule(Array):
    """The same by DLPack alone, as JAX has it."""

    def __init__(self, rig: Rig, rows: NDArray[Any], code: int = 2) -> None:
        super().__init__(rig, rows)
        del self.__cuda_array_interface__
        self.shape = (ctypes.c_int64 * rows.ndim)(*rows.shape)
        self.tensor = _Tensor(self.address, 2, 0, rows.ndim, code, 8 * rows.itemsize, 1, self.shape, None, 0)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int) -> Any:
        assert stream == 1
        new = ctypes.pythonapi.PyCapsule_New
        new.argtypes, new.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return TinyBundle(tmp_path / "tiny.vaeb").write()


@pytest.mark.parametrize("kind", [Array, Capsule])
@pytest.mark.parametrize("io", ["mapped", "copy"])
def test_rows_of_the_gpu_get_the_scores_of_rows_of_the_host_without_a_copy_to_it(
    machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Array], io: str
) -> None:
    monkeypatch.setenv("VAE_EDGE_TENSORRT_IO", io)
    if kind is Capsule:  # stream 1, the legacy one, is always there
        machine.cuda.streams[1] = Stream()
    rows = kind(machine, ROWS)
    with load(path, device="tensorrt") as vae:
        expected = vae.score(ROWS)
        machine.cuda.calls.clear()
        for _ in range(3):  # eager, captured, launched
            scores = vae.score(rows)
            np.testing.assert_array_equal(scores.score, expected.score)
            np.testing.assert_array_equal(scores.is_anomaly, expected.is_anomaly)
        assert machine.cuda.calls.count("cuMemcpyDtoDAsync_v2") == 3 * 3  # 150 rows in batches of 64
        assert "cuMemcpyHtoDAsync_v2" not in machine.cuda.calls
        assert np.array_equal(vae.score(ROWS).score, expected.score), "rows of the host after those of the GPU"
    rows.close()
    machine.cuda.streams.pop(1, None)


def test_a_row_that_is_not_finite_on_the_gpu_gets_a_status(machine: Rig, path: Path) -> None:
    bad = ROWS[:5].copy()
    bad[1, 2], bad[3, 0] = np.nan, np.inf
    rows = Array(machine, bad)
    with load(path, device="tensorrt") as vae:
        scores = vae.score(rows)
    assert [Status(status) for status in scores.status] == [
        Status.OK,
        Status.NON_FINITE_OUTPUT,
        Status.OK,
        Status.NON_FINITE_OUTPUT,
        Status.OK,
    ]
    assert np.isnan(scores.score[[1, 3]]).all()
    rows.close()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"typestr": "<f8", "shape": (4, 2)}, "is float64 on the GPU"),
        ({"shape": (2, 8)}, r"has shape \(2, 8\)"),
        ({"strides": (32, 4)}, "not one block of memory"),
        ({"mask": object()}, "has a mask"),
        ({"data": (BIAS, False)}, "lies on no GPU"),
    ],
)
def test_rows_that_do_not_fit_are_refused(machine: Rig, path: Path, says: dict[str, Any], message: str) -> None:
    rows = Array(machine, ROWS[:4], **says)
    with load(path, device="tensorrt") as vae, pytest.raises(InputError, match=message):
        vae.score(rows)
    rows.close()


def test_rows_of_another_gpu_are_refused(machine: Rig, path: Path) -> None:
    rows = Array(machine, ROWS[:4])
    with load(path, device="tensorrt") as vae:
        machine.cuda.ordinal = 1
        with pytest.raises(InputError, match="lies on GPU 1, this session runs on GPU 0"):
            vae.score(rows)
    rows.close()


def test_other_devices_say_what_to_pass(machine: Rig, path: Path) -> None:
    rows = Array(machine, ROWS[:4])
    with load(path, device="cpu") as vae, pytest.raises(InputError, match=r"x\.cpu\(\)\.numpy\(\)"):
        vae.score(rows)
    rows.close()


def test_slices_start_where_their_rows_do(machine: Rig) -> None:
    rows = Array(machine, ROWS)
    whole = gpu_rows(rows, shape=(4,), dtype="float32")
    part = whole[64:128]
    assert (part.address - whole.address, part.shape, part.size_bytes) == (64 * 16, (64, 4), 64 * 16)
    assert len(whole[128:192]) == 22
    rows.close()


def test_arrays_of_the_host_are_never_asked() -> None:
    class Trap:
        __cuda_array_interface__ = property(lambda self: 1 / 0)

    assert not on_gpu(ROWS)
    assert not on_gpu([1.0])
    with pytest.raises(InputError, match="detached from training"):
        on_gpu(Trap())


def test_dlpack_of_types_that_no_model_takes_is_refused(machine: Rig) -> None:
    rows = Capsule(machine, ROWS[:4], code=4)  # bfloat16
    with pytest.raises(InputError, match="DLPack's type 4"):
        gpu_rows(rows, shape=(4,), dtype="float32")
    rows.close()


def test_the_split_of_a_run_adds_up_and_frees_its_events(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io="copy")
    splits = executor.split(3, 5)
    assert len(splits) == 5
    assert all(min(s.copy_in_ms, s.compute_ms, s.copy_out_ms, s.enqueue_ms) >= 0 for s in splits)
    assert rig.cuda.events == {}
    assert rig.cuda.calls.count("cuMemcpyHtoDAsync_v2") >= 2 * 5
    executor.close()
    driver.close()


def test_bench_split_tells_copies_from_compute(machine: Rig, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_EDGE_TENSORRT_IO", "copy")
    once = ("--rounds", 1, "--starts", 0, "--batches", "1,8")
    report = run("bench", path, "--devices", "tensorrt", "--split", *once, "--json").json()
    assert [(part["variant"], part["batch"]) for part in report["split"]] == [("fp32", 1), ("fp32", 8)]
    assert all(part[name] > 0 for part in report["split"] for name in ("copy_in_ms", "compute_ms", "enqueue_ms"))
    refused = run("bench", path, "--devices", "cpu", "--split", *once)
    assert (refused.code, refused.out) == (2, "")
    assert "'cpu' does not tell copies from compute; take tensorrt" in refused.err
