"""Readings to findings: what is fine, what is worth knowing, what is wrong, each with what to type. Pure.

The versions are those of NVIDIA's and PyPI's release pages as of November 2026, written down in
``docs/jetson.md``; nothing here was checked on a Jetson.
"""

from __future__ import annotations

from collections.abc import Iterator

from .engines import device_findings, engine_findings, version_numbers
from .finding import Finding, Level
from .readings import Readings

OLDEST_NUMPY = (1, 24)
_JETPACKS = {
    "36.4": ("JetPack 6.1 or 6.2", (3, 10)),
    "36.5": ("JetPack 6.2", (3, 10)),
    "36.3": ("JetPack 6.0", (3, 10)),
    "38": ("JetPack 7.0 or 7.1", (3, 12)),
    "39": ("JetPack 7.2", (3, 12)),
}
_LITTLE_MEMORY = 512 << 20


def findings(r: Readings) -> list[Finding]:
    """Everything to say about a machine, in the order a person would check it."""
    rules = (_board, _platform, _python, _numpy, _gpu, engine_findings, device_findings, _cpu, _memory)
    return [finding for rule in rules for finding in rule(r)]


def _board(r: Readings) -> Iterator[Finding]:
    if not r.jetson:
        return
    name = r.board or "an NVIDIA Jetson"
    release = r.l4t or ""
    known = next((v for k, v in _JETPACKS.items() if release == k or release.startswith(f"{k}.")), None)
    if release.startswith(("32.", "35.")):
        yield Finding(
            "error", "board", f"{name}, L4T {release}: JetPack 5 or older has Python 3.8 and TensorRT 8",
            "flash JetPack 6.2 or newer: vae-edge needs Python 3.10, and TensorRT 10.3 for engines",
        )  # fmt: skip
    elif known is None:
        yield Finding("note", "board", f"{name}, L4T {release or 'unknown'}: a release this version does not know")
    elif release.startswith("36.3"):
        yield Finding(
            "warning", "board", f"{name}, L4T {release} ({known[0]}): its TensorRT is 8.6",
            "sudo apt dist-upgrade to JetPack 6.1 or newer for TensorRT 10.3; ONNX Runtime on the CPU works as it is",
        )  # fmt: skip
    else:
        yield Finding("ok", "board", f"{name}, L4T {release}, {known[0]}")
    if known and r.python != known[1]:
        wanted, have = (".".join(map(str, v)) for v in (known[1], r.python))
        yield Finding(
            "warning", "Python", f"Python {have}, but {known[0]} and its TensorRT are of Python {wanted}",
            f"python{wanted} -m venv --system-site-packages .venv",
        )  # fmt: skip
    yield Finding(
        "note", "power", f"power mode {r.power_mode or 'unknown'}",
        "" if r.power_mode and r.power_mode.startswith("MAXN") else "sudo nvpmodel -q tells, -m 0 gives the most power",
    )  # fmt: skip


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


def _gpu(r: Readings) -> Iterator[Finding]:
    if r.gpu is None:
        level: Level = "error" if r.jetson else "note"
        remedy = "sudo apt install nvidia-jetpack, then restart" if r.jetson else ""
        yield Finding(level, "GPU", "no CUDA driver: bundles run on the CPU", remedy)
    elif r.gpu.error:
        yield Finding(
            "warning", "GPU", f"the CUDA driver is there and finds no device: {r.gpu.error}",
            "check the driver with nvidia-smi; in a container start it with --gpus all (--runtime nvidia on a Jetson)",
        )  # fmt: skip
    else:
        memory = "" if r.gpu.memory_bytes is None else f", {r.gpu.memory_bytes / 2**30:.1f} GiB"
        yield Finding("ok", "GPU", f"{r.gpu.name}, SM {r.gpu.capability}{memory}, CUDA {r.gpu.driver}")


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
            "no VNNI: sums of int8-cpu may saturate, and win little",
            "vae-edge verify says whether they do",
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
