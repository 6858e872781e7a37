"""From ONNX bytes to an engine, by calls that TensorRT 10.3 to 11 and RTX have in common.

Precision is in the graph: networks are always strongly typed, and no builder flag asks for fp16 or
int8. Every call that reports failure by None, False or -1 is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError, OptionError
from .binding import Binding

_OUT_OF_MEMORY = ("out of memory", "OutOfMemory", "Could not find any implementation", "insufficient memory")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What an engine is built for.

    Attributes:
        max_batch: most rows of one run; larger arrays are cut.
        workspace_bytes: most scratch memory of one layer. On a Jetson it is the system's memory, too.
    """

    max_batch: int = 64
    workspace_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 4096:
            raise OptionError(f"max_batch is {self.max_batch}; pass 1 to 4096 rows")
        if self.workspace_bytes < 1 << 20:
            raise OptionError("the workspace is below 1 MiB")

    @property
    def profiles(self) -> tuple[tuple[int, int, int], ...]:
        """(least, tuned for, most) rows of each; a single row, whose latency counts, has one of its own."""
        return ((1, 1, 1),) if self.max_batch == 1 else ((1, 1, 1), (2, self.max_batch, self.max_batch))


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
    timing_cache: bytes = b"",
    progress: Callable[[str, int, int], None] | None = None,
) -> BuiltEngine:
    """Build one graph.

    Args:
        onnx: verified bytes of the graph; its inputs have a free first axis and no other.
        graph: its name, for messages.
        timing_cache: of an earlier build; one of another TensorRT or GPU is left out.
        progress: called with (phase, step, steps).

    Raises:
        BackendError: TensorRT refused the graph or failed; memory that ran out is named.
        KeyboardInterrupt: Ctrl-C, at the next step of the builder.
    """
    trt, log = binding.module, binding.logger()
    start = time.perf_counter()
    builder = trt.Builder(log)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _checked(builder.create_network(flags), "creating a network", graph, log)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)) or "no word"
        raise BackendError(
            f"{binding.name} {binding.version} refused graph '{graph}': {reasons[:600]}. "
            "vae-edge lint names the usual reasons"
        )
    config = _checked(builder.create_builder_config(), "creating a builder config", graph, log)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32: parity is measured against it
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    for batches in options.profiles:
        profile = _checked(builder.create_optimization_profile(), "creating a profile", graph, log)
        for tensor in inputs:
            profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in batches))
        if config.add_optimization_profile(profile) < 0:  # a build without it would succeed, and run nothing
            raise BackendError(f"{binding.name} refused batches {batches} for graph '{graph}': {log.last}")
    cache = _timing_cache(config, timing_cache) if binding.engines_run_here else None  # RTX has none, and warns
    monitor = _monitor(trt, progress)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if engine is None:
        raise BackendError(_failure(binding, graph, options, log.messages))
    measured = bytes(cache.serialize()) if cache is not None else b""
    return BuiltEngine(bytes(engine), measured, time.perf_counter() - start)


def _failure(binding: Binding, graph: str, options: BuildOptions, messages: list[str]) -> str:
    log_text = "; ".join(messages)[-600:] or "no word"
    if any(sign in message for sign in _OUT_OF_MEMORY for message in messages):
        # "Could not find any implementation" is how TensorRT says that no tactic fits the memory there is.
        return (
            f"{binding.name} ran out of memory building graph '{graph}' (workspace "
            f"{options.workspace_bytes >> 20} MiB): stop other processes, add swap, or build for smaller batches. "
            f"It said: {log_text}"
        )
    return f"{binding.name} {binding.version} could not build graph '{graph}': {log_text}"


def _checked(value: Any, what: str, graph: str, log: Any) -> Any:
    if value is None:
        raise BackendError(f"TensorRT failed {what} for graph '{graph}': {log.last}")
    return value


def _timing_cache(config: Any, earlier: bytes) -> Any:
    """Use an earlier cache, or an empty one where that does not fit this device; None where there are no caches."""
    for raw in dict.fromkeys((earlier, b"")):
        cache = config.create_timing_cache(raw)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _monitor(trt: Any, progress: Callable[[str, int, int], None] | None) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells how far a build is, and lets Ctrl-C end it."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if progress is not None:
                    progress(phase_name, step + 1, self._steps.get(phase_name, 0))
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
