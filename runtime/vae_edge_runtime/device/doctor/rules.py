"""Readings to findings: what is fine, what is worth knowing, what is wrong, each with what to type. Pure.

Those about GPUs and Jetsons are data, in ``jetson.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from .engines import device_findings, engine_findings, version_numbers
from .finding import Finding
from .jetson import told
from .readings import Readings

OLDEST_NUMPY = (1, 24)
_LITTLE_MEMORY = 512 << 20


def findings(r: Readings) -> list[Finding]:
    """Everything to say about a machine, in the order a person would check it."""
    rules: tuple[Callable[[Readings], Iterator[Finding]], ...] = (
        partial(told, group="board"), partial(told, group="python"), partial(told, group="power"), _platform, _python,
        _numpy, partial(told, group="gpu"), engine_findings, device_findings, _cpu, _memory,
    )  # fmt: skip
    return [finding for rule in rules for finding in rule(r)]


def _platform(r: Readings) -> Iterator[Finding]:
    if r.bits != 64:
        yield Finding(
            "error", "system", f"a {r.bits}-bit Python: no engine has wheels for it", "install a 64-bit system"
        )
    elif "musl" in r.libc:
        yield Finding(
            "error", "system", "musl instead of glibc: ONNX Runtime has no wheels for it",
            "take an image of Debian or Ubuntu instead of Alpine",
        )  # fmt: skip
    else:
        yield Finding("ok", "system", f"{r.os_name}, {r.machine}, {r.libc}")


def _python(r: Readings) -> Iterator[Finding]:
    version = ".".join(map(str, r.python))
    if r.python < (3, 10):
        yield Finding("error", "Python", f"Python {version}; vae-edge needs 3.10", "install Python 3.10 or newer")
        return
    where = "in a virtual environment" if r.virtual_environment else "the system's own"
    seen = " that sees the system's packages" if r.virtual_environment and r.system_packages else ""
    yield Finding("ok", "Python", f"{version}, {where}{seen}")


def _numpy(r: Readings) -> Iterator[Finding]:
    numpy = r.modules["numpy"]
    if numpy.version is None:
        yield Finding("error", "numpy", numpy.error or "not installed", "pip install numpy")
    elif version_numbers(numpy.version) < OLDEST_NUMPY:
        yield Finding("error", "numpy", f"{numpy.version}; vae-edge needs 1.24", "pip install --upgrade numpy")
    else:
        yield Finding("ok", "numpy", numpy.version)


def _cpu(r: Readings) -> Iterator[Finding]:
    usable = min(r.usable_cpus, r.cpu_quota or r.usable_cpus)
    if usable < r.cpus:
        yield Finding(
            "note", "CPU", f"{r.cpus} cores, {usable:g} of them usable here",
            f"pass threads={max(1, int(usable))}: an engine starts a thread per core it sees",
        )  # fmt: skip
    else:
        yield Finding("ok", "CPU", f"{r.cpus} cores{', ' if r.cpu_flags else ''}{', '.join(r.cpu_flags)}")
    if r.machine == "x86_64" and r.cpu_flags and "avx2" not in r.cpu_flags:
        yield Finding("warning", "CPU", "no AVX2: engines fall back to slow kernels")
    elif r.machine == "x86_64" and r.cpu_flags and not any("vnni" in flag for flag in r.cpu_flags):
        yield Finding(
            "note",
            "CPU",
            "no VNNI: int8-cpu wins less, and bundles of before its weights were unsigned compute it in float",
            "export such a bundle again; vae-edge tune says what is fastest here",
        )


def _memory(r: Readings) -> Iterator[Finding]:
    if r.available_bytes is None:
        yield Finding("note", "memory", "unknown")
    elif r.available_bytes < _LITTLE_MEMORY:
        yield Finding(
            "warning", "memory", f"{r.available_bytes / 2**20:.0f} MiB available",
            "a session takes some 100 MB beside the bundle: free memory, or add swap",
        )  # fmt: skip
    else:
        total = "" if r.memory_bytes is None else f" of {r.memory_bytes / 2**30:.1f}"
        yield Finding("ok", "memory", f"{r.available_bytes / 2**30:.1f}{total} GiB available")
