"""A CUDA driver that runs on the CPU, lazily, and refuses what the real one refuses.

Work runs when its stream is synchronized, so that whoever reads results too early reads the old ones.
Device addresses are not host addresses. What the real driver would answer with an error is answered with
that error; what it would answer with a crash, a leak or a wrong result is kept in ``violations``.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass, field
from typing import Any

from recorded_names import DRIVER

C_TYPES: dict[str, Any] = {
    "int": c_int,
    "unsigned int": c_uint,
    "unsigned long long": c_uint64,
    "size_t": c_size_t,
    "CUresult": c_int,
    "CUdevice": c_int,
    "CUdevice_attribute": c_int,
    "CUstreamCaptureMode": c_int,
    "CUdeviceptr": c_uint64,
    "CUcontext": c_void_p,
    "CUstream": c_void_p,
    "CUgraph": c_void_p,
    "CUevent": c_void_p,
    "CUpointer_attribute": c_int,
    "float": c_float,
    "CUgraphExec": c_void_p,
    "void*": c_void_p,
    "const void*": c_void_p,
    "char*": c_char_p,
    "const char**": POINTER(c_char_p),
}
BIAS = 1 << 44
"""Device addresses are those of the bytes plus this."""
OK, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE, INVALID_CONTEXT, INVALID_HANDLE = 0, 1, 2, 100, 201, 400
UNSUPPORTED, INVALIDATED, WRONG_THREAD = 900, 901, 908
_WITHOUT_CONTEXT = ("cuInit", "cuDriver", "cuGetError", "cuDevice", "cuCtx")


def c_types(name: str) -> tuple[Any, ...]:
    """The recorded parameter types of a function."""
    if DRIVER[name] == "void":
        return ()
    return tuple(
        C_TYPES[t] if t in C_TYPES else POINTER(C_TYPES[t.removesuffix("*")] if t != "void**" else c_void_p)
        for t in DRIVER[name].split(", ")
    )


@dataclass(frozen=True)
class Work:
    """A copy or a run of kernels; ``touches`` are host addresses of the memory it reads and writes."""

    run: Callable[[], object]
    touches: tuple[int, ...] = ()


@dataclass
class Stream:
    """Work not done yet, and what is being captured, by whom."""

    pending: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None
    thread: int = 0
    invalid: bool = False


class FakeCuda:
    """``library`` of a ``Driver``; set ``failures[name]`` to a code to make a call fail."""

    def __init__(self, *, integrated: bool = True, devices: int = 1, memory: int = 1 << 40) -> None:
        self.integrated, self.devices, self.left = integrated, devices, memory
        self.name, self.capability, self.multiprocessors, self.version = b"Orin", (8, 7), 16, 12060
        self.failures: dict[str, int] = {}
        self.violations: list[str] = []
        self.calls: list[str] = []
        self.started = False
        self.ordinal = 0
        """The device on which all memory lies."""
        self.retained = 0
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.host: dict[int, tuple[ctypes.Array[ctypes.c_char], bool]] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.alive: list[str] = []
        """TensorRT's objects that exist."""
        self.events: dict[int, float | None] = {}
        """Time of each event in ms, once its place in the stream is reached."""
        self.launches = 0
        self.copied_out: list[int] = []
        """Bytes of each copy to the host."""
        self._handles = itertools.count(0x1000, 16)
        self._lock = threading.RLock()
        self._local = threading.local()
        for name in DRIVER:
            # As a char* ctypes would hand over a copy of the bytes, which cannot be written to.
            types = [c_void_p if kind is c_char_p else kind for kind in c_types(name)]
            setattr(self, name, ctypes.CFUNCTYPE(c_int, *types)(self._entry(name)))

    def _entry(self, name: str) -> Callable[..., int]:
        call = getattr(self, f"_{name.removesuffix('_v2')}")

        def enter(*arguments: Any) -> int:
            with self._lock:
                self.calls.append(name)
                if name in self.failures and (name != "cuStreamEndCapture" or self._end(arguments[0])):
                    return self.failures[name]
                if not name.startswith(_WITHOUT_CONTEXT) and not self.contexts:
                    self.violations.append(f"{name} without a current context")
                    return INVALID_CONTEXT
                if name != "cuStreamSynchronize":
                    return call(*arguments) or OK
            return call(*arguments)  # waiting keeps nobody else from calling

        return enter

    @property
    def contexts(self) -> list[int]:
        """Current contexts of this thread, innermost last."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        found: list[int] = self._local.stack
        return found

    def wrong(self, what: str, code: int = INVALID_VALUE) -> int:
        """Note what no correct program does."""
        self.violations.append(what)
        return code

    def bytes_at(self, address: int, size: int) -> int:
        """Host address of device bytes, checked to lie in one allocation."""
        at = address - BIAS
        for start, block in [*self.memory.items(), *((a, b) for a, (b, mapped) in self.host.items() if mapped)]:
            if start <= at and at + size <= start + len(block):
                return at
        raise AssertionError(f"{size} bytes at {address:#x} are not memory of the device")

    def unsafe_while_capturing(self) -> int:
        """Allocation and the like end a capture of this thread."""
        for stream in self.streams.values():
            if stream.captured is not None and stream.thread == threading.get_ident():
                stream.invalid = True
                return UNSUPPORTED
        return OK

    def enqueue(self, handle: int, work: Work) -> int:
        """Add work to a stream, or to the graph that it captures."""
        stream = self.streams.get(handle)
        if stream is None:
            return self.wrong(f"work for stream {handle}, which does not exist", INVALID_HANDLE)
        (stream.pending if stream.captured is None else stream.captured).append(work)
        return OK

    def leaks(self) -> list[str]:
        """What was not given back."""
        kinds = ("memory", "host", "streams", "events", "graphs", "executables", "alive")
        found = [f"{len(getattr(self, kind))} {kind}" for kind in kinds if getattr(self, kind)]
        return found + ([f"context retained {self.retained} times"] if self.retained else [])

    def _cuInit(self, flags: int) -> int:
        self.started = self.devices > 0
        return OK if self.devices else NO_DEVICE

    def _cuDriverGetVersion(self, out: Any) -> None:
        out[0] = self.version

    def _cuGetErrorName(self, code: int, out: Any) -> None:
        out[0] = f"CUDA_ERROR_{code}".encode()

    def _cuGetErrorString(self, code: int, out: Any) -> None:
        out[0] = b"as the driver says it"

    def _cuDeviceGetCount(self, out: Any) -> None:
        out[0] = self.devices

    def _cuDeviceGet(self, out: Any, ordinal: int) -> int:
        out[0] = ordinal
        return OK if ordinal < self.devices else INVALID_VALUE

    def _cuDeviceGetName(self, out: Any, size: int, device: int) -> None:
        ctypes.memmove(out, self.name + b"\0", min(size, len(self.name) + 1))

    def _cuDeviceGetAttribute(self, out: Any, which: int, device: int) -> int:
        known = {16: self.multiprocessors, 18: int(self.integrated), 75: self.capability[0], 76: self.capability[1]}
        out[0] = known.get(which, -1)
        return OK if which in known else INVALID_VALUE

    def _cuDeviceTotalMem(self, out: Any, device: int) -> None:
        out[0] = 8 << 30

    def _cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        self.retained += 1
        out[0] = 0xC0

    def _cuDevicePrimaryCtxRelease(self, device: int) -> int:
        self.retained -= 1
        if self.retained:
            return OK  # others hold it
        leaks = self.leaks()
        return self.wrong(f"the context was released over {leaks}") if leaks else OK

    def _cuCtxPushCurrent(self, context: int) -> int:
        if not self.retained:
            return self.wrong("a context is pushed that was released", INVALID_CONTEXT)
        self.contexts.append(context)
        return OK

    def _cuCtxPopCurrent(self, out: Any) -> int:
        if not self.contexts:
            return self.wrong("no context to pop", INVALID_CONTEXT)
        out[0] = self.contexts.pop()
        return OK

    def _take(self, size: int) -> int:
        code = self.unsafe_while_capturing()
        if code or not size:
            return code or INVALID_VALUE
        if size > self.left:
            return OUT_OF_MEMORY
        self.left -= size
        return OK

    def _cuMemAlloc(self, out: Any, size: int) -> int:
        code = self._take(size)
        if not code:
            block = ctypes.create_string_buffer(b"\xa5" * size, size)
            self.memory[ctypes.addressof(block)] = block
            out[0] = ctypes.addressof(block) + BIAS
        return code

    def _freed(self, block: ctypes.Array[ctypes.c_char] | None) -> int:
        if block is None:
            return self.wrong("memory is freed twice or was never allocated")
        start, end = ctypes.addressof(block), ctypes.addressof(block) + len(block)
        waiting = [stream.pending for stream in self.streams.values()]
        for work in [work for works in (*waiting, *self.executables.values()) for work in works]:
            if any(start <= address < end for address in work.touches):
                return self.wrong("memory is freed under a captured graph or work that is not done")
        self.left += len(block)
        return OK

    def _cuMemFree(self, address: int) -> int:
        return self._freed(self.memory.pop(address - BIAS, None))

    def _cuMemHostAlloc(self, out: Any, size: int, flags: int) -> int:
        code = self._take(size)
        if not code:
            block = ctypes.create_string_buffer(b"\xa5" * size, size)
            self.host[ctypes.addressof(block)] = (block, bool(flags & 2))
            out[0] = ctypes.addressof(block)
        return code

    def _cuMemHostGetDevicePointer(self, out: Any, host: int, flags: int) -> int:
        if host not in self.host or not self.host[host][1]:
            return INVALID_VALUE
        out[0] = host + BIAS
        return OK

    def _cuMemFreeHost(self, host: int) -> int:
        return self._freed(self.host.pop(host, (None, False))[0])

    def _pinned(self, host: int, size: int) -> bool:
        return any(start <= host and host + size <= start + len(block) for start, (block, _) in self.host.items())

    def _copy(self, to: int, source: int, size: int, stream: int, pinned: int) -> int:
        if not self._pinned(pinned, size):
            return self.wrong("an asynchronous copy of memory that is not pinned, or past its end")
        return self.enqueue(stream, Work(lambda: ctypes.memmove(to, source, size), (to, source)))

    def _cuMemcpyHtoDAsync(self, device: int, host: int, size: int, stream: int) -> int:
        return self._copy(self.bytes_at(device, size), host, size, stream, host)

    def _cuMemcpyDtoHAsync(self, host: int, device: int, size: int, stream: int) -> int:
        self.copied_out.append(size)
        return self._copy(host, self.bytes_at(device, size), size, stream, host)

    def _cuMemcpyDtoDAsync(self, to: int, source: int, size: int, stream: int) -> int:
        target, start = self.bytes_at(to, size), self.bytes_at(source, size)
        return self.enqueue(stream, Work(lambda: ctypes.memmove(target, start, size), (target, start)))

    def _cuPointerGetAttribute(self, out: int, which: int, address: int) -> int:
        if which != 9:
            return INVALID_VALUE
        try:
            self.bytes_at(address, 1)
        except AssertionError:
            return INVALID_VALUE
        ctypes.c_int.from_address(out).value = self.ordinal
        return OK

    def _cuCtxSynchronize(self) -> int:
        return max((self._cuStreamSynchronize(handle) for handle in list(self.streams)), default=OK)

    def _cuEventCreate(self, out: Any, flags: int) -> None:
        out[0] = next(self._handles)
        self.events[out[0]] = None

    def _cuEventRecord(self, event: int, stream: int) -> int:
        if event not in self.events:
            return self.wrong(f"event {event} does not exist", INVALID_HANDLE)
        return self.enqueue(stream, Work(lambda: self.events.update({event: 1e3 * time.perf_counter()})))

    def _cuEventElapsedTime(self, out: Any, first: int, last: int) -> int:
        begun, ended = self.events.get(first), self.events.get(last)
        if begun is None or ended is None:
            return self.wrong("the time of an event is asked for before its stream was waited for", 600)
        out[0] = ended - begun
        return OK

    def _cuEventDestroy(self, event: int) -> int:
        return self.wrong(f"event {event} is destroyed twice") if self.events.pop(event, self) is self else OK

    def _cuStreamCreate(self, out: Any, flags: int) -> None:
        out[0] = next(self._handles)
        self.streams[out[0]] = Stream()

    def _cuStreamSynchronize(self, handle: int) -> int:
        stream = self.streams.get(handle)
        if stream is None:
            return self.wrong(f"stream {handle} does not exist", INVALID_HANDLE)
        if stream.captured is not None:
            stream.invalid = True
            return UNSUPPORTED
        for work in list(stream.pending):
            work.run()
            stream.pending.remove(work)
        return OK

    def _cuStreamDestroy(self, handle: int) -> int:
        stream = self.streams.pop(handle, None)
        if stream is None or stream.pending or stream.captured is not None:
            return self.wrong(f"stream {handle} is destroyed twice, busy or capturing", INVALID_HANDLE)
        return OK

    def _cuStreamBeginCapture(self, handle: int, mode: int) -> int:
        stream = self.streams.get(handle)
        if stream is None or stream.captured is not None or stream.pending:
            return self.wrong("a capture begins on no stream, twice, or on a busy one", UNSUPPORTED)
        stream.captured, stream.thread, stream.invalid = [], threading.get_ident(), False
        return OK

    def _end(self, handle: int) -> bool:
        self.streams[handle].captured = None
        return True

    def _cuStreamEndCapture(self, handle: int, out: Any) -> int:
        stream = self.streams.get(handle)
        if stream is None or stream.captured is None:
            return self.wrong("a capture ends that never began")
        if stream.thread != threading.get_ident():
            return self.wrong("a capture ends in another thread", WRONG_THREAD)
        captured, stream.captured = stream.captured, None
        if stream.invalid:
            out[0] = None
            return INVALIDATED
        out[0] = next(self._handles)
        self.graphs[out[0]] = captured
        return OK

    def _cuGraphInstantiateWithFlags(self, out: Any, graph: int, flags: int) -> int:
        if graph not in self.graphs:
            return self.wrong(f"graph {graph} does not exist", INVALID_HANDLE)
        out[0] = next(self._handles)
        self.executables[out[0]] = list(self.graphs[graph])
        return OK

    def _cuGraphDestroy(self, graph: int) -> int:
        return OK if self.graphs.pop(graph, None) is not None else self.wrong(f"graph {graph} is destroyed twice")

    def _cuGraphExecDestroy(self, executable: int) -> int:
        found = self.executables.pop(executable, None)
        return OK if found is not None else self.wrong(f"executable {executable} is destroyed twice")

    def _cuGraphLaunch(self, executable: int, stream: int) -> int:
        if executable not in self.executables:
            return self.wrong(f"executable {executable} does not exist", INVALID_HANDLE)
        self.launches += 1
        for work in self.executables[executable]:
            self.enqueue(stream, work)
        return OK
