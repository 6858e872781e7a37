"""Facts about a machine, gathered without changing anything; what cannot be read is None.

Libraries are imported in a process of their own: a broken one may end the process that imports it
(a TensorRT runtime without a GPU ends it with a segmentation fault).
"""

from __future__ import annotations

import json
import os
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ...dependencies import hidden_from, silence_engines
from ..devices import engines
from ..machine import cpu_quota, is_tegra_kernel, kernel_release, parse_meminfo, parse_tegra_release, usable_cores
from .board import (
    CONTAINER_FILES,
    DEVICE_FILES,
    NO_MODES,
    PowerModes,
    in_container,
    parse_nvpmodel,
    parse_nvpmodel_conf,
    parse_nvpmodel_status,
    parse_wheel_tag,
)

_TIMEOUT_S = 60.0
_CHIPS = ("orin", "thor", "xavier")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimdhp", "asimddp")


@dataclass(frozen=True)
class Module:
    """One library, as a fresh process finds it.

    Attributes:
        version: None where it could not be imported; ``error`` then says why, None where it is not installed.
        providers: what the build has, where the engine lists that: the execution providers of onnxruntime.
    """

    version: str | None
    error: str | None = None
    path: str | None = None
    providers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gpu:
    """What the CUDA driver says.

    Attributes:
        driver: CUDA version it supports, such as 12.6. name, capability: of device 0, such as 8.7.
        error: why there is no device, in the driver's words.
    """

    driver: str | None
    name: str | None = None
    capability: str | None = None
    memory_bytes: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Readings:
    """Everything ``findings`` judges; plain values, so that a recorded machine can be judged elsewhere.

    Attributes:
        board: of an embedded machine, from its device tree. l4t: its Linux for Tegra, such as 36.4.3.
        libc: name and version. bits: of the Python process.
        virtual_environment, system_packages: whether Python runs in one, and whether it sees the system's packages.
        distributions: installed engines, by the name they are installed under.
        gpu: None where there is no CUDA driver library.
        power_mode: of a Jetson, as ``nvpmodel -q`` names it.
        cpu_quota: cores that a container may use.
        kernel: its release, which a container shares with its host.
        user: number of this process's user, 0 for root; None where there are no such numbers. groups: it is in.
        denied: files of the GPU that are there and that this user may not open.
        power_modes: of a Jetson. wheels: platform tag of each installed engine, such as linux_aarch64.
    """

    machine: str
    system: str
    os_name: str
    libc: str
    bits: int
    board: str | None
    l4t: str | None
    python: tuple[int, int]
    virtual_environment: bool
    system_packages: bool
    distributions: Mapping[str, str]
    modules: Mapping[str, Module]
    gpu: Gpu | None
    power_mode: str | None
    cpus: int
    usable_cpus: int
    cpu_quota: float | None
    cpu_flags: tuple[str, ...]
    memory_bytes: int | None
    available_bytes: int | None
    kernel: str = ""
    container: bool = False
    user: int | None = None
    groups: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    power_modes: PowerModes = NO_MODES
    wheels: Mapping[str, str] = field(default_factory=dict)

    @property
    def jetson(self) -> bool:
        """Whether this is an NVIDIA Jetson. A container shows neither board nor release, but kernel and GPU."""
        chip = self.machine == "aarch64" and self.gpu is not None and (self.gpu.name or "").lower()
        return (
            self.l4t is not None
            or "jetson" in (self.board or "").lower()
            or is_tegra_kernel(self.kernel)
            or any(name in (chip or "") for name in _CHIPS)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def read_machine() -> Readings:
    """Look at this machine; takes as long as importing the engines does."""
    silence_engines()  # the processes that import them inherit it
    memory = parse_meminfo(_text("/proc/meminfo"))
    prefix = Path(sys.prefix)
    virtual = sys.prefix != sys.base_prefix
    modes = PowerModes(
        parse_nvpmodel_conf(_text("/etc/nvpmodel.conf")), parse_nvpmodel_status(_text("/var/lib/nvpmodel/status"))
    )
    return Readings(
        machine=platform.machine(),
        system=platform.system(),
        os_name=parse_os_release(_text("/etc/os-release")) or platform.platform(),
        libc=" ".join(platform.libc_ver()).strip() or ("musl" if list(Path("/lib").glob("ld-musl-*")) else "unknown"),
        bits=struct.calcsize("P") * 8,
        board=(_text("/proc/device-tree/model") or "").strip("\0\n ") or None,
        l4t=parse_tegra_release(_text("/etc/nv_tegra_release")),
        python=sys.version_info[:2],
        virtual_environment=virtual,
        system_packages=not virtual or parse_pyvenv(_text(prefix / "pyvenv.cfg")),
        distributions={
            name: version
            for engine in engines()
            for name in engine.distributions
            if (version := _distribution(name)) is not None
        },
        modules={"numpy": _module("numpy")} | {e.package: _module(e.package, e.providers_by) for e in engines()},
        gpu=_gpu(),
        power_mode=parse_nvpmodel(_output(["nvpmodel", "-q"]))
        or modes.names.get(-1 if modes.current is None else modes.current),
        cpus=os.cpu_count() or 1,
        usable_cpus=usable_cores() or os.cpu_count() or 1,
        cpu_quota=cpu_quota(),
        cpu_flags=parse_cpu_flags(_text("/proc/cpuinfo")),
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        kernel=kernel_release(),
        container=in_container(frozenset(p for p in CONTAINER_FILES if Path(p).exists()), _text("/proc/1/cgroup")),
        user=os.geteuid() if hasattr(os, "geteuid") else None,
        groups=_groups(),
        denied=tuple(path for path in DEVICE_FILES if Path(path).exists() and not os.access(path, os.R_OK | os.W_OK)),
        power_modes=modes,
        wheels={
            name: tag
            for engine in engines()
            for name in engine.distributions
            if (tag := parse_wheel_tag(_metadata(name, "WHEEL"))) is not None
        },
    )


def parse_os_release(text: str | None) -> str | None:
    """The pretty name of /etc/os-release."""
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text or "", re.MULTILINE)
    return match[1] if match else None


def parse_pyvenv(text: str | None) -> bool:
    """Whether a virtual environment sees the system's packages."""
    return bool(re.search(r"^include-system-site-packages\s*=\s*true\s*$", text or "", re.MULTILINE | re.IGNORECASE))


def parse_cpu_flags(text: str | None) -> tuple[str, ...]:
    """Which of the instruction sets that matter to an engine the first core has."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text or "", re.MULTILINE)
    have = set(match[1].split()) if match else set()
    return tuple(flag for flag in _CPU_FLAGS if flag in have)


_IMPORT = """
import json, sys
package, providers_by, *hidden = sys.argv[1:]
sys.modules.update(dict.fromkeys(hidden))
try:
    import importlib
    module = importlib.import_module(package)
    answer = {"version": str(getattr(module, "__version__", "unknown")), "path": str(module.__file__)}
    if providers_by:
        answer["providers"] = list(getattr(module, providers_by)())
except ModuleNotFoundError as error:
    answer = {"error": None if error.name == package else str(error)}
except Exception as error:
    answer = {"error": f"{type(error).__name__}: {error}"}
print("\\n" + json.dumps(answer))
"""

_CUDA = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(text))
        raise SystemExit(json.dumps({"error": f"{name}: {(text.value or b'error').decode()} ({code})"}))
version = ctypes.c_int()
call("cuDriverGetVersion", ctypes.byref(version))
answer = {"driver": f"{version.value // 1000}.{version.value % 1000 // 10}"}
def tell(extra):
    print(json.dumps({**answer, **extra}))
try:
    call("cuInit", 0)
    device, value, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    call("cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    call("cuDeviceGetName", name, 256, device)
    parts = []
    for attribute in (75, 76):  # COMPUTE_CAPABILITY_MAJOR, _MINOR
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    call("cuDeviceTotalMem_v2", ctypes.byref(size), device)
    tell({"name": name.value.decode(), "capability": ".".join(parts), "memory_bytes": size.value})
except SystemExit as stopped:
    tell(json.loads(str(stopped)))
"""


def _module(name: str, providers_by: str = "") -> Module:
    answer, problem = _ask(_IMPORT, name, providers_by, *hidden_from(name))
    if answer is None:
        return Module(None, problem)
    return Module(answer.get("version"), answer.get("error"), answer.get("path"), tuple(answer.get("providers", ())))


def _gpu() -> Gpu | None:
    answer, problem = _ask(_CUDA)
    if answer is None:
        missing = problem is None or "libcuda.so.1: cannot open" in problem
        return None if missing or platform.system() != "Linux" else Gpu(None, error=problem)
    return Gpu(**{"driver": None, **answer})


def _ask(script: str, *arguments: str) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON a script prints last in a process of its own, or why there is none."""
    path = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100 (symlinks stay as they are)
    program = f"import sys; sys.path[:] = {path!r}\n{script}"
    try:
        done = subprocess.run(
            # -I: no module of the current folder and no variable of the environment decides what is imported.
            [sys.executable, "-I", "-c", program, *arguments],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer, None
    if done.returncode < 0:
        return None, f"the import ended its process with signal {-done.returncode}"
    return None, (done.stderr.strip().splitlines() or ["no word"])[-1][:300]


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _metadata(name: str, file: str) -> str | None:
    try:
        return metadata.distribution(name).read_text(file)
    except metadata.PackageNotFoundError:
        return None


def _groups() -> tuple[str, ...]:
    """Names of the groups that this process is in; a container may have numbers without names."""
    try:
        import grp
    except ImportError:
        return ()
    names = []
    for number in {os.getegid(), *os.getgroups()}:
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return tuple(sorted(names))


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return None


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
