"""Runs one engine: hands each call a lane of its profile, and cuts rows into batches.

A lane serves one call at a time; calls beyond the number of lanes wait. Single rows have a profile and lanes of
their own, so who only scores single rows pays for a row and not for 64.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, OptionError, SessionClosed
from .binding import Binding
from .calls import Calls, releases_on_error
from .driver import Driver
from .lane import Feed, Lane, Split, Tensor

Io = Literal["auto", "mapped", "copy"]
"""How rows reach the GPU: it reads pinned memory itself, or they are copied; auto: mapped where memory is shared."""

_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
_LEAST_SCRATCH = 256


def buckets(largest: int) -> tuple[int, ...]:
    """Batches that get a context each: 1, 2, 4, 8, ... and the largest."""
    return (*(1 << i for i in range(largest.bit_length()) if 1 << i < largest), largest)


class Executor:
    """One deserialised engine. ``run`` may be called from many threads; ``close`` waits for them."""

    def __init__(
        self, raw: bytes, *, binding: Binding, driver: Driver, graph: str, io: Io = "auto", lanes: int = 2
    ) -> None:
        """Deserialise an engine that was built on this machine, from bytes that were checked.

        Args:
            io: how rows reach the GPU. lanes: calls that run at once in each profile.

        Raises:
            BackendError: TensorRT does not take it.
            OptionError: ``io`` is none of the three.
        """
        if io not in ("auto", "mapped", "copy"):
            raise OptionError(f"io is {io!r}; valid are auto, mapped, copy")
        self.io = ("mapped" if driver.device.integrated else "copy") if io == "auto" else io
        self.graph, self.driver, self.trt = graph, driver, binding.module
        self.calls = Calls(binding.logger(), graph)
        self.engine: Any = None
        self._runtime: Any = None
        with driver.current():
            try:
                self._deserialise(raw, binding)
            except BaseException:
                self.engine = self._runtime = None  # freed while the context is current
                raise
        self._inputs = {tensor.name: tensor for tensor in self.tensors if tensor.is_input}
        self._outputs = {tensor.name: tensor for tensor in self.tensors if not tensor.is_input}
        self.buckets = buckets(self.most[-1])
        self.eager_reason: str | None = None
        """Why a bucket runs without a CUDA graph; None where none does."""
        self._changed = threading.Condition()
        self._idle: dict[int, list[Lane]] = {i: [] for i in range(len(self.most))}
        self._made = dict.fromkeys(self._idle, 0)
        self._lanes, self._closed = lanes, False

    @releases_on_error
    def _deserialise(self, raw: bytes, binding: Binding) -> None:
        calls = self.calls
        with calls("starting its runtime"):
            self._runtime = self.trt.Runtime(calls.log)
        with calls("loading the engine"):
            self.engine = self._runtime.deserialize_cuda_engine(raw)
        if self.engine is None:
            raise BackendError(
                f"TensorRT {binding.version} did not load the engine of '{self.graph}': {calls.log.last}"
            )
        with calls("describing the engine"):
            self.tensors = tuple(self._tensor(i) for i in range(self.engine.num_io_tensors))
            first = next(tensor.name for tensor in self.tensors if tensor.is_input)
            profiles = range(self.engine.num_optimization_profiles)
            self.most = tuple(int(next(iter(self.engine.get_tensor_profile_shape(first, i)[2]))) for i in profiles)
            self.scratch_bytes = tuple(
                max(int(self.engine.get_device_memory_size_for_profile_v2(i)), _LEAST_SCRATCH) for i in profiles
            )

    def _tensor(self, index: int) -> Tensor:
        name = self.engine.get_tensor_name(index)
        rows, *shape = (int(n) for n in tuple(self.engine.get_tensor_shape(name)))
        dtype = _DTYPES.get(self.engine.get_tensor_dtype(name).name)
        is_input = self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT
        if not is_input and min(shape, default=1) < 1:
            shape = self._output_row(name)  # some versions say -1 of what does not change (TensorRT#4120)
        if rows != -1 or min(shape, default=1) < 1 or dtype is None:
            raise BackendError(
                f"'{name}' of graph '{self.graph}' is {self.engine.get_tensor_dtype(name).name} ({rows}, {shape}) in "
                "the engine: only the number of rows may be free"
            )
        return Tensor(name, tuple(shape), np.dtype(dtype), is_input)

    def _output_row(self, output: str) -> list[int]:
        """Shape of one row of an output, from a context that knows its inputs: of the least batch of profile 0."""
        context = self.engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            if self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT:
                context.set_input_shape(name, tuple(self.engine.get_tensor_profile_shape(name, 0)[0]))
        return [int(n) for n in tuple(context.get_tensor_shape(output))[1:]]

    @releases_on_error
    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run rows, at least one; more than the engine's largest batch are cut.

        Only the outputs asked for are copied: a ``map`` that nobody wants stays on the GPU.

        Raises:
            BackendError: a feed does not fit the engine, or TensorRT or CUDA failed.
            SessionClosed: after ``close``.
        """
        rows = self._check(feeds, outputs)
        arrays = [np.empty((rows, *self._outputs[name].shape), self._outputs[name].dtype) for name in outputs]
        profile = next((i for i, most in enumerate(self.most) if rows <= most), len(self.most) - 1)
        with self._lane(profile) as lane, self.driver.current():
            for start in range(0, rows, self.most[profile]):
                part = slice(start, min(start + self.most[profile], rows))
                lane.run({name: rows[part] for name, rows in feeds.items()}, part.stop - start, outputs)
                for name, whole in zip(outputs, arrays, strict=True):
                    whole[part] = lane.views[name][: part.stop - start]
        return arrays

    @releases_on_error
    def split(self, rows: int, runs: int) -> tuple[Split, ...]:
        """Time the parts of runs on rows of zeros, after two that are not counted; no graph is launched.

        Args:
            rows: of one run, at most the largest batch. runs: to time.

        Raises:
            OptionError: more rows than the engine's largest batch. BackendError, SessionClosed: as ``run``.
        """
        if not 1 <= rows <= self.most[-1]:
            raise OptionError(f"{rows} rows: this engine takes 1 to {self.most[-1]} at once")
        zeros = {name: np.zeros((rows, *t.shape), t.dtype) for name, t in self._inputs.items()}
        profile = next(i for i, most in enumerate(self.most) if rows <= most)
        with self._lane(profile) as lane, self.driver.current():
            lane.run(zeros, rows, [])
            lane.split(rows)
            return tuple(lane.split(rows) for _ in range(runs))

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Run rows of zeros, so that the first rows that count find contexts made and graphs captured."""
        for rows in sizes:
            zeros = {name: np.zeros((rows, *t.shape), t.dtype) for name, t in self._inputs.items()}
            self.run(zeros, [])

    def _check(self, feeds: Mapping[str, Feed], outputs: Sequence[str]) -> int:
        inputs = self._inputs
        rows = {len(array) for array in feeds.values()}
        if feeds.keys() != inputs.keys() or len(rows) != 1 or rows == {0}:
            raise BackendError(f"graph '{self.graph}' takes rows of {', '.join(inputs)}; got {_shapes(feeds)}")
        for name, tensor in inputs.items():
            if feeds[name].shape[1:] != tensor.shape or feeds[name].dtype != tensor.dtype:
                raise BackendError(
                    f"'{name}' of graph '{self.graph}' is {tensor.dtype} rows of {tensor.shape}; got {_shapes(feeds)}"
                )
        unknown = set(outputs) - self._outputs.keys()
        if unknown:
            raise BackendError(f"graph '{self.graph}' has no output {', '.join(sorted(unknown))}")
        return rows.pop()

    @contextlib.contextmanager
    def _lane(self, profile: int) -> Iterator[Lane]:
        idle = self._idle[profile]
        with self._changed:
            while not self._closed and not idle and self._made[profile] == self._lanes:
                self._changed.wait()
            if self._closed:
                raise SessionClosed("this session is closed: call load() again")
            lane = idle.pop() if idle else None
            self._made[profile] += lane is None
        whole = False
        try:
            if lane is None:
                with self.driver.current():
                    lane = Lane(self, profile)
            yield lane
            whole = True
        finally:
            if not whole and lane is not None:  # its stream may still be at work in its buffers
                with contextlib.suppress(BackendError):
                    lane.close()
            with self._changed:
                if whole and lane is not None:
                    idle.append(lane)
                else:
                    self._made[profile] -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for running calls, then free lanes, engine and runtime, in this order. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while any(self._made[i] != len(lanes) for i, lanes in self._idle.items()):
                self._changed.wait()
            lanes = [lane for lanes in self._idle.values() for lane in lanes]
            for profile, idle in self._idle.items():
                idle.clear()
                self._made[profile] = 0
        try:
            for lane in lanes:
                lane.close()
        finally:
            lanes.clear()
            with self.driver.current():
                self.engine = None
                self._runtime = None


def _shapes(feeds: Mapping[str, Feed]) -> str:
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items()) or "nothing"
