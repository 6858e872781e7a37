"""The executor against doubles of driver and TensorRT: right numbers, no forbidden call, nothing left behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rig import Rig, feeds_of

from vae_edge_runtime import BackendError, OptionError, ProviderUnavailable, SessionClosed
from vae_edge_runtime.backends.tensorrt import Driver, Executor
from vae_edge_runtime.backends.tensorrt.executor import buckets


def check(executor: Executor, rows: int, seed: int = 0) -> None:
    feeds = feeds_of(rows, seed)
    s, y = executor.run(feeds, ["s", "y"])
    np.testing.assert_allclose(y, 2 * feeds["x"] + 1, rtol=1e-6)
    np.testing.assert_allclose(s, feeds["x"].sum((1, 2)) + feeds["k"], rtol=1e-5, atol=1e-5)


def close(executor: Executor, driver: Driver) -> None:
    executor.close()
    executor.close()
    driver.close()
    driver.close()


@pytest.mark.parametrize("io", ["mapped", "copy"])
@pytest.mark.parametrize("max_batch", [1, 6, 64])
def test_every_number_of_rows_gives_the_right_numbers_twice(rig: Rig, io: str, max_batch: int) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, max_batch=max_batch, io=io)
    for again in range(2):  # the first run of a bucket is eager, the second is its CUDA graph
        for rows in [*range(1, 2 * max_batch + 2)] if max_batch < 64 else [1, 2, 3, 33, 64, 65, 200]:
            check(executor, rows, seed=again * 1000 + rows)
    assert (executor.eager_reason, executor.io) == (None, io)
    close(executor, driver)


def test_buckets_are_powers_of_two_and_the_largest_batch() -> None:
    assert [buckets(n) for n in (1, 2, 6, 64)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8, 16, 32, 64)]


def test_a_bucket_is_captured_once_and_then_launched(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    for seed in range(5):
        check(executor, 3, seed)  # bucket 4
    assert (rig.cuda.launches, rig.cuda.calls.count("cuStreamBeginCapture_v2"), len(rig.cuda.executables)) == (4, 1, 1)
    check(executor, 5)
    assert len(rig.cuda.executables) == 2
    close(executor, driver)


def test_nothing_is_allocated_after_the_first_run_of_a_bucket(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io="copy")
    check(executor, 64)
    allocated = (len(rig.cuda.memory), len(rig.cuda.host))
    rig.cuda.calls.clear()
    for seed in range(3):
        check(executor, 64, seed)
    assert not [call for call in rig.cuda.calls if "Alloc" in call]
    assert allocated == (5, 4)  # scratch and four tensors; four pinned buffers
    assert sum(map(len, rig.cuda.memory.values())) == 64 * (2 * 3 * 8 * 4 + 8 + 4) + 64 * 1000
    close(executor, driver)


def test_memory_is_mapped_where_the_gpu_shares_it_and_copied_where_not(rig: Rig) -> None:
    for integrated, io in ((True, "mapped"), (False, "copy")):
        rig.cuda.integrated = integrated
        driver = rig.driver()
        executor = rig.executor(driver)
        assert executor.io == io
        check(executor, 2)
        assert (rig.cuda.calls.count("cuMemcpyHtoDAsync_v2") > 0) is not integrated
        close(executor, driver)


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_capture_that_fails_leaves_an_eager_executor_that_says_so(rig: Rig, call: str) -> None:
    rig.cuda.failures[call] = 901
    driver = rig.driver()
    executor = rig.executor(driver)
    for seed in range(3):
        check(executor, 3, seed)
    assert executor.eager_reason is not None
    assert f"'score' at 4 rows was not captured: CUDA call {call} failed with 901" in executor.eager_reason
    assert rig.cuda.calls.count("cuStreamBeginCapture_v2") == 1  # tried once, not at every call
    close(executor, driver)


def test_threads_share_two_lanes_of_each_profile_and_get_their_own_numbers(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: check(executor, 1 + seed % 40, seed), range(200)))
    assert len(rig.cuda.streams) <= 2 * 2  # of single rows, and of batches
    close(executor, driver)


def test_close_waits_for_a_call_and_refuses_the_next(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    inside, leave = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        leave.wait(10)

    rig.trt.while_running = wait
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(check, executor, 1)
        assert inside.wait(10)
        closing = pool.submit(executor.close)
        rig.trt.while_running = lambda: None

        def until_refused() -> None:
            while True:  # the other thread may not have begun to close
                check(executor, 1)

        with pytest.raises(SessionClosed):
            until_refused()
        assert not closing.done()
        leave.set()
        running.result(10)
        closing.result(10)
    driver.close()


def test_a_run_that_fails_gives_up_its_lane_and_the_next_one_works(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    rig.trt.run_fails = 1
    with pytest.raises(BackendError, match="failed running 4 rows for graph 'score'"):
        executor.run(feeds_of(3), ["s"])
    assert rig.cuda.streams == {}
    check(executor, 3)
    close(executor, driver)


def test_no_context_is_an_error_that_frees_everything(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    rig.trt.contexts_left = 0
    with pytest.raises(BackendError, match="failed making a context of 1 rows"):
        executor.run(feeds_of(1), ["s"])
    close(executor, driver)


def test_memory_that_runs_out_anywhere_is_named_and_nothing_is_kept(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io="copy")
    whole, failed = rig.cuda.left, 0
    device, pinned = 2 * 3 * 8 * 4 + 8 + 4, 3 * 8 * 4 + 8 + 4  # all tensors there; here x, k and s, and not y
    needed = 64 * 1000 + 64 * (device + pinned)  # 1000: scratch
    for left in range(0, 110_000, 2_000):  # every allocation of a lane fails once
        rig.cuda.left = left
        if left >= needed:
            break
        with pytest.raises(BackendError, match=r"MiB left .*the memory of the whole board"):
            executor.run(feeds_of(64), ["s"])
        failed += 1
        assert (rig.cuda.left, rig.cuda.memory, rig.cuda.host, rig.cuda.streams) == (left, {}, {}, {})
    assert failed == needed // 2_000 + 1
    rig.cuda.left = whole
    check(executor, 64)
    close(executor, driver)


@pytest.mark.parametrize("io", ["mapped", "copy"])
def test_a_single_row_pays_for_one_row_and_not_for_64(rig: Rig, io: str) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io=io)
    whole = rig.cuda.left
    for seed in range(3):
        check(executor, 1, seed)
    row = 1000 + (2 if io == "copy" else 1) * (2 * 3 * 8 * 4 + 8 + 4)
    assert whole - rig.cuda.left == row
    check(executor, 2)  # now there is a lane for batches, too
    assert whole - rig.cuda.left == 65 * row
    assert set(rig.trt.scratches) == {1000, 64_000}
    close(executor, driver)


def test_outputs_that_nobody_asked_for_stay_on_the_gpu(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io="copy")
    for again in range(3):  # eager, captured, launched
        rig.cuda.copied_out.clear()
        (s,) = executor.run(feeds_of(8, again), ["s"])
        np.testing.assert_allclose(s, feeds_of(8, again)["x"].sum((1, 2)) + feeds_of(8, again)["k"], rtol=1e-4)
        assert rig.cuda.copied_out == [8 * 4]
    assert len(rig.cuda.host) == 3  # x, k and s
    check(executor, 8)  # and y comes when it is asked for, from the same graph
    rig.cuda.copied_out.clear()
    executor.run(feeds_of(8), ["s"])
    assert rig.cuda.copied_out == [8 * 4]  # not y, which was asked for once
    assert len(rig.cuda.executables) == 1
    close(executor, driver)


def test_an_output_whose_sizes_the_engine_does_not_say_is_asked_of_a_context(rig: Rig) -> None:
    rig.trt.shapes_unknown = ("y",)
    driver = rig.driver()
    executor = rig.executor(driver)
    assert {t.name: t.shape for t in executor.tensors}["y"] == (3, 8)
    check(executor, 5)
    close(executor, driver)


CALLS = (
    "Runtime", "Runtime.deserialize_cuda_engine", "ICudaEngine.get_tensor_name", "ICudaEngine.get_tensor_shape",
    "ICudaEngine.get_tensor_dtype", "ICudaEngine.get_tensor_mode", "ICudaEngine.get_tensor_profile_shape",
    "ICudaEngine.get_device_memory_size_for_profile_v2", "ICudaEngine.create_execution_context",
    "IExecutionContext.set_optimization_profile_async", "IExecutionContext.set_device_memory",
    "IExecutionContext.set_tensor_address", "IExecutionContext.set_input_shape", "IExecutionContext.infer_shapes",
    "IExecutionContext.execute_async_v3",
)  # fmt: skip


def run_a_row(rig: Rig, driver: Driver) -> None:
    executor = rig.executor(driver)
    try:
        executor.run(feeds_of(1), ["s"])
    finally:
        executor.close()


@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_call_raises_becomes_one_error_and_nothing_is_left(rig: Rig, call: str) -> None:
    driver = rig.driver()
    rig.trt.raises[call] = TypeError("pybind11::init(): factory function returned nullptr")
    with pytest.raises(BackendError, match=r"TensorRT failed .*for graph 'score'.*driver is usually older") as caught:
        run_a_row(rig, driver)
    assert isinstance(caught.value.__cause__, TypeError)
    assert rig.cuda.alive == []
    assert call in rig.trt.entered
    driver.close()


def test_every_call_that_an_executor_makes_is_in_the_list_above(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    check(executor, 3)
    made = {name for name in rig.trt.entered if name.startswith(("Runtime", "ICudaEngine", "IExecutionContext"))}
    assert made == set(CALLS)
    close(executor, driver)


def test_pinned_memory_without_an_address_for_the_gpu_is_given_back(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver, io="mapped")
    whole = rig.cuda.left
    rig.cuda.failures["cuMemHostGetDevicePointer_v2"] = 1
    with pytest.raises(BackendError, match="cuMemHostGetDevicePointer_v2 failed with 1"):
        executor.run(feeds_of(1), ["s"])
    assert rig.cuda.left == whole
    del rig.cuda.failures["cuMemHostGetDevicePointer_v2"]
    close(executor, driver)


@pytest.mark.parametrize("code", [220, 226, 709, 721, 999])
def test_an_error_that_stays_says_that_the_process_must_end(code: int) -> None:
    rig = Rig()
    driver = rig.driver()
    executor = rig.executor(driver)
    rig.cuda.failures["cuStreamSynchronize"] = code
    with pytest.raises(BackendError, match=f"failed with {code}.*end this process"):
        executor.run(feeds_of(1), ["s"])


@pytest.mark.parametrize("call", ["cuGraphLaunch", "cuStreamSynchronize", "cuCtxPushCurrent_v2"])
def test_a_lost_context_says_that_the_process_must_end(call: str) -> None:
    rig = Rig()
    driver = rig.driver()
    executor = rig.executor(driver)
    check(executor, 1)
    rig.cuda.failures[call] = 700
    with pytest.raises(BackendError, match=rf"{call} failed with 700: CUDA_ERROR_700.*end this process"):
        executor.run(feeds_of(1), ["s"])


def test_feeds_that_do_not_fit_are_refused_in_words(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    good = feeds_of(2)
    for feeds, said in [
        ({"x": good["x"]}, "takes rows of x, k; got x float32"),
        ({**good, "k": good["k"][:1]}, "takes rows of x, k"),
        (feeds_of(0), r"got x float32 \(0, 3, 8\)"),
        ({**good, "x": good["x"].astype(np.float64)}, r"'x' of graph 'score' is float32 rows of \(3, 8\)"),
        ({**good, "x": good["x"][:, :2]}, r"got x float32 \(2, 2, 8\)"),
    ]:
        with pytest.raises(BackendError, match=said):
            executor.run(feeds, ["s"])
    with pytest.raises(BackendError, match="no output z"):
        executor.run(good, ["s", "z"])
    with pytest.raises(OptionError, match="auto, mapped, copy"):
        rig.executor(driver, io="magic")
    close(executor, driver)


def test_an_engine_of_another_tensorrt_is_refused_in_its_words(rig: Rig) -> None:
    driver = rig.driver()
    executor = rig.executor(driver)
    rig.trt.__version__ = "10.7.0"  # type: ignore[misc]
    with pytest.raises(BackendError, match="did not load the engine of 'score': Version tag does not match"):
        Executor(
            b"\x2c\0\0\0" + b'{"version": "10.3.0", "profiles": []}'.ljust(44),
            binding=rig.binding,
            driver=driver,
            graph="score",
        )
    close(executor, driver)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"devices": 0}, "cuInit failed with 100"), ({"failures": {"cuDeviceGetCount": 999}}, "cuDeviceGetCount failed")],
)
def test_a_machine_without_a_gpu_is_refused_before_tensorrt_is_touched(change: dict[str, object], said: str) -> None:
    rig = Rig()
    vars(rig.cuda).update(change)
    with pytest.raises(ProviderUnavailable, match=f"{said}.*vae-edge doctor"):
        rig.driver()
    assert rig.cuda.leaks() == []
    with pytest.raises(ProviderUnavailable, match=r"no CUDA driver of 11\.4 or newer"):
        Driver(object())


def test_the_device_is_read_from_the_driver(rig: Rig) -> None:
    driver = rig.driver()
    found = driver.device
    assert (found.name, found.capability, found.multiprocessors, found.driver) == ("Orin", "8.7", 16, "12.6")
    assert (found.memory_bytes, found.integrated) == (8 << 30, True)
    driver.close()
