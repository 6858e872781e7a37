"""The one place that imports optional packages, and that keeps engines from telling anybody about it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

from .errors import MissingDependency


class _Telemetry(NamedTuple):
    """How one engine is kept from reporting its use.

    Attributes:
        environment: variables to set before its import; a value that the user set himself stays.
        hidden: packages that it must not find while it is imported.
        switch: its own call, for where something else imported it before.
        wanted: whether the user said yes in the engine's own way.
    """

    environment: dict[str, str]
    hidden: tuple[str, ...]
    switch: str | None
    wanted: Callable[[], bool]


def _openvino_consent() -> bool:
    """Whether the user accepted with OpenVINO's ``opt_in_out``, which leaves a file with the text 1."""
    base = os.environ.get("LOCALAPPDATA", "") if os.name == "nt" else os.path.expanduser("~")  # noqa: PTH111
    vendor = "Intel Corporation" if os.name == "nt" else "intel"
    try:
        with open(os.path.join(base, vendor, "openvino_telemetry"), "rb") as file:  # noqa: PTH118, PTH123
            return file.read(2).strip() == b"1"
    except OSError:
        return False


# Measured: onnxruntime 1.32.0 on Linux asks for a host of Microsoft after some seconds and writes a device id below the
# cache folder as it is imported; its switch alone stops neither. openvino 2026.4 asks for google-analytics and writes
# ~/intel/stats as it is imported; without its package openvino_telemetry it takes its own stub, which does nothing.
_TELEMETRY = {
    "onnxruntime": _Telemetry(
        {"ORT_DISABLE_TELEMETRY": "1"},
        (),
        "disable_telemetry_events",
        lambda: os.environ.get("ORT_DISABLE_TELEMETRY", "1") != "1",
    ),
    "openvino": _Telemetry({}, ("openvino_telemetry",), None, _openvino_consent),
}


def telemetry() -> dict[str, str]:
    """Of each engine that can report its use: ``off``, or ``on`` where the user asked for it himself."""
    return {engine: "on" if entry.wanted() else "off" for engine, entry in _TELEMETRY.items()}


def silence_engines() -> None:
    """Switch telemetry off in this process's environment, and with it in its children."""
    for entry in _TELEMETRY.values():
        for name, value in entry.environment.items():
            os.environ.setdefault(name, value)


def hidden_from(package: str) -> tuple[str, ...]:
    """Packages that this one must not find while it is imported, in whatever process."""
    entry = _TELEMETRY.get(package.split(".")[0])
    return () if entry is None or entry.wanted() else entry.hidden


def require(package: str, *, extra: str | None, why: str) -> ModuleType:
    """Import ``package`` now, or say which extra brings it; engines are imported with their telemetry off.

    Args:
        package: import name, may be dotted.
        extra: the extra of vae-edge that installs it; None where no extra does.
        why: what needs it, as the start of the sentence "<why> needs the package ...".

    Raises:
        MissingDependency: the package (or a part of it) is not installed.
    """
    silence_engines()  # always: what is imported may import an engine in turn
    entry = _TELEMETRY.get(package.split(".")[0])
    try:
        with _hidden(hidden_from(package)):
            module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A package that is present but lacks a module of its own is broken, not missing.
        if error.name is None or not package.startswith(error.name.split(".")[0]):
            raise
        raise MissingDependency(package, extra=extra, why=why) from None
    if entry and entry.switch and not entry.wanted() and hasattr(module, entry.switch):
        getattr(module, entry.switch)()
    return module


@contextlib.contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Packages that cannot be imported inside; whoever imported one before keeps it."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is how an import is blocked
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
