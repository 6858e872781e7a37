"""Runs one engine: everything allocated once, batches in buckets, each bucket a CUDA graph.

A *lane* is what one call needs for itself: a stream, pinned buffers, scratch memory, and one execution context
per bucket, all at the largest batch of one profile of the engine. Contexts are not thread-safe, so a lane serves one
call at a time; calls beyond the number of lanes wait. Single rows have a profile and lanes of their own, so who
only scores single rows pays for a row and not for 64.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, OptionError, SessionClosed
from .binding import Binding
from .calls import Calls, releases_on_error
from .driver import Driver, HostBuffer

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


@dataclass(frozen=True)
class Tensor:
    """An input or output; ``shape`` is that of one row."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_input: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape) * self.dtype.itemsize


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
    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
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

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Run rows of zeros, so that the first rows that count find contexts made and graphs captured."""
        for rows in sizes:
            zeros = {name: np.zeros((rows, *t.shape), t.dtype) for name, t in self._inputs.items()}
            self.run(zeros, [])

    def _check(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> int:
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


class Lane:
    """Stream, buffers and contexts of one call at a time, at the batches of one profile.

    A lane for single rows has buffers of a row, whatever the largest batch is. It is made and used while the CUDA
    context is current.
    """

    def __init__(self, executor: Executor, profile: int) -> None:
        self._of, self._driver, self._profile = executor, executor.driver, profile
        self._undo = contextlib.ExitStack()
        self._contexts: dict[int, _Context] = {}
        self._host: dict[str, HostBuffer] = {}
        self._device: dict[str, int] = {}
        self._most = executor.most[profile]
        least = executor.most[profile - 1] if profile else 0
        self._buckets = tuple(size for size in executor.buckets if least < size <= self._most)
        self.views: dict[str, NDArray[Any]] = {}
        """Pinned rows of the inputs, and of outputs that were asked for, at the largest batch of the profile."""
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    def _allocate(self) -> None:
        driver, undo = self._driver, self._undo
        self.stream = driver.stream()
        undo.callback(driver.destroy_stream, self.stream)
        # Contexts of one lane never run at once, so they share their scratch memory.
        self._scratch_bytes = self._of.scratch_bytes[self._profile]
        self._scratch = driver.allocate(self._scratch_bytes)
        undo.callback(driver.free, self._scratch)
        for tensor in self._of.tensors:
            if self._of.io == "mapped":
                self._device[tensor.name] = self._pin(tensor).device
                continue
            self._device[tensor.name] = driver.allocate(self._most * tensor.row_bytes)
            undo.callback(driver.free, self._device[tensor.name])
            if tensor.is_input:
                self._pin(tensor)

    def _pin(self, tensor: Tensor) -> HostBuffer:
        size = self._most * tensor.row_bytes
        buffer = self._driver.allocate_host(size, mapped=self._of.io == "mapped")
        self._undo.callback(self._driver.free_host, buffer)
        self._host[tensor.name] = buffer
        memory = (ctypes.c_uint8 * size).from_address(buffer.host)
        self.views[tensor.name] = np.frombuffer(memoryview(memory), tensor.dtype).reshape(self._most, *tensor.shape)
        return buffer

    @releases_on_error
    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int, outputs: Sequence[str]) -> None:
        """Run at most the largest batch; ``outputs`` are in ``views`` until the next run."""
        for name, array in feeds.items():
            np.copyto(self.views[name][:rows], array)
        wanted = [tensor for tensor in self._of.tensors if tensor.name in outputs]
        for tensor in wanted:
            if tensor.name not in self.views:
                self._pin(tensor)
        bucket = next(size for size in self._buckets if size >= rows)  # rows beyond are what ran before
        context = self._contexts.get(bucket)
        if context is None:
            context = self._contexts[bucket] = self._context(bucket)
        if context.executable:
            self._driver.launch(context.executable, self.stream)
        else:
            self._enqueue(context, bucket)
        if self._of.io == "copy":
            for tensor in wanted:  # after the graph and not in it: each call asks for the outputs that it needs
                host, device = self._host[tensor.name].host, self._device[tensor.name]
                self._driver.copy_out(host, device, bucket * tensor.row_bytes, self.stream)
        self._driver.synchronize(self.stream)
        if context.graphs:
            context.graphs = False  # tried once, after a first run that set TensorRT up
            self._capture(context, bucket)

    def _context(self, bucket: int) -> _Context:
        of, trt, calls = self._of, self._of.trt, self._of.calls
        doing = f"making a context of {bucket} rows"
        with calls(doing):
            made = of.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        calls.must(made, doing)
        with calls(f"taking profile {self._profile}"):
            taken = made.set_optimization_profile_async(self._profile, self.stream)
        calls.must(taken, f"taking profile {self._profile}")
        self._driver.synchronize(self.stream)
        with calls("taking its scratch memory"):
            made.set_device_memory(self._scratch, self._scratch_bytes)
        for tensor in of.tensors:
            with calls(f"taking '{tensor.name}'"):
                calls.must(made.set_tensor_address(tensor.name, self._device[tensor.name]), f"taking '{tensor.name}'")
                if tensor.is_input:
                    shape = (bucket, *tensor.shape)
                    calls.must(made.set_input_shape(tensor.name, shape), f"taking {shape} for '{tensor.name}'")
        with calls("finding shapes"):
            unknown = made.infer_shapes()
        calls.must(not unknown, f"finding the shapes of {', '.join(unknown)}")
        return _Context(made)

    def _enqueue(self, context: _Context, bucket: int) -> None:
        if self._of.io == "copy":
            for tensor in self._of.tensors:
                if tensor.is_input:
                    size = bucket * tensor.row_bytes
                    self._driver.copy_in(self._device[tensor.name], self._host[tensor.name].host, size, self.stream)
        with self._of.calls(f"running {bucket} rows"):
            running = context.context.execute_async_v3(self.stream)
        self._of.calls.must(running, f"running {bucket} rows")

    def _capture(self, context: _Context, bucket: int) -> None:
        try:
            with self._driver.captured(self.stream) as executables:
                self._enqueue(context, bucket)
            context.executable = executables[0]
        except BackendError as error:
            self._of.eager_reason = (
                self._of.eager_reason or f"graph '{self._of.graph}' at {bucket} rows was not captured: {error}"
            )

    def close(self) -> None:
        """Wait for the stream, then free all there is; what fails does not keep the rest from being freed."""
        with self._driver.current(), self._undo:
            self._undo.callback(self._free_contexts)
            if hasattr(self, "stream"):
                self._undo.callback(self._driver.synchronize, self.stream)

    def _free_contexts(self) -> None:
        contexts, self._contexts = self._contexts, {}
        self.views = {}
        for context in contexts.values():
            if context.executable:
                self._driver.destroy_executable(context.executable)


@dataclass
class _Context:
    """A TensorRT context fixed to one bucket; ``graphs`` until a capture was tried, then ``executable`` or none."""

    context: Any
    graphs: bool = True
    executable: int = 0


def _shapes(feeds: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items()) or "nothing"
