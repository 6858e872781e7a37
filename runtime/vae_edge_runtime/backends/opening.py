"""From the name of a device to a running backend: the candidates of its row in order, then its fallback.

What devices there are stands in ``device/devices.py``. Engines are imported when a backend is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ..device.devices import AUTO, Device, find_device, rows_for
from ..device.machine import usable_threads
from ..errors import MissingDependency, ProviderUnavailable

if TYPE_CHECKING:
    from .base import Backend, GraphBytes, GraphFile


def open_backend(
    device: str,
    load: GraphBytes,
    *,
    allow_fallback: bool,
    threads: int | None,
    file: GraphFile | None = None,
    spin: bool | None = None,
) -> Backend:
    """Open the backend of a device.

    Args:
        device: a name in the table, or ``auto``: the first device in the order of rank that starts and takes the
            options given.
        load: gives the bytes of a graph. file: the same as a file, for engines that can load one.
        allow_fallback: run on the fallback in the device's row where the device is not to be had;
            ``Backend.describe`` then says why. ``auto`` implies it.
        threads: None: the engine chooses, within the quota and the affinity of the process.
        spin: None where the engine chooses.

    Raises:
        OptionError: no such device, a value that is not valid, or an option that the device does not take.
        ProviderUnavailable: the device is not to be had.
        MissingDependency: its engine is not installed.
    """
    from .base import DeviceOptions  # not at the top: whoever only opens bundles pays for no backend

    *preferred, last = rows_for(device, {"threads": threads, "spin": spin})

    def start(row: Device) -> Backend:
        """The first candidate of the row that starts."""
        problems: list[ProviderUnavailable | MissingDependency] = []
        bounded = usable_threads() if threads is None and "threads" in row.takes else threads
        for candidate in row.candidates:
            module, _, name = candidate.engine.backend.partition(":")
            backend_class = getattr(importlib.import_module(module), name)
            try:
                return cast("Backend", backend_class(load, DeviceOptions(row, candidate, bounded, spin, file)))
            except (ProviderUnavailable, MissingDependency) as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        raise ProviderUnavailable(_of_all(row, problems)) from problems[-1]

    for row in preferred:
        try:
            first = start(row)
        except (ProviderUnavailable, MissingDependency):
            continue  # auto asks for the best there is: what is not there is no loss
        return _with_fallback(row, first, start)
    if last.fallback is None or not (allow_fallback or device == AUTO):
        return start(last)
    try:
        return _with_fallback(last, start(last), start)
    except (ProviderUnavailable, MissingDependency) as error:
        return _with_fallback(last, error, start)


def _with_fallback(
    row: Device, first: Backend | ProviderUnavailable | MissingDependency, start: Callable[[Device], Backend]
) -> Backend:
    from .fallback import FallbackBackend

    assert row.fallback is not None
    instead = find_device(row.fallback)
    return FallbackBackend(first, lambda: start(instead), instead.name)


def _of_all(row: Device, problems: Sequence[Exception]) -> str:
    """What is wrong with each candidate: ``TensorRT itself: ... By ONNX Runtime: ...``."""
    titles = [candidate.engine.title for candidate in row.candidates]
    names = [f"{titles[0]} itself", *(f"By {title}" for title in titles[1:])]
    return ". ".join(f"{name}: {problem}" for name, problem in zip(names, problems, strict=True))
