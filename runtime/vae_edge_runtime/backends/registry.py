"""Which backend runs a device; the engines themselves are imported when a backend is made."""

from __future__ import annotations

from ..errors import MissingDependency, OptionError, ProviderUnavailable
from .base import Backend, GraphBytes, GraphFile

DEVICES = ("auto", "cpu", "openvino", "openvino-bf16", "cuda", "tensorrt")
SPINNING = ("auto", "cpu", "cuda")
"""Devices whose engine, ONNX Runtime, lets its threads spin or not."""


def open_backend(
    device: str,
    load: GraphBytes,
    *,
    allow_fallback: bool,
    threads: int | None,
    file: GraphFile | None = None,
    spin: bool | None = None,
) -> Backend:
    """Open the backend for a device.

    ``cpu`` and ``cuda`` are ONNX Runtime, ``openvino`` computes on the CPU in float32, ``openvino-bf16`` in
    bfloat16, where the CPU has it. ``tensorrt`` is TensorRT's own runtime where it is installed, else
    ONNX Runtime's TensorRT provider; ``Backend.describe`` says which. Where ``file`` is given, engines that can
    load a file take that instead of ``load``.

    Raises:
        OptionError: the device or the number of threads is not a valid one, or ``spin`` means nothing to it.
        ProviderUnavailable: the device is not to be had and ``allow_fallback`` is False.
        MissingDependency: no engine is installed.
    """
    if device not in DEVICES:
        raise OptionError(f"device is {device!r}; valid are {', '.join(DEVICES)}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads is {threads!r}; pass a whole number from 1, or None for the engine's choice")
    if spin is not None and (not isinstance(spin, bool) or device not in SPINNING):
        raise OptionError(f"spin is {spin!r}; pass True, False or None, and only None for {device!r} "
                          f"(it is a setting of {', '.join(SPINNING)})")  # fmt: skip
    from .ort import OrtBackend  # not at the top: whoever only opens bundles pays for no backend

    if device.startswith("openvino"):
        return _openvino(device, load, file, allow_fallback=allow_fallback, threads=threads)
    if device != "tensorrt":
        return OrtBackend(load, device=device, allow_fallback=allow_fallback, threads=threads, file=file, spin=spin)
    from .tensorrt.backend import TensorRtBackend  # not at the top: nobody else pays for it at start

    try:
        return TensorRtBackend(load)
    except ProviderUnavailable as native:
        try:
            return OrtBackend(load, device=device, allow_fallback=allow_fallback, threads=threads, file=file)
        except (ProviderUnavailable, MissingDependency) as error:
            raise ProviderUnavailable(f"TensorRT itself: {native}. By ONNX Runtime: {error}") from error


def _openvino(
    device: str, load: GraphBytes, file: GraphFile | None, *, allow_fallback: bool, threads: int | None
) -> Backend:
    from .openvino import OpenVinoBackend
    from .ort import OrtBackend

    try:
        return OpenVinoBackend(load, threads=threads, bf16=device == "openvino-bf16")
    except (MissingDependency, ProviderUnavailable) as error:
        if not allow_fallback:
            raise
        return OrtBackend(
            load, device="cpu", allow_fallback=False, threads=threads, degraded_reason=str(error), file=file
        )
