"""What one call on an engine needs for itself: a stream, pinned buffers, scratch memory, and a context per bucket.

Everything is allocated once, at the largest batch of one profile. The second run of a bucket is a CUDA graph.
Execution contexts are not thread-safe, so a lane serves one call at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ..gpu_rows import GpuRows
from .calls import releases_on_error
from .driver import HostBuffer

if TYPE_CHECKING:
    from .executor import Executor

Feed = NDArray[Any] | GpuRows
"""Rows (n, *shape) of one input: of the host, or of the GPU."""


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


@dataclass(frozen=True)
class Split:
    """Where the time of one run went, in milliseconds: on the GPU by its events, and in the host's call.

    Attributes:
        copy_in_ms, copy_out_ms: of all inputs and outputs; 0 where the GPU reads pinned memory itself.
        compute_ms: of the engine. enqueue_ms: what the call that starts the engine takes on the host.
    """

    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float
    enqueue_ms: float


class Lane:
    """Stream, buffers and contexts of one call at a time, at the batches of one profile.

    A lane for single rows has buffers of a row, whatever the largest batch is. It is made and used while the CUDA
    context is current.
    """

    def __init__(self, executor: Executor, profile: int) -> None:
        self._of, self._driver, self._profile = executor, executor.driver, profile
        self._undo = contextlib.ExitStack()
        self._contexts: dict[tuple[int, frozenset[str]], _Context] = {}
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
    def run(self, feeds: Mapping[str, Feed], rows: int, outputs: Sequence[str]) -> None:
        """Run at most the largest batch; ``outputs`` are in ``views`` until the next run.

        Rows of the GPU go from where they are to the engine's buffer, and never to the host.
        """
        on_gpu = frozenset(name for name, feed in feeds.items() if isinstance(feed, GpuRows))
        for name, feed in feeds.items():
            if isinstance(feed, GpuRows):
                self._take(name, feed)
            else:
                np.copyto(self.views[name][:rows], feed)
        wanted = [tensor for tensor in self._of.tensors if tensor.name in outputs]
        for tensor in wanted:
            if tensor.name not in self.views:
                self._pin(tensor)
        bucket = next(size for size in self._buckets if size >= rows)  # rows beyond are what ran before
        context = self._context(bucket, on_gpu)
        if context.executable:
            self._driver.launch(context.executable, self.stream)
        else:
            self._enqueue(context, bucket)
        self._copy_out(wanted, bucket)  # after the graph and not in it: each call asks for the outputs that it needs
        self._driver.synchronize(self.stream)
        if context.graphs:
            context.graphs = False  # tried once, after a first run that set TensorRT up
            self._capture(context, bucket)

    def split(self, rows: int) -> Split:
        """Time one run on what the buffers hold, with all inputs and outputs; nothing is captured."""
        bucket = next(size for size in self._buckets if size >= rows)
        context, outputs = self._context(bucket, frozenset()), [t for t in self._of.tensors if not t.is_input]
        for tensor in outputs:
            if tensor.name not in self.views:
                self._pin(tensor)
        with self._driver.events(4) as events:

            def mark(index: int) -> None:
                self._driver.record(events[index], self.stream)

            mark(0)
            self._copy_in(bucket)
            mark(1)
            start = time.perf_counter()
            self._execute(context, bucket)
            enqueue_ms = 1e3 * (time.perf_counter() - start)
            mark(2)
            self._copy_out(outputs, bucket)
            mark(3)
            self._driver.synchronize(self.stream)
            copy_in, compute, copy_out = (self._driver.elapsed_ms(*events[i : i + 2]) for i in range(3))
        return Split(copy_in, compute, copy_out, enqueue_ms)

    def _take(self, name: str, rows: GpuRows) -> None:
        """Copy rows within the GPU, once whoever computes them is done."""
        self._driver.check_address(rows.address, name)
        self._driver.wait_for(rows.stream)
        self._driver.copy_within(self._device[name], rows.address, rows.size_bytes, self.stream)

    def _context(self, bucket: int, on_gpu: frozenset[str]) -> _Context:
        """Of a bucket, whose inputs ``on_gpu`` are there already; contexts of a bucket differ in their graphs alone."""
        context = self._contexts.get((bucket, on_gpu))
        if context is None:
            same = next((c for (size, _), c in self._contexts.items() if size == bucket), None)
            made = self._made_context(bucket) if same is None else same.context
            context = self._contexts[bucket, on_gpu] = _Context(made, on_gpu)
        return context

    def _made_context(self, bucket: int) -> Any:
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
        return made

    def _enqueue(self, context: _Context, bucket: int) -> None:
        self._copy_in(bucket, context.on_gpu)
        self._execute(context, bucket)

    def _copy_in(self, bucket: int, on_gpu: frozenset[str] = frozenset()) -> None:
        if self._of.io == "copy":
            for tensor in self._of.tensors:
                if tensor.is_input and tensor.name not in on_gpu:
                    size = bucket * tensor.row_bytes
                    self._driver.copy_in(self._device[tensor.name], self._host[tensor.name].host, size, self.stream)

    def _copy_out(self, wanted: Sequence[Tensor], bucket: int) -> None:
        if self._of.io == "copy":
            for tensor in wanted:
                host, device = self._host[tensor.name].host, self._device[tensor.name]
                self._driver.copy_out(host, device, bucket * tensor.row_bytes, self.stream)

    def _execute(self, context: _Context, bucket: int) -> None:
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
    """A TensorRT context fixed to one bucket; ``graphs`` until a capture was tried, then ``executable`` or none.

    Attributes:
        on_gpu: inputs that need no copy from the host.
    """

    context: Any
    on_gpu: frozenset[str]
    graphs: bool = True
    executable: int = 0
