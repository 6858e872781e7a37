"""The CUDA driver by ctypes: the calls an executor needs, each checked.

``libcuda.so.1`` comes with the driver, so it is wherever a GPU is; ``libcudart`` need not be. Symbols
and signatures are those of cuda.h, where most names stand for their ``_v2`` form.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from ...errors import BackendError, InputError, ProviderUnavailable

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemHostGetDevicePointer_v2": (POINTER(c_uint64), c_void_p, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuPointerGetAttribute": (c_void_p, c_int, c_uint64),
    "cuCtxSynchronize": (),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphLaunch": (c_void_p, c_void_p),
}
_PORTABLE, _DEVICEMAP = 1, 2  # CU_MEMHOSTALLOC_*
_POINTER_DEVICE = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the default stream of others does not wait for ours
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76  # CU_DEVICE_ATTRIBUTE_*
_OUT_OF_MEMORY = 2
_CONTEXT_LOST = frozenset({214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999})
"""Errors after which every later call of the process fails alike: ECC, illegal address, launch failed, ... (cuda.h)"""


@dataclass(frozen=True)
class Device:
    """What an engine depends on, read from the driver.

    Attributes:
        capability: of computing, such as 8.7 (SM 8.7, Orin). driver: the CUDA version it supports, such as 12.6.
        integrated: the GPU shares the memory of the CPU, as on a Jetson.
    """

    name: str
    capability: str
    multiprocessors: int
    memory_bytes: int
    integrated: bool
    driver: str


@dataclass(frozen=True)
class HostBuffer:
    """Pinned memory; ``device`` is its address for the GPU, 0 where it is not mapped."""

    host: int
    device: int


class Library:
    """``libcuda.so.1`` started, and device 0 (``CUDA_VISIBLE_DEVICES`` chooses); no context is made."""

    _open = False

    def __init__(self, library: Any = None) -> None:
        """Start the driver; ``library`` stands in for ``libcuda.so.1``.

        Raises:
            ProviderUnavailable: there is no driver, no device, or it is too old.
        """
        try:
            self._library = ctypes.CDLL("libcuda.so.1") if library is None else library
            for name, types in SIGNATURES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = types, c_int
        except (OSError, AttributeError) as error:
            raise ProviderUnavailable(f"no CUDA driver of 11.4 or newer ({error}): {_REMEDY}") from error
        try:
            self._call("cuInit", 0)
            if not self._int("cuDeviceGetCount"):
                raise BackendError("the driver counts no devices")
            self._device = self._int("cuDeviceGet", 0)
            self.device = self._describe()
        except BackendError as error:
            raise ProviderUnavailable(f"CUDA does not start ({error}): {_REMEDY}") from error

    def _describe(self) -> Device:
        name, memory = ctypes.create_string_buffer(256), c_size_t()
        self._call("cuDeviceGetName", name, len(name), self._device)
        self._call("cuDeviceTotalMem_v2", byref(memory), self._device)
        major, minor, integrated, multiprocessors = (
            self._int("cuDeviceGetAttribute", which, self._device)
            for which in (_MAJOR, _MINOR, _INTEGRATED, _MULTIPROCESSORS)
        )
        version = self._int("cuDriverGetVersion")
        return Device(
            name=name.value.decode(errors="replace"),
            capability=f"{major}.{minor}",
            multiprocessors=multiprocessors,
            memory_bytes=memory.value,
            integrated=bool(integrated),
            driver=f"{version // 1000}.{version % 1000 // 10}",
        )

    def _int(self, name: str, *arguments: int) -> int:
        value = c_int()
        self._call(name, byref(value), *arguments)
        return value.value

    def _pointer(self, name: str, *arguments: int, memory: int = 0, after: bool = False) -> int:
        """Call what writes a handle into its first argument, or, with ``after``, into its last."""
        pointer = c_void_p()
        self._call(name, *((*arguments, byref(pointer)) if after else (byref(pointer), *arguments)), memory=memory)
        return pointer.value or 0

    def _call(self, name: str, *arguments: Any, memory: int = 0) -> None:
        code = getattr(self._library, name)(*arguments)
        if not code:
            return
        if code == _OUT_OF_MEMORY and memory:
            raise BackendError(
                f"the GPU has no {memory / 2**20:.1f} MiB left ({name}): stop other processes, or build with a "
                "smaller --max-batch. On a Jetson it is the memory of the whole board"
            )
        lost = (
            ". The CUDA context is lost: end this process and start again"
            if code in _CONTEXT_LOST and self._open
            else ""
        )
        raise BackendError(
            f"CUDA call {name} failed with {code}: {self._text('cuGetErrorName', code)}, "
            f"{self._text('cuGetErrorString', code)}{lost}"
        )

    def _text(self, name: str, code: int) -> str:
        text = c_char_p()
        if getattr(self._library, name)(code, byref(text)) or text.value is None:
            return "unknown"
        return text.value.decode(errors="replace")


class Driver(Library):
    """The driver with the primary context of device 0, which is the one TensorRT works in.

    Methods below ``current`` need the context to be current.
    """

    def __init__(self, library: Any = None) -> None:
        """Start the driver and retain the context; arguments and errors as for ``Library``."""
        super().__init__(library)
        try:
            self._context = self._pointer("cuDevicePrimaryCtxRetain", self._device)
        except BackendError as error:
            raise ProviderUnavailable(f"CUDA does not start ({error}): {_REMEDY}") from error
        self._open = True

    def close(self) -> None:
        """Give the context back; everything in it must be freed. Idempotent.

        Sessions never call it. Releasing the last hold destroys the context, and objects of TensorRT that an error
        still holds then end the process ("context is destroyed", TensorRT#1632, #2052).
        """
        if self._open:
            self._open = False
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in this thread, and what was current before afterwards."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._pointer("cuCtxPopCurrent_v2")

    def allocate(self, size: int) -> int:
        """Device memory, aligned to 256 bytes at least."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), size, memory=size)
        return address.value

    def free(self, address: int) -> None:
        """Free device memory."""
        self._call("cuMemFree_v2", address)

    def allocate_host(self, size: int, *, mapped: bool) -> HostBuffer:
        """Pinned memory of zeros, readable by the GPU itself where ``mapped``."""
        host = self._pointer("cuMemHostAlloc", size, _PORTABLE | (_DEVICEMAP if mapped else 0), memory=size)
        ctypes.memset(host, 0, size)
        if not mapped:
            return HostBuffer(host, 0)
        address = c_uint64()
        try:
            self._call("cuMemHostGetDevicePointer_v2", byref(address), host, 0)
        except BackendError:
            self._call("cuMemFreeHost", host)
            raise
        return HostBuffer(host, address.value)

    def free_host(self, buffer: HostBuffer) -> None:
        """Free pinned memory."""
        self._call("cuMemFreeHost", buffer.host)

    def copy_in(self, device: int, host: int, size: int, stream: int) -> None:
        """Host to device, in the order of the stream."""
        self._call("cuMemcpyHtoDAsync_v2", device, host, size, stream)

    def copy_out(self, host: int, device: int, size: int, stream: int) -> None:
        """Device to host, in the order of the stream."""
        self._call("cuMemcpyDtoHAsync_v2", host, device, size, stream)

    def copy_within(self, to: int, source: int, size: int, stream: int) -> None:
        """Device to device, in the order of the stream."""
        self._call("cuMemcpyDtoDAsync_v2", to, source, size, stream)

    def check_address(self, address: int, name: str) -> None:
        """Whether an address that a caller passed is memory of this device.

        Raises:
            InputError: it is not.
        """
        device = c_int()
        code = self._library.cuPointerGetAttribute(byref(device), _POINTER_DEVICE, address)
        if code or device.value != self._device:
            where = "on no GPU that this process sees" if code else f"on GPU {device.value}"
            raise InputError(f"'{name}' lies {where}, this session runs on GPU {self._device}: copy it there first")

    def wait_for(self, stream: int | None) -> None:
        """Wait for a stream of somebody else; None: for all work of the context."""
        if stream is None:
            self._call("cuCtxSynchronize")
        else:
            self._call("cuStreamSynchronize", stream)

    @contextlib.contextmanager
    def events(self, count: int) -> Iterator[list[int]]:
        """Events that hold a time each, once recorded."""
        made: list[int] = []
        try:
            for _ in range(count):
                made.append(self._pointer("cuEventCreate", 0))
            yield made
        finally:
            for event in made:
                self._call("cuEventDestroy_v2", event)

    def record(self, event: int, stream: int) -> None:
        """Take the time when the work before it in the stream is done."""
        self._call("cuEventRecord", event, stream)

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds between two events that were recorded and waited for."""
        time = c_float()
        self._call("cuEventElapsedTime", byref(time), first, last)
        return time.value

    def stream(self) -> int:
        """A stream that waits for no other."""
        return self._pointer("cuStreamCreate", _NON_BLOCKING)

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream; failures of kernels come out here."""
        self._call("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._call("cuStreamDestroy_v2", stream)

    @contextlib.contextmanager
    def captured(self, stream: int) -> Iterator[list[int]]:
        """Record what the block enqueues instead of running it; the list then holds the launchable graph."""
        executables: list[int] = []
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        graph = 0
        try:
            try:
                yield executables
            except BaseException:
                with contextlib.suppress(BackendError):  # the block's own failure says more
                    graph = self._pointer("cuStreamEndCapture", stream, after=True)
                raise
            graph = self._pointer("cuStreamEndCapture", stream, after=True)
            executables.append(self._pointer("cuGraphInstantiateWithFlags", graph, 0))
        finally:
            if graph:
                self._call("cuGraphDestroy", graph)

    def launch(self, executable: int, stream: int) -> None:
        """Run a captured graph."""
        self._call("cuGraphLaunch", executable, stream)

    def destroy_executable(self, executable: int) -> None:
        """Destroy a captured graph."""
        self._call("cuGraphExecDestroy", executable)


_REMEDY = "vae-edge doctor says what this machine lacks; device='cpu' runs without"
_process: tuple[int, Driver] | None = None
_starting = threading.Lock()


def process_driver() -> Driver:
    """The driver of this process; its context is kept until the process ends, as CUDA's own runtime does.

    Raises:
        ProviderUnavailable: there is no driver, no device, or it is too old.
    """
    global _process
    with _starting:
        if _process is None or _process[0] != os.getpid():  # a forked child has to start, or fail, by itself
            _process = os.getpid(), Driver()
        return _process[1]


def read_device(library: Any = None) -> Device:
    """What device 0 is; makes no context.

    Raises:
        ProviderUnavailable: there is no driver, no device, or it is too old.
    """
    return Library(library).device
