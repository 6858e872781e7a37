"""Runs one engine: everything allocated once, batches in buckets, each bucket a CUDA graph.

A *lane* is what one call needs for itself: a stream, pinned buffers for every input and output at the
largest batch, scratch memory, and one execution context per bucket. Contexts are not thread-safe, so a
lane serves one call at a time; calls beyond the number of lanes wait.
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

        Raises:
            BackendError: TensorRT does not take it.
            OptionError: ``io`` is none of the three.
        """
        if io not in ("auto", "mapped", "copy"):
            raise OptionError(f"io is {io!r}; valid are auto, mapped, copy")
        self.io = ("mapped" if driver.device.integrated else "copy") if io == "auto" else io
        self.graph, self.driver, self.log = graph, driver, binding.logger()
        self.trt = binding.module
        with driver.current():
            self._runtime = self.trt.Runtime(self.log)
            self.engine = self._runtime.deserialize_cuda_engine(raw)
        if self.engine is None:
            raise BackendError(f"TensorRT {binding.version} did not load the engine of '{graph}': {self.log.last}")
        self.tensors = tuple(self._tensor(i) for i in range(self.engine.num_io_tensors))
        self._inputs = {tensor.name: tensor for tensor in self.tensors if tensor.is_input}
        self._outputs = {tensor.name: tensor for tensor in self.tensors if not tensor.is_input}
        first = next(iter(self._inputs))
        self.most = tuple(
            int(next(iter(self.engine.get_tensor_profile_shape(first, i)[2])))
            for i in range(self.engine.num_optimization_profiles)
        )
        self.buckets = buckets(max(self.most))
        self.eager_reason: str | None = None
        """Why a bucket runs without a CUDA graph; None where none does."""
        self._changed = threading.Condition()
        self._idle: list[Lane] = []
        self._lanes, self._made, self._closed = lanes, 0, False

    def _tensor(self, index: int) -> Tensor:
        name = self.engine.get_tensor_name(index)
        rows, *shape = (int(n) for n in tuple(self.engine.get_tensor_shape(name)))
        dtype = _DTYPES.get(self.engine.get_tensor_dtype(name).name)
        if rows != -1 or min(shape, default=1) < 1 or dtype is None:
            raise BackendError(
                f"'{name}' of graph '{self.graph}' is {self.engine.get_tensor_dtype(name).name} ({rows}, {shape}) in "
                "the engine: only the number of rows may be free"
            )
        is_input = self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT
        return Tensor(name, tuple(shape), np.dtype(dtype), is_input)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Run rows, at least one; more than the engine's largest batch are cut.

        Raises:
            BackendError: a feed does not fit the engine, or TensorRT or CUDA failed.
            SessionClosed: after ``close``.
        """
        rows = self._check(feeds, outputs)
        arrays = [np.empty((rows, *self._outputs[name].shape), self._outputs[name].dtype) for name in outputs]
        with self._lane() as lane, self.driver.current():
            for start in range(0, rows, self.buckets[-1]):
                part = slice(start, min(start + self.buckets[-1], rows))
                lane.run({name: rows[part] for name, rows in feeds.items()}, part.stop - start)
                for name, whole in zip(outputs, arrays, strict=True):
                    whole[part] = lane.views[name][: part.stop - start]
        return arrays

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
    def _lane(self) -> Iterator[Lane]:
        with self._changed:
            while not self._closed and not self._idle and self._made == self._lanes:
                self._changed.wait()
            if self._closed:
                raise SessionClosed("this session is closed: call load() again")
            lane = self._idle.pop() if self._idle else None
            self._made += lane is None
        whole = False
        try:
            if lane is None:
                with self.driver.current():
                    lane = Lane(self)
            yield lane
            whole = True
        finally:
            if not whole and lane is not None:  # its stream may still be at work in its buffers
                with contextlib.suppress(BackendError):
                    lane.close()
            with self._changed:
                if whole and lane is not None:
                    self._idle.append(lane)
                else:
                    self._made -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for running calls, then free lanes, engine and runtime, in this order. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._made != len(self._idle):
                self._changed.wait()
            lanes, self._idle, self._made = self._idle, [], 0
        for lane in lanes:
            lane.close()
        with self.driver.current():
            self.engine = None
            self._runtime = None


class Lane:
    """Stream, buffers and contexts of one call at a time; made and used while the CUDA context is current."""

    def __init__(self, executor: Executor) -> None:
        self._of, self._driver = executor, executor.driver
        self._undo = contextlib.ExitStack()
        self._contexts: dict[int, _Context] = {}
        self._host: dict[str, HostBuffer] = {}
        self._device: dict[str, int] = {}
        self.views: dict[str, NDArray[Any]] = {}
        """Pinned rows of every tensor at the largest batch."""
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
        self._scratch_bytes = max(int(self._of.engine.device_memory_size_v2), 256)
        self._scratch = driver.allocate(self._scratch_bytes)
        undo.callback(driver.free, self._scratch)
        most = self._of.buckets[-1]
        for tensor in self._of.tensors:
            size = most * tensor.row_bytes
            buffer = driver.allocate_host(size, mapped=self._of.io == "mapped")
            undo.callback(driver.free_host, buffer)
            if self._of.io == "copy":
                address = driver.allocate(size)
                undo.callback(driver.free, address)
            else:
                address = buffer.device
            self._host[tensor.name], self._device[tensor.name] = buffer, address
            memory = (ctypes.c_uint8 * size).from_address(buffer.host)
            self.views[tensor.name] = np.frombuffer(memoryview(memory), tensor.dtype).reshape(most, *tensor.shape)

    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int) -> None:
        """Run at most the largest batch; results are in ``views`` until the next run."""
        for name, array in feeds.items():
            np.copyto(self.views[name][:rows], array)
        bucket = next(size for size in self._of.buckets if size >= rows)  # rows beyond are what ran before
        context = self._contexts.get(bucket)
        if context is None:
            context = self._contexts[bucket] = self._context(bucket)
        if context.executable:
            self._driver.launch(context.executable, self.stream)
            self._driver.synchronize(self.stream)
            return
        self._enqueue(context, bucket)
        self._driver.synchronize(self.stream)
        if context.graphs:
            context.graphs = False  # tried once, after a first run that set TensorRT up
            self._capture(context, bucket)

    def _context(self, bucket: int) -> _Context:
        of, trt = self._of, self._of.trt
        made = of.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._must(made is not None, f"make a context for {bucket} rows")
        profile = next(i for i, most in enumerate(of.most) if bucket <= most)
        self._must(made.set_optimization_profile_async(profile, self.stream), f"take profile {profile}")
        self._driver.synchronize(self.stream)
        made.set_device_memory(self._scratch, self._scratch_bytes)
        for tensor in of.tensors:
            self._must(made.set_tensor_address(tensor.name, self._device[tensor.name]), f"take '{tensor.name}'")
            if tensor.is_input:
                shape = (bucket, *tensor.shape)
                self._must(made.set_input_shape(tensor.name, shape), f"take {shape} for '{tensor.name}'")
        unknown = made.infer_shapes()
        self._must(not unknown, f"know the shapes of {', '.join(unknown)}")
        return _Context(made)

    def _must(self, done: bool, what: str) -> None:
        if not done:
            raise BackendError(f"TensorRT did not {what} in graph '{self._of.graph}': {self._of.log.last}")

    def _enqueue(self, context: _Context, bucket: int) -> None:
        copies = [] if self._of.io == "mapped" else self._of.tensors
        for tensor in copies:
            if tensor.is_input:
                size = bucket * tensor.row_bytes
                self._driver.copy_in(self._device[tensor.name], self._host[tensor.name].host, size, self.stream)
        self._must(context.context.execute_async_v3(self.stream), f"run {bucket} rows")
        for tensor in copies:
            if not tensor.is_input:
                size = bucket * tensor.row_bytes
                self._driver.copy_out(self._host[tensor.name].host, self._device[tensor.name], size, self.stream)

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
