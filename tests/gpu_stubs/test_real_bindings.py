"""NVIDIA's own bindings, without its libraries: what may be called, with how many arguments, and what null gives.

Nothing computes here: the stub's factories give null. What runs is the bindings' code, and ours up to there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fake_tensorrt import FakeTensorRt
from recorded_names import TENSORRT
from rig import Rig, feeds_of, two_inputs

from vae_edge_runtime.backends.tensorrt import Binding, BuildOptions, build
from vae_edge_runtime.backends.tensorrt.layers import engine_layers

Ask = Callable[[str], Any]
pytestmark = pytest.mark.gpu_stubs
LOOK = """
import json, tensorrt
names = json.loads('''NAMES''')
found = {}
for kind in names:
    real = getattr(tensorrt, kind, None)
    found[kind] = None if real is None else {name: getattr(real, name).__doc__ or "" for name in dir(real)}
print(json.dumps([tensorrt.__version__, found]))
"""
MACHINE = """
import json, numpy as np
from fake_cuda import FakeCuda
from rig import two_inputs
from vae_edge_runtime import BackendError
from vae_edge_runtime.backends.tensorrt import BuildOptions, Driver, EngineStore, Executor, build, find_binding
binding, cuda = find_binding(), FakeCuda()
driver = Driver(cuda)
def error(call):
    try:
        call()
    except BackendError as problem:
        return [str(problem), type(problem.__cause__).__name__]
"""


def test_the_stub_is_of_the_version_that_is_tested(ask: Ask, version: str) -> None:
    (real, _) = ask(LOOK.replace("NAMES", "[]"))
    assert real.split(".")[:2] == version.split(".")[:2]


def test_every_recorded_name_is_there(ask: Ask) -> None:
    _, real = ask(LOOK.replace("NAMES", json.dumps(list(TENSORRT))))
    missing = {
        kind: sorted(set(names.split()) - set(real[kind] or ()))
        for kind, names in TENSORRT.items()
        if kind != "Severity"
    }
    assert {kind: names for kind, names in missing.items() if names} == {}


def calls_of_ours() -> dict[str, set[int]]:
    """Every method that builder, executor and inspector call on the doubles, with its numbers of arguments."""
    rig = Rig()
    driver = rig.driver()
    executor = rig.executor(driver)
    executor.run(feeds_of(3), ["s"])
    executor.close()
    options = BuildOptions(optimization_level=2, aux_streams=0, timing_iterations=2)
    binding = Binding(rig.trt, "tensorrt", "10.3.0", True)
    raw = build(two_inputs(), options, binding=binding, graph="g", tf32=True, tactic_bytes=1 << 28,
                current=driver.current).engine  # fmt: skip
    engine_layers(raw, binding=binding, driver=driver, graph="g")
    driver.close()
    return {name: counts for name, counts in rig.trt.arguments.items() if "." in name}


def parameters(docstring: str) -> list[tuple[int, int]]:
    """(least, most) arguments after self of each overload in a docstring of pybind11."""
    overloads = []
    for signature in re.findall(r"^\s*(?:\d+\. )?\w+\((self: .*)\) ->", docstring, re.MULTILINE):
        depth, parts = 0, [""]
        for letter in signature:
            depth += (letter in "[({") - (letter in "])}")
            if letter == "," and not depth:
                parts.append("")
            else:
                parts[-1] += letter
        optional = sum(" = " in part for part in parts[1:])
        overloads.append((len(parts) - 1 - optional, len(parts) - 1))
    return overloads


def test_every_call_of_ours_fits_a_signature(ask: Ask) -> None:
    ours = calls_of_ours()
    assert len(ours) >= 25
    _, real = ask(LOOK.replace("NAMES", json.dumps(sorted({name.split(".")[0] for name in ours}))))
    wrong: dict[str, Any] = {}
    for name, counts in ours.items():
        kind, _, method = name.partition(".")
        overloads = parameters(real[kind][method])
        for count in counts:
            if not any(least <= count <= most for least, most in overloads):
                wrong[name] = (count, real[kind][method])
    assert wrong == {}


def test_attributes_that_the_builder_sets_are_there(ask: Ask) -> None:
    _, real = ask(LOOK.replace("NAMES", '["IBuilderConfig"]'))
    fake = FakeTensorRt()
    options = BuildOptions(optimization_level=2, aux_streams=0, timing_iterations=2)
    build(two_inputs(), options, binding=Binding(fake, "tensorrt", "10.3.0", True), graph="g")
    assert len(fake.settings) == 3
    assert {*fake.settings, "progress_monitor", "profiling_verbosity"} <= set(real["IBuilderConfig"])


@pytest.mark.parametrize(
    "call",
    [
        "build(two_inputs(), BuildOptions(), binding=binding, graph='score', current=driver.current)",
        "Executor(b'engine', binding=binding, driver=driver, graph='score')",
        "EngineStore(binding, driver.device, current=driver.current).get('score', two_inputs())",
    ],
)
def test_a_null_pointer_is_one_error_that_names_the_driver_and_what_the_log_said(
    ask: Ask, version: str, call: str
) -> None:
    text, cause = ask(MACHINE + f"print(json.dumps(error(lambda: {call})))")
    if version.startswith("10."):
        assert "CUDA initialization failure with error: 35" in text
        assert "warned before: CUDA lazy loading is not enabled" in text
    assert "driver is usually older than the CUDA that TensorRT was made for" in text
    assert cause == "TypeError"


def test_a_session_and_the_command_build_end_with_that_error(ask: Ask) -> None:
    program = """
import sys, pathlib, tempfile
from tiny_bundle import TinyBundle
from vae_edge_runtime import __main__, load
from vae_edge_runtime.backends.tensorrt import backend, prepare
backend.process_driver = prepare.process_driver = lambda: driver
path = TinyBundle(pathlib.Path(tempfile.mkdtemp()) / "tiny.vaeb").write()
told = error(lambda: load(path, device="tensorrt"))
code = __main__.main(["build", str(path)])
print(json.dumps([told, code, cuda.violations]))
"""
    (text, cause), code, violations = ask(MACHINE + program)
    assert "driver is usually older" in text
    assert (cause, code, violations) == ("TypeError", 4, [])


def test_loggers_and_monitors_of_ours_are_what_the_bindings_take(ask: Ask) -> None:
    program = """
import threading
from vae_edge_runtime.backends.tensorrt.builder import _monitor
log, stop, steps = binding.logger(), threading.Event(), []
log.log(binding.module.ILogger.WARNING, " a warning ")
log.log(binding.module.ILogger.ERROR, "an error")
monitor = _monitor(binding.module, lambda *step: steps.append(step), stop)
monitor.phase_start("Building", None, 3)
first = monitor.step_complete("Building", 0)
stop.set()
second = monitor.step_complete("Building", 1)
monitor.phase_finish("Building")
bases = [isinstance(log, binding.module.ILogger), isinstance(monitor, binding.module.IProgressMonitor)]
print(json.dumps([bases, log.last, first, second, steps]))
"""
    bases, last, first, second, steps = ask(MACHINE + program)
    assert bases == [True, True]
    assert last == "an error (warned before: a warning)"
    assert (first, second, steps) == (True, False, [["Building", 1, 3], ["Building", 2, 3]])
