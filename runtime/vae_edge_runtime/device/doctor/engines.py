"""Readings to findings about the engines and devices of the table. Pure.

Every engine is judged by ``_plain``, unless a rule of its own knows the ways in which it goes wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..devices import AUTO, ONNXRUNTIME, TENSORRT, Candidate, Device, Engine, devices, engines, rows_for
from .finding import Finding
from .jetson import Facts
from .readings import Module, Readings


def engine_findings(r: Readings) -> Iterator[Finding]:
    """What is wrong with each engine of the table."""
    for engine in engines():
        yield from _RULES.get(engine.package, _plain)(engine, r)


def device_findings(r: Readings) -> Iterator[Finding]:
    """Which devices have an engine, and whether ``auto``, the default of ``load``, is one of them."""
    ready = [device.name for device in ready_devices(r)]
    ranked = [device.name for device in rows_for(AUTO, {})]
    first = rows_for(AUTO, {})[-1].candidates[0].engine.install
    if not ready:
        yield Finding("error", "devices", "no engine runs bundles", first)
    elif not set(ready) & set(ranked):
        yield Finding(
            "warning", "devices", f'device="{AUTO}" has no engine here; {", ".join(ready)} have',
            f'pass device="{ready[0]}", or {first}',
        )  # fmt: skip
    else:
        yield Finding("ok", "devices", f"engines are there for {', '.join(ready)}")


def ready_devices(r: Readings) -> tuple[Device, ...]:
    """Devices with an engine that imports and is new enough, and with a GPU where they need a GPU."""
    return tuple(
        device
        for device in devices()
        if any(_runs(candidate, r) for candidate in device.candidates)
        and (not device.gpu or (r.gpu is not None and r.gpu.error is None))
    )


def version_numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def _module(engine: Engine, r: Readings) -> Module:
    return r.modules.get(engine.package, Module(None))


def _runs(candidate: Candidate, r: Readings) -> bool:
    module, engine = _module(candidate.engine, r), candidate.engine
    listed = not engine.providers_by or candidate.mode in module.providers
    return module.version is not None and version_numbers(module.version) >= engine.oldest and listed


def _plain(engine: Engine, r: Readings) -> Iterator[Finding]:
    module = _module(engine, r)
    if module.error is not None:
        yield Finding("warning", engine.title, module.error, "reinstall it for this Python")
    elif module.version is None:
        yield _absent(engine)
    elif version_numbers(module.version) < engine.oldest:
        yield Finding("error", engine.title, *_too_old(engine, module.version))
    else:
        yield Finding("ok", engine.title, module.version)


def _absent(engine: Engine) -> Finding:
    names = [row.name for row in devices() if any(c.engine == engine for c in row.candidates)]
    return Finding("note", engine.title, f"not installed: it runs device {', '.join(names)}", engine.install)


def _too_old(engine: Engine, version: str) -> tuple[str, str]:
    oldest = ".".join(map(str, engine.oldest))
    return f"{version}; vae-edge needs {oldest}", f"pip install --upgrade {engine.package}"


def _onnxruntime(engine: Engine, r: Readings) -> Iterator[Finding]:
    ort = _module(engine, r)
    builds = [name for name in r.distributions if name in engine.distributions]
    if len(builds) > 1:
        yield Finding(
            "error", engine.title, f"{' and '.join(builds)} are both installed: they overwrite each other's files",
            f"pip uninstall -y {' '.join(builds)}, then install the one you want",
        )  # fmt: skip
    if ort.error is not None:
        # On a Jetson PyPI's own wheel is the CPU build, and good for that.
        yield Finding("error", engine.title, ort.error, "pip install --force-reinstall onnxruntime")
        return
    if ort.version is None:
        yield _absent(engine)
        return
    if version_numbers(ort.version) < engine.oldest:
        yield Finding("error", engine.title, *_too_old(engine, ort.version))
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in ort.providers)
    yield Finding("ok", engine.title, f"{ort.version}, offers {short}")
    cuda = "CUDAExecutionProvider" in ort.providers
    # Builds of one's own, and those made for JetPack, are linux_aarch64, whatever their version.
    from_pypi = r.wheels.get("onnxruntime-gpu", "").startswith("manylinux")
    if r.jetson and from_pypi:
        yield Finding(
            "error", engine.title, "onnxruntime-gpu from PyPI holds kernels for other GPUs than a Jetson's: expect "
            "'no kernel image is available'",
            "pip uninstall -y onnxruntime-gpu, then NVIDIA's wheel for JetPack 6 (docs/jetson.md; JetPack 7 has none), "
            "or onnxruntime for the CPU",
        )  # fmt: skip
    elif cuda and (r.gpu is None or r.gpu.error):
        yield Finding(
            "warning", engine.title, "it lists CUDA, but there is no GPU that works: device='cuda' will be refused",
            "pip uninstall -y onnxruntime-gpu && pip install onnxruntime, unless a GPU is to come",
        )  # fmt: skip
    elif r.gpu and r.gpu.name and not cuda:
        yield Finding(
            "note", engine.title, f"a build for the CPU beside {r.gpu.name}",
            "NVIDIA's wheel for this JetPack, or TensorRT" if r.jetson else 'pip install "vae-edge[gpu]"',
        )  # fmt: skip


def _tensorrt(engine: Engine, r: Readings) -> Iterator[Finding]:
    trt = _module(engine, r)
    if trt.version is not None:
        if version_numbers(trt.version) < engine.oldest:
            remedy = "take an image of JetPack 6.1 or newer" if r.container else "flash JetPack 6.1 or newer"
            yield Finding(
                "error", engine.title, f"{trt.version}; engines need 10.3 (JetPack 6.1)",
                "none: this board has no JetPack 6" if Facts(r).old_board else remedy,
            )  # fmt: skip
        else:
            yield Finding("ok", engine.title, trt.version)
    elif trt.error is not None and "nvdla" in trt.error:
        yield Finding(
            "error", engine.title, f"its DLA library is missing: {trt.error}",
            "the container is of another L4T than the host: take the image of the host's release",
        )  # fmt: skip
    elif trt.error is not None:
        yield Finding("error" if r.jetson else "warning", engine.title, trt.error, "reinstall it for this Python")
    elif r.jetson and r.virtual_environment and not r.system_packages:
        yield Finding(
            "error", engine.title, "not visible: it is a package of the system, which this environment does not see",
            "python3 -m venv --system-site-packages .venv (never pip install tensorrt on a Jetson)",
        )  # fmt: skip
    elif r.jetson and r.container:
        yield Finding(
            "error", engine.title, "not installed in this container",
            "take an image that has it, such as the one of examples/jetson/Dockerfile",
        )  # fmt: skip
    elif r.jetson:
        yield Finding("error", engine.title, "not installed", "sudo apt install python3-libnvinfer")
    else:
        absent = _absent(engine)
        yield Finding(absent.level, absent.subject, absent.what)  # on a PC nobody needs it


_RULES: dict[str, Callable[[Engine, Readings], Iterator[Finding]]] = {
    ONNXRUNTIME.package: _onnxruntime,
    TENSORRT.package: _tensorrt,
}
