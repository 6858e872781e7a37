"""Every failure TensorRT reports by None, False or -1 becomes an error that says what it was."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

import pytest
from fake_tensorrt import FakeTensorRt
from rig import Rig, two_inputs

from vae_edge_runtime import BackendError, OptionError, ProviderUnavailable
from vae_edge_runtime.backends.tensorrt import Binding, BuildOptions, BuiltEngine, binding, build, find_binding

LIMITS = ("max_batch", "workspace_bytes", "optimization_level", "aux_streams", "timing_iterations")


def built(fake: FakeTensorRt, **options: Any) -> BuiltEngine:
    settings = {name: options.pop(name) for name in LIMITS if name in options}
    there = Binding(fake, "tensorrt", "10.3.0", True)
    return build(two_inputs(), BuildOptions(**settings), binding=there, graph="score", **options)


def test_a_build_is_strongly_typed_with_one_profile_for_a_row_and_one_for_batches() -> None:
    fake = FakeTensorRt()
    seen: list[tuple[str, int, int]] = []
    found = built(fake, max_batch=16, workspace_bytes=64 << 20, progress=lambda *step: seen.append(step))
    assert found.engine.endswith(two_inputs())
    assert (found.timing_cache, fake.flags, fake.limits["WORKSPACE"]) == (b"+measured", 1 << 1, 64 << 20)
    assert fake.cleared == [fake.BuilderFlag.TF32]
    assert fake.profiles == [
        {"x": ((1, 3, 8), (1, 3, 8), (1, 3, 8)), "k": ((1,), (1,), (1,))},
        {"x": ((2, 3, 8), (16, 3, 8), (16, 3, 8)), "k": ((2,), (16,), (16,))},
    ]
    assert seen == [("Building", 1, 2), ("Building", 2, 2)]


def test_an_engine_for_single_rows_has_one_profile() -> None:
    assert BuildOptions(max_batch=1).profiles == ((1, 1, 1),)


def test_a_timing_cache_of_another_device_is_left_out() -> None:
    fake = FakeTensorRt()
    assert built(fake, timing_cache=b"+measured").timing_cache == b"+measured+measured"
    assert built(fake, timing_cache=b"foreign").timing_cache == b"+measured"
    assert fake.caches == [b"+measured", b"foreign", b""]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parser_errors": ["no importer for Bernoulli"]}, "refused graph 'score': no importer for Bernoulli"),
        ({"refuses_profile": True}, r"refused batches \(1, 1, 1\)"),
        (
            {"messages": ["Could not find any implementation for node conv"]},
            "found no kernel .*either no kernel fits the memory.*256 MiB.*, or this TensorRT has none for the layer",
        ),
        (
            {
                "messages": ["Could not find any implementation for node conv"],
                "warnings": ["Tactic Device request: 950MB Available: 302MB. insufficient memory"],
            },
            "ran out of memory.*256 MiB.*request: 950MB Available: 302MB",
        ),
        ({"messages": ["Error Code 2: OutOfMemory"]}, "ran out of memory"),
        ({"messages": ["Internal Error: tactic"]}, "could not build graph 'score': Internal Error"),
        ({"messages": [""]}, "no word"),
    ],
)
def test_a_failure_is_named(change: dict[str, Any], said: str) -> None:
    fake = FakeTensorRt()
    vars(fake).update(change)
    with pytest.raises(BackendError, match=said):
        built(fake)


def test_ctrl_c_ends_a_build_at_its_next_step() -> None:
    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(FakeTensorRt(), progress=stop)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_batch": 4097}, {"workspace_bytes": 1000}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        BuildOptions(**wrong)


def test_a_tensorrt_that_is_absent_broken_or_old_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ModuleNotFoundError("No module named 'tensorrt'"), ImportError("libnvdla_compiler.so: cannot open")):

        def fail(name: str, error: ImportError = error) -> Any:
            raise error

        monkeypatch.setattr(binding.importlib, "import_module", fail)
        with pytest.raises(ProviderUnavailable, match=r"(No module|libnvdla).*python3-libnvinfer"):
            find_binding()
    old = FakeTensorRt()
    old.NetworkDefinitionCreationFlag = type("Flags", (), {"EXPLICIT_BATCH": 0})  # type: ignore[misc,assignment]
    monkeypatch.setattr(binding.importlib, "import_module", lambda name: old)
    with pytest.raises(ProviderUnavailable, match=r"10\.3 \(JetPack 6\.1\) or newer"):
        find_binding()


def test_tf32_and_the_other_options_are_asked_for_and_nothing_else_is_touched() -> None:
    fake = FakeTensorRt()
    built(fake)
    assert (fake.settings, fake.flagged, fake.limits) == ({}, [], {"WORKSPACE": 256 << 20})
    built(fake, tf32=True, tactic_bytes=1 << 30, optimization_level=2, aux_streams=0, timing_iterations=8)
    assert fake.flagged == [fake.BuilderFlag.TF32]
    assert fake.limits["TACTIC_DRAM"] == 1 << 30
    assert fake.settings == {"builder_optimization_level": 2, "max_aux_streams": 0, "avg_timing_iterations": 8}


@pytest.mark.parametrize("wrong", [{"optimization_level": 6}, {"aux_streams": -1}, {"timing_iterations": 0}])
def test_builder_options_out_of_range_say_the_range(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=rf"{next(iter(wrong))} is .*; pass \d to \d+, or leave it to TensorRT"):
        BuildOptions(**wrong)


CALLS = (
    "Builder", "Builder.create_network", "Builder.create_builder_config", "Builder.create_optimization_profile",
    "Builder.build_serialized_network", "INetworkDefinition.get_input", "OnnxParser.parse",
    "IBuilderConfig.set_memory_pool_limit", "IBuilderConfig.clear_flag", "IBuilderConfig.add_optimization_profile",
    "IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache", "IOptimizationProfile.set_shape",
    "ITimingCache.serialize",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_call_raises_becomes_one_error_with_the_log(call: str) -> None:
    fake = FakeTensorRt()
    built(fake)
    assert {name for name in fake.entered if not name.startswith("Runtime")} == set(CALLS)
    fake.raises[call] = RuntimeError("a message of pybind11")
    fake.warnings = ["CUDA initialization failure with error: 35"]
    with pytest.raises(BackendError, match=r"TensorRT failed .* for graph 'score' \(RuntimeError: a mess") as caught:
        built(fake)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert fake.cuda.alive == []  # while the error is still held


def test_a_driver_older_than_tensorrt_is_named() -> None:
    fake = FakeTensorRt()
    fake.raises["Builder"] = TypeError("pybind11::init(): factory function returned nullptr")
    with pytest.raises(BackendError, match=r"driver is usually older .*Update the driver; in a container"):
        built(fake)


def test_a_failed_build_frees_its_builder_in_the_context_it_was_made_in() -> None:
    rig = Rig()
    driver = rig.driver()
    rig.trt.messages = ["Internal Error: tactic"]
    with pytest.raises(BackendError, match="Internal Error"):
        rig.executor(driver)
    driver.close()
    assert (rig.cuda.alive, rig.cuda.violations) == ([], [])


def test_ctrl_c_during_a_build_is_heard_within_a_step() -> None:
    fake, threads = FakeTensorRt(), []

    def step() -> None:
        threads.append(threading.current_thread())
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(2)  # the main thread has to hear it while TensorRT is at work, also on a busy machine

    fake.while_building = step
    with pytest.raises(KeyboardInterrupt):
        built(fake)
    assert len(threads) == 1  # of two steps
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)
    assert fake.cuda.alive == []


def test_warnings_of_tensorrt_are_in_the_error_and_all_of_its_words_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = FakeTensorRt()
    fake.warnings = [f"warning {i}" for i in range(9)]
    fake.messages = ["Internal Error: tactic"]
    with caplog.at_level(logging.DEBUG), pytest.raises(BackendError, match=r"warning 4; .*warning 8; Internal Error"):
        built(fake)
    assert [r.getMessage() for r in caplog.records if "warning 0" in r.getMessage()] == ["warning: warning 0"]
