"""Prove a GPU in about a minute: the driver alone, then the golden vectors of a bundle on every device of the table.

For whoever has a GPU for a short time: nothing of vae-edge was run on a GPU by its authors.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .backends.tensorrt.driver import Device, Driver, HostBuffer
from .device.devices import devices
from .errors import BackendError, MissingDependency, ProviderUnavailable, VaeEdgeError
from .record import record
from .session import load
from .verification import verify

_COPY_BYTES = 16 << 20
_RUNS = 20

OpenDriver = Callable[[], Driver]


@record(frozen=True)
class Step:
    """One thing that was tried.

    Attributes:
        outcome: ``passed``, ``failed``, or ``absent`` where its engine is not installed.
        figures: what was measured, by name with its unit. why: of a failure or an absence.
    """

    name: str
    outcome: str
    figures: dict[str, float | str]
    seconds: float
    why: str = ""

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                            for name, value in self.figures.items())  # fmt: skip
        return f"{self.outcome:<7} {self.name}{': ' if figures or self.why else ''}{figures}{self.why}"


@record(frozen=True)
class SelfTest:
    """What was tried, in order, and where."""

    device: Device
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and something was run on the GPU."""
        return all(step.outcome != "failed" for step in self.steps)

    @property
    def line(self) -> str:
        """A row for the table of docs/verified-on.md."""
        gpu = f"{self.device.name}, SM {self.device.capability}, CUDA {self.device.driver}"
        machine = f"{platform.machine()} {platform.system()}, {gpu}"
        engines = "; ".join(str(step.figures.get("engine", "")) for step in self.steps if "engine" in step.figures)
        text = "; ".join(str(step).replace("|", "/") for step in self.steps)
        python = ".".join(platform.python_version_tuple()[:2])
        return f"| {machine} | {python} | {engines or 'the driver alone'} | selftest-gpu: {text} |"


def run_selftest(
    bundle: str | os.PathLike[str] | None = None,
    *,
    open_driver: OpenDriver = Driver,
    tell: Callable[[Step], None] = lambda step: None,
) -> SelfTest:
    """Try the driver, then each device that needs a GPU.

    Args:
        bundle: whose golden vectors are run; None: the driver alone.
        open_driver: opens the driver; a test passes another.
        tell: called with every step when it is done.

    Raises:
        ProviderUnavailable: there is no GPU, so nothing was tried.

    Example:
        >>> run_selftest("pump.vaeb").line  # doctest: +SKIP
        '| x86_64 Linux, NVIDIA H200, ... |'
    """
    steps: list[Step] = []

    def add(step: Step) -> None:
        steps.append(step)
        tell(step)

    driver = open_driver()
    device = driver.device
    try:
        with driver.current():
            for name, attempt in _OF_THE_DRIVER:
                add(_timed(name, attempt, driver))
    finally:
        driver.close()
    add(_timed("a second context after the first was released", _again, open_driver))
    for row in devices() if bundle is not None else ():
        if row.gpu:
            add(_timed(f"golden vectors on {row.name}", _golden, bundle, row.name, row.exact))
    return SelfTest(device, tuple(steps))


def _timed(name: str, attempt: Callable[..., dict[str, float | str]], *arguments: Any) -> Step:
    start = time.perf_counter()
    outcome, why, figures = "passed", "", {}
    try:
        figures = attempt(*arguments)
    except (ProviderUnavailable, MissingDependency) as error:
        outcome, why = "absent", str(error)
    except (VaeEdgeError, AssertionError) as error:
        outcome, why = "failed", str(error)
    return Step(name, outcome, figures, round(time.perf_counter() - start, 3), why)


def _view(address: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise BackendError(problem)


def _pinned(driver: Driver) -> dict[str, float | str]:
    """Pinned memory, plain and mapped, of zeros."""
    for mapped in (False, True):
        buffer = driver.allocate_host(_COPY_BYTES, mapped=mapped)
        try:
            _require(not _view(buffer.host, _COPY_BYTES).any(), "pinned memory is not zero")
            _require(bool(buffer.device) is mapped, f"mapped is {mapped} and the GPU's address {buffer.device:#x}")
        finally:
            driver.free_host(buffer)
    return {"integrated": str(driver.device.integrated)}


def _copies(driver: Driver) -> dict[str, float | str]:
    """Host to device and back, and again from a captured graph."""
    figures: dict[str, float | str] = {}
    with contextlib.ExitStack() as undo:
        hosts = []
        for _ in range(2):
            hosts.append(driver.allocate_host(_COPY_BYTES, mapped=False).host)
            undo.callback(driver.free_host, HostBuffer(hosts[-1], 0))
        device = driver.allocate(_COPY_BYTES)
        undo.callback(driver.free, device)
        stream = driver.stream()
        undo.callback(driver.destroy_stream, stream)
        undo.callback(driver.synchronize, stream)
        source, target = hosts

        def there_and_back() -> None:
            driver.copy_in(device, source, _COPY_BYTES, stream)
            driver.copy_out(target, device, _COPY_BYTES, stream)

        written, read = _view(source, _COPY_BYTES), _view(target, _COPY_BYTES)
        written[:] = np.arange(_COPY_BYTES, dtype=np.uint32).astype(np.uint8)
        start = time.perf_counter()
        there_and_back()
        driver.synchronize(stream)
        figures["GB/s"] = 2 * _COPY_BYTES / (time.perf_counter() - start) / 1e9
        _require(bool((written == read).all()), "what came back from the GPU differs")
        with driver.captured(stream) as executables:
            there_and_back()
        undo.callback(driver.destroy_executable, executables[0])
        written[:] = 255 - written
        for _ in range(2):
            driver.launch(executables[0], stream)
            driver.synchronize(stream)
        _require(bool((written == read).all()), "what a captured graph copied differs")
    return figures


def _out_of_memory(driver: Driver) -> dict[str, float | str]:
    """Four times the memory there is: an error in words, and the driver works on."""
    try:
        address = driver.allocate(4 * driver.device.memory_bytes)
    except BackendError as error:
        _require("MiB left" in str(error), f"memory ran out in other words: {error}")
    else:
        driver.free(address)
        raise BackendError("four times the memory of the GPU was to be had")
    driver.free(driver.allocate(1 << 20))
    return {}


_OF_THE_DRIVER: tuple[tuple[str, Callable[[Driver], dict[str, float | str]]], ...] = (
    ("pinned and mapped memory", _pinned),
    ("copies, plain and captured", _copies),
    ("memory that runs out", _out_of_memory),
)


def _again(open_driver: OpenDriver) -> dict[str, float | str]:
    driver = open_driver()
    try:
        with driver.current():
            return _copies(driver)
    finally:
        driver.close()


def _golden(bundle: str, device: str, exact: bool) -> dict[str, float | str]:
    """Golden vectors of every variant, a second session after the first, and the time of a row."""
    verification = verify(bundle, device=device)
    worst = max(verification.checks, key=lambda c: c.max_relative / c.tolerance_relative)
    info = verification.info
    figures: dict[str, float | str] = {
        "engine": f"{info.backend} {info.engine_version}",
        "worst relative difference": worst.max_relative,
        "of": f"{worst.variant} {worst.graph}.{worst.output} (at most {worst.tolerance_relative:g})",
        "outputs": f"{sum(c.passed for c in verification.checks)}/{len(verification.checks)} within tolerance",
    }
    with load(bundle, device=device) as vae:
        _require(not vae.info.degraded, f"the session is degraded: {vae.info.degraded_reason}")
        inputs = vae.manifest.variants[vae.info.variant].graphs["score"].inputs
        feeds = {tensor.name: np.zeros((1, *tensor.shape), tensor.dtype) for tensor in inputs}
        times = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            vae.run_graph("score", feeds, ["score"])
            times.append(time.perf_counter() - start)
        figures["ms a row (median)"] = float(np.median(times)) * 1e3
    # Products of TF32 keep 10 bits, so the bundle's tolerance of float32 is no promise of theirs.
    _require(verification.ok or not exact, f"{worst.variant} {worst.graph}.{worst.output} differs by "
             f"{worst.max_relative:.2g}, at most {worst.tolerance_relative:g}")  # fmt: skip
    return figures
