"""Providers of ONNX Runtime for GPUs: how their libraries are found, why one did not start, and what it is set to."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device.machine import l4t_release
from ..errors import ProviderUnavailable
from .ort_providers import CUDA, TENSORRT, forbid_or_allow_tf32, padded_rows, settings_for

_CACHE = "onnxruntime-tensorrt"
_LIBRARIES = {CUDA: "libonnxruntime_providers_cuda.so", TENSORRT: "libonnxruntime_providers_tensorrt.so"}
_SHARED = "libonnxruntime_providers_shared.so"
_LONGEST_REASON = 300
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


class GpuProviders:
    """What the sessions of one backend need on a GPU; everything is read when the backend opens."""

    def __init__(self, ort: Any, provider: str, *, exact: bool) -> None:
        """Switch TF32 off in the environment where the provider has no option for it.

        Args:
            ort: the package onnxruntime. provider: the first one. exact: the device computes in float32.

        Raises:
            ProviderUnavailable: the environment says otherwise about TF32 than the device.
        """
        self._ort, self._exact = ort, exact
        self._version = tuple(int(part) for part in re.findall(r"\d+", str(ort.__version__))[:3])
        self._integrated = integrated_gpu()
        os.environ.update(forbid_or_allow_tf32(provider, self._version, exact=exact))

    def settings(self, provider: str, graph: bytes | None) -> dict[str, str]:
        """Options of a provider for one graph, whose bytes TensorRT's needs."""
        common = settings_for(provider, self._version, exact=self._exact, integrated=self._integrated)
        return common | (_of_tensorrt(graph) if provider == TENSORRT and graph is not None else {})

    def preload(self) -> bool:
        """Load CUDA's libraries from the packages of the extra ``gpu``; False where onnxruntime has no call for it."""
        call = getattr(self._ort, "preload_dlls", None)  # since 1.21
        if call is None:
            return False
        # It prints what it does not find, and the reason that counts is asked of the loader afterwards.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            call()
        return True

    def missing(self, provider: str) -> str:
        """Why a provider's library does not load, in the loader's words, which onnxruntime writes to stderr only.

        Only after onnxruntime has tried: loaded before it, the library would find no host to talk to.

        Returns:
            An empty text where the library loads.
        """
        capi = os.path.join(os.path.dirname(str(self._ort.__file__)), "capi")  # noqa: PTH118, PTH120
        library = f"{capi}/{_LIBRARIES[provider]}"
        if not os.path.exists(library):  # noqa: PTH110
            return f"this build has no {_LIBRARIES[provider]}"
        with contextlib.suppress(OSError):
            ctypes.CDLL(f"{capi}/{_SHARED}", mode=ctypes.RTLD_GLOBAL)
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return str(error)[:_LONGEST_REASON]
        return ""


def integrated_gpu() -> bool:
    """Whether the GPU shares the memory of the CPU, as the driver says; False where there is no driver."""
    from .tensorrt.driver import read_device

    try:
        return read_device().integrated
    except ProviderUnavailable:
        return False


def on_a_jetson() -> bool:
    """Whether this is a Jetson, in a container of it as well."""
    return l4t_release() is not None


def remedy_for(reason: str, *, jetson: bool) -> str:
    """What to do about a provider that did not start."""
    if jetson:
        return (
            "install onnxruntime-gpu for this JetPack, which is not the wheel of PyPI (docs/jetson.md), "
            'or pass device="tensorrt"'
        )
    if re.search(r"lib(cu|nv)\w+\.so", reason):
        return 'pip install --upgrade "vae-edge[gpu]" brings CUDA\'s libraries'
    if "this build has no" in reason:
        return "install a build of onnxruntime-gpu that has it"
    return "vae-edge doctor says what this machine lacks"


def try_one_row(session: Any) -> None:
    """Run one row of zeros: kernels that the GPU lacks and a cuDNN that does not fit come out at the first run only.

    A graph of free height and width is not tried: how small a row it takes is not known here.
    """
    feeds = {}
    for tensor in session.get_inputs():
        if not all(isinstance(dim, int) for dim in tensor.shape[1:]):
            return
        kind = tensor.type.removeprefix("tensor(").removesuffix(")")
        shape = (1, *tensor.shape[1:])
        feeds[tensor.name] = np.zeros(shape, _NUMPY_NAMES.get(kind, kind))
    session.run(None, feeds)


def padded(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Rows repeated up to a bucket: to cuDNN every number of rows is a new shape to search algorithms for."""
    rows = len(next(iter(feeds.values())))
    more = padded_rows(rows) - rows
    if not more:
        return dict(feeds)
    return {name: np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) for name, array in feeds.items()}


def _of_tensorrt(graph: bytes) -> dict[str, str]:
    """Engines kept between processes, one range of batches instead of a build for every new one, and the workspace
    that ``tensorrt.BuildOptions`` has.

    Each graph has a folder of its own: the provider names an engine by the nodes of its graph and not by
    their weights, so that in a shared folder a retrained model would run on the old engine.
    """
    from ..device.cache import cache_folder, private_folder
    from ..device.compiled import graph_folder
    from ..format.onnx_scan import scan
    from .tensorrt.options import BuildOptions

    options = BuildOptions()
    inputs = scan(graph).inputs
    shapes = {
        f"trt_profile_{which}_shapes": ",".join(
            f"{tensor.name}:{'x'.join(map(str, (rows, *tensor.dims[1:])))}" for tensor in inputs
        )
        for which, rows in (("min", 1), ("opt", options.max_batch), ("max", options.max_batch))
    }
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": graph_folder(_CACHE, graph),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": private_folder(cache_folder(_CACHE)),  # times of kernels, whatever the weights
        "trt_max_workspace_size": str(options.workspace_bytes),
        **shapes,
    }
