"""An engine in a process of its own: what goes wrong there is an error here, and the next call works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vae_edge_runtime import load
from vae_edge_runtime.backends.isolated import wire
from vae_edge_runtime.backends.isolated.backend import IsolatedBackend
from vae_edge_runtime.errors import BackendError, DeadlineExceeded, OptionError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is isolated on Linux and macOS only")

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def doubled() -> bytes:
    """X (n, 2) -> y = x + x, float32."""
    return _model([helper.make_node("Add", ["x", "x"], ["y"])])


def slow(*, foldable: bool) -> bytes:
    """X (n, 2) -> y, after 300 products of 2,000 x 2,000 matrices: a minute. Foldable ones run at loading."""
    products = 300
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["zeros"])]
    nodes += [helper.make_node("ReduceMin", ["x"], ["least"], keepdims=0)]
    nodes += [
        helper.make_node("Identity", ["zeros"], ["m0"])
        if foldable
        else helper.make_node("Add", ["zeros", "least"], ["m0"])
    ]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(products)]
    nodes += [helper.make_node("ReduceMax", [f"m{products}"], ["top"], keepdims=0)]
    nodes += [helper.make_node("Add", ["x", "top"], ["y"])]
    return _model(nodes, shape=[2000, 2000])


def hungry() -> bytes:
    """X (n, 2) -> y, by way of 4 GB of zeros whose shape is computed at run time."""
    nodes = [
        helper.make_node("Identity", ["shape"], ["hidden"]),
        helper.make_node("ConstantOfShape", ["hidden"], ["zeros"]),
        helper.make_node("Sin", ["zeros"], ["waves"]),
        helper.make_node("ReduceMax", ["waves"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    return _model(nodes, shape=[1 << 15, 1 << 15])


def _model(nodes: list[onnx.NodeProto], shape: list[int] | None = None) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    sizes = [helper.make_tensor("shape", TensorProto.INT64, [2], shape)] if shape else []
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=sizes)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


Opener = Callable[..., IsolatedBackend]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens backends over graphs by name, and closes them."""
    backends = []

    def open_one(graphs: dict[str, bytes], **limits: float) -> IsolatedBackend:
        options = {"device": "cpu", "allow_fallback": False, "threads": 1, "spin": None}
        backend = IsolatedBackend(graphs.__getitem__, **{"deadline_s": None, "memory_bytes": None, **options, **limits})  # type: ignore[arg-type]
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        backend.close()


def _pid(backend: IsolatedBackend) -> int:
    assert backend._process is not None
    return backend._process.pid


def test_results_are_those_of_the_engine_and_may_be_written_to(opened: Opener) -> None:
    backend = opened({"g": doubled()})
    (y,) = backend.run("g", {"x": ROWS}, ["y"])
    assert np.array_equal(y, 2 * ROWS)
    y[0] = np.nan
    description = backend.describe()
    assert (description.backend, description.device, description.isolated) == ("onnxruntime", "cpu", True)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGBUS])
def test_a_crash_names_its_signal_and_the_next_call_works(opened: Opener, number: signal.Signals) -> None:
    backend = opened({"g": doubled()})
    os.kill(_pid(backend), number)
    with pytest.raises(BackendError, match=rf"signal {number.value}\. The next call starts it again"):
        backend.run("g", {"x": ROWS}, ["y"])
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


def test_a_run_beyond_its_deadline_is_stopped_and_the_next_call_works(opened: Opener) -> None:
    backend = opened({"slow": slow(foldable=False), "g": doubled()}, deadline_s=0.5)
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not finish running graph 'slow' in time"):
        backend.run("slow", {"x": ROWS}, ["y"])
    assert time.monotonic() - start < 30  # the graph takes a minute
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


def test_a_graph_that_keeps_the_engine_busy_while_it_loads_is_stopped(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened({"slow": slow(foldable=True), "g": doubled()})
    monkeypatch.setattr("vae_edge_runtime.backends.isolated.backend.LOADING_S", 2.0)
    with pytest.raises(DeadlineExceeded, match="loading graph 'slow'"):
        backend.prepare("slow")
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


def test_a_stopped_process_is_found_by_the_deadline(opened: Opener) -> None:
    backend = opened({"g": doubled()}, deadline_s=0.3)
    backend.prepare("g")
    os.kill(_pid(backend), signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        backend.run("g", {"x": ROWS}, ["y"])
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts the private memory of a process")
def test_a_graph_that_wants_more_memory_than_its_budget_is_an_error_of_that_call(opened: Opener) -> None:
    backend = opened({"hungry": hungry(), "g": doubled()}, memory_bytes=1 << 30)
    with pytest.raises(BackendError):
        backend.run("hungry", {"x": ROWS}, ["y"])
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


def test_a_refused_graph_is_the_engines_error(opened: Opener) -> None:
    backend = opened({"bad": b"no graph", "g": doubled()})
    with pytest.raises(BackendError, match="refused graph 'bad'"):
        backend.run("bad", {"x": ROWS}, ["y"])
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)


def test_an_unknown_device_is_the_error_it_is_without_isolation() -> None:
    with pytest.raises(OptionError, match="device is 'npu'"):
        IsolatedBackend({}.__getitem__, device="npu", allow_fallback=False, threads=None, spin=None,
                        deadline_s=None, memory_bytes=None)  # fmt: skip


def test_a_process_that_cannot_be_started_is_an_error_of_ours(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as at the limit of processes, or where Python runs under an emulator that the system does not know."""
    monkeypatch.setattr(sys, "executable", str(tiny_path))
    with pytest.raises(BackendError, match="no process for the engine could be started") as caught:
        load(tiny_path, device="cpu", isolate=True)
    assert isinstance(caught.value.__cause__, OSError)


def test_calls_from_many_threads_get_their_own_rows(opened: Opener) -> None:
    backend = opened({"g": doubled()})
    results: dict[int, np.ndarray] = {}

    def call(i: int) -> None:
        results[i] = backend.run("g", {"x": ROWS + i}, ["y"])[0]

    threads = [threading.Thread(target=call, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[i], 2 * (ROWS + i)) for i in range(16))


def test_no_process_is_left_after_close_and_close_may_be_called_twice(opened: Opener) -> None:
    backend = opened({"g": doubled()})
    pid = _pid(backend)
    backend.close()
    backend.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(BackendError, match="closed"):
        backend.run("g", {"x": ROWS}, ["y"])


def test_the_process_ends_when_its_session_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from vae_edge_runtime.backends.isolated.backend import IsolatedBackend\n"
        "b = IsolatedBackend({}.__getitem__, device='cpu', allow_fallback=False, threads=1, spin=None,"
        " deadline_s=None, memory_bytes=None)\n"
        "print(b._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the engine's process outlived its session by 5 s")


def test_a_module_of_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "onnxruntime", "numpy", "select"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    backend = IsolatedBackend({"g": doubled()}.__getitem__, device="cpu", allow_fallback=False, threads=1, spin=None,
                              deadline_s=None, memory_bytes=None)  # fmt: skip
    assert np.array_equal(backend.run("g", {"x": ROWS}, ["y"])[0], 2 * ROWS)
    backend.close()
    assert not (tmp_path / "ran").exists()


def test_a_session_scores_the_same_in_a_process_of_its_own(tiny_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(130, 4)).astype(np.float32)
    with load(tiny_path, device="cpu") as here, load(tiny_path, device="cpu", isolate=True, deadline_s=60) as there:
        assert (here.info.isolated, there.info.isolated) == (False, True)
        assert "in a process of its own" in str(there.info)
        assert np.array_equal(here.score(x, maps=True).map, there.score(x, maps=True).map)
        assert np.array_equal(here.reconstruct(x), there.reconstruct(x))
        os.kill(_pid(there._backend), signal.SIGKILL)  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="signal 9"):
            there.score(x)
        assert np.array_equal(here.score(x).score, there.score(x).score)
        assert len(there.score(x[:0]).score) == 0


@pytest.mark.parametrize("option", ["deadline_s", "memory_bytes"])
@pytest.mark.parametrize(
    ("value", "isolate"), [(1 << 30, False), (0, True), (-1, True), (float("nan"), True), ("1", True), (True, True)]
)
def test_a_limit_that_cannot_be_kept_is_refused(tiny_path: Path, option: str, value: object, isolate: bool) -> None:
    with pytest.raises(OptionError, match=option):
        load(tiny_path, isolate=isolate, **{option: value})  # type: ignore[arg-type]


def _frame(*pieces: bytes) -> wire.Read:
    data = b"".join(pieces)
    position = 0

    def read(count: int) -> bytearray:
        nonlocal position
        if position + count > len(data):
            raise EOFError
        position += count
        return bytearray(data[position - count : position])

    return read


def test_a_frame_comes_back_as_it_was_sent() -> None:
    arrays = {"x": ROWS, "i": np.arange(4), "b": np.zeros((2, 0, 3), np.uint8), "s": np.float32(2).reshape(())}
    head, back, blob = wire.unpack(_frame(*map(bytes, wire.pack({"do": "run"}, arrays, b"graph"))))
    assert (head, blob) == ({"do": "run"}, b"graph")
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b"[]",
        b"no json",
        b'{"arrays": [["x", "float64", [1]]], "blob": 0}',
        b'{"arrays": [["x", "object", [1]]], "blob": 0}',
        b'{"arrays": [["x", "float32", [-1]]], "blob": 0}',
        b'{"arrays": [["x", "float32", [true]]], "blob": 0}',
        b'{"arrays": [["x", "float32", [1.5]]], "blob": 0}',
        b'{"arrays": [["x", "float32", [1099511627775, 1099511627775]]], "blob": 0}',
        b'{"arrays": [], "blob": -1}',
        b'{"arrays": [], "blob": "all"}',
        b'{"arrays": [], "blob": 1180591620717411303424}',
    ],
)
def test_a_frame_that_is_none_is_a_backend_error(head: bytes) -> None:
    with pytest.raises(BackendError):
        wire.unpack(_frame(len(head).to_bytes(8, "little"), head, b"\0" * 64))


def test_a_head_of_any_announced_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(BackendError, match="a head of"):
        wire.unpack(_frame((1 << 62).to_bytes(8, "little")))
