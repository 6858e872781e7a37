"""From ONNX bytes to an engine, by calls that TensorRT 10.3 to 11 and RTX have in common.

Precision is in the graph: networks are always strongly typed, and no builder flag asks for fp16 or
int8. TF32 is a flag, and off unless it is asked for. Every call that reports failure by None, False or -1 is checked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError
from .binding import Binding, Log
from .calls import Calls, releases_on_error
from .options import BuildOptions
from .worker import interruptible

_OUT_OF_MEMORY = ("out of memory", "OutOfMemory", "insufficient memory")
_NO_TACTIC = "Could not find any implementation"

Context = Callable[[], AbstractContextManager[object]]
"""Makes the CUDA context current in the thread that enters it: ``Driver.current``."""


@dataclass(frozen=True, eq=False)
class BuiltEngine:
    """What a build gives.

    Attributes:
        timing_cache: what was measured, for the next build on the same device; empty where there is none.
    """

    engine: bytes
    timing_cache: bytes
    seconds: float


def build(
    onnx: bytes,
    options: BuildOptions,
    *,
    binding: Binding,
    graph: str,
    tf32: bool = False,
    tactic_bytes: int | None = None,
    timing_cache: bytes = b"",
    current: Context = nullcontext,
    progress: Callable[[str, int, int], None] | None = None,
) -> BuiltEngine:
    """Build one graph, in a thread of its own: Python tells only the main thread of Ctrl-C, and not inside TensorRT.

    Args:
        onnx: verified bytes of the graph; its inputs have a free first axis and no other.
        graph: its name, for messages.
        tf32: layers may round the factors of products to 10 bits.
        tactic_bytes: most memory of the device that a kernel may take while it is timed; None: TensorRT's own limit.
        timing_cache: of an earlier build; one of another TensorRT or GPU is left out.
        current: makes the CUDA context current in the building thread, where kernels are timed.
        progress: called with (phase, step, steps), in the thread that called ``build``.

    Raises:
        BackendError: TensorRT refused the graph or failed.
        KeyboardInterrupt: Ctrl-C, at the next step of the builder.
    """
    start = time.perf_counter()

    def work(step: Callable[[str, int, int], None], stop: threading.Event) -> tuple[bytes, bytes]:
        with current():
            return _build(onnx, options, binding, graph, tf32, tactic_bytes, timing_cache, step, stop)

    engine, measured = interruptible(work, progress)
    return BuiltEngine(engine, measured, time.perf_counter() - start)


@releases_on_error
def _build(
    onnx: bytes,
    options: BuildOptions,
    binding: Binding,
    graph: str,
    tf32: bool,
    tactic_bytes: int | None,
    timing_cache: bytes,
    step: Callable[[str, int, int], None],
    stop: threading.Event,
) -> tuple[bytes, bytes]:
    """The engine and what was measured, both bytes: no object of TensorRT leaves the thread."""
    trt, log = binding.module, binding.logger()
    calls = Calls(log, graph)
    with calls("starting its builder"):
        builder = trt.Builder(log)
    with calls("making a network"):
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    calls.must(network, "making a network")
    with calls("reading the ONNX graph"):
        parser = trt.OnnxParser(network, log)
        parsed = parser.parse(onnx)
        errors: list[str] = []
        for index in range(0 if parsed else parser.num_errors):
            errors.append(parser.get_error(index).desc())  # a comprehension would hold the parser after an error
    if not parsed:
        reasons = "; ".join(errors) or "no word"
        raise BackendError(
            f"{binding.name} {binding.version} refused graph '{graph}': {reasons[:600]}. "
            "vae-edge lint names the usual reasons"
        )
    with calls("making a builder config"):
        config = builder.create_builder_config()
    calls.must(config, "making a builder config")
    _configure(trt, calls, config, options, tf32, tactic_bytes)
    _add_profiles(binding, calls, builder, network, config, options)
    with calls("taking the times of earlier builds"):
        cache = _timing_cache(config, timing_cache) if binding.engines_run_here else None  # RTX has none, and warns
    monitor = _monitor(trt, step, stop)
    with calls("building the engine"):
        config.progress_monitor = monitor
        engine = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise KeyboardInterrupt
    if engine is None:
        raise BackendError(_failure(binding, graph, options, log))
    with calls("reading the engine"):
        return bytes(engine), bytes(cache.serialize()) if cache is not None else b""


def _configure(
    trt: Any, calls: Calls, config: Any, options: BuildOptions, tf32: bool, tactic_bytes: int | None
) -> None:
    with calls("taking the options of the build"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        if tactic_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, tactic_bytes)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if hasattr(trt.BuilderFlag, "TF32"):
            # Its default is on. float32 means float32 unless the device says tf32: parity was measured against it.
            (config.set_flag if tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
        for attribute, value in (
            ("builder_optimization_level", options.optimization_level),
            ("max_aux_streams", options.aux_streams),
            ("avg_timing_iterations", options.timing_iterations),
        ):
            if value is not None:
                setattr(config, attribute, value)


def _add_profiles(
    binding: Binding, calls: Calls, builder: Any, network: Any, config: Any, options: BuildOptions
) -> None:
    inputs = []
    with calls("reading the inputs"):
        for index in range(network.num_inputs):
            inputs.append(network.get_input(index))  # a comprehension would hold the network after an error
    for batches in options.profiles:
        with calls(f"taking batches {batches}"):
            profile = builder.create_optimization_profile()
            calls.must(profile, "making a profile")
            for tensor in inputs:
                profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in batches))
            place = config.add_optimization_profile(profile)
        if place < 0:  # a build without it would succeed, and run nothing
            raise BackendError(f"{binding.name} refused batches {batches} for graph '{calls.graph}': {calls.log.last}")


def _failure(binding: Binding, graph: str, options: BuildOptions, log: Log) -> str:
    text = "; ".join((*log.warnings, *log.messages))[-600:] or "no word"
    remedy = "stop other processes, add swap, or build for smaller batches"
    workspace = f"workspace {options.workspace_bytes >> 20} MiB"
    if any(sign in message for sign in _OUT_OF_MEMORY for message in (*log.messages, *log.warnings)):
        return f"{binding.name} ran out of memory building graph '{graph}' ({workspace}): {remedy}. It said: {text}"
    if any(_NO_TACTIC in message for message in log.messages):
        return (
            f"{binding.name} {binding.version} found no kernel for a layer of graph '{graph}': either no kernel fits "
            f"the memory there is ({workspace}; {remedy}), or this TensorRT has none for the layer (vae-edge lint "
            f"names the known ones). It said: {text}"
        )
    return f"{binding.name} {binding.version} could not build graph '{graph}': {text}"


def _timing_cache(config: Any, earlier: bytes) -> Any:
    """Use an earlier cache, or an empty one where that does not fit this device; None where there are no caches."""
    for raw in dict.fromkeys((earlier, b"")):
        cache = config.create_timing_cache(raw)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _monitor(trt: Any, step: Callable[[str, int, int], None], stop: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells how far a build is, and ends it. TensorRT calls from threads of its own."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, number: int) -> bool:
            step(phase_name, number + 1, self._steps.get(phase_name, 0))
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
