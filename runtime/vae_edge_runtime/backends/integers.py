"""Whether the integer kernels of engines add up exactly on this CPU.

x86 CPUs without VNNI add products of unsigned and signed bytes in pairs, in 16 bits, and such a sum may saturate: on
Zen 3 outputs were off by up to 0.4 of their range. The exporter gives int8-cpu unsigned weights. ONNX Runtime adds
those exactly everywhere; OpenVINO makes signed ones of them. The weights of int8, which is for TensorRT, are signed,
and so were those of int8-cpu before.
"""

from __future__ import annotations

import functools
import mmap
import os
from typing import Any

from ..format.onnx_scan import scan

_OPERATOR = b"DequantizeLinear"
_CPUINFO = "/proc/cpuinfo"


def add_exactly(session_options: Any, source: str | bytes) -> bool:
    """Let a CPU session of ONNX Runtime compute in float where its sums may saturate; whether it does.

    Args:
        session_options: of the engine, changed in place.
        source: as for ``may_saturate``.
    """
    in_float = may_saturate(source)
    if in_float:
        session_options.add_session_config_entry("session.disable_quant_qdq", "1")
    return in_float


def may_saturate(source: str | bytes, *, makes_signed: bool = False) -> bool:
    """Whether sums of this graph may saturate here.

    Args:
        source: the graph's bytes, already looked through by ``scan``, or the path of a file of them.
        makes_signed: the engine computes with signed weights, whatever those of the graph are.
    """
    if _adds_exactly():
        return False
    if isinstance(source, str):
        with (
            open(source, "rb") as file,  # noqa: PTH123  pathlib costs 7 ms at start
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages,
        ):
            if pages.find(_OPERATOR) < 0:
                return False
            source = bytes(pages)
    return _OPERATOR in source and (makes_signed or scan(source).signed_weights)


@functools.cache
def _adds_exactly() -> bool:
    """Whether it is known of this CPU: others than x86 do, and x86 with VNNI, which Linux tells."""
    if _machine().lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return True
    try:
        with open(_CPUINFO, "rb", buffering=0) as file:  # noqa: PTH123  pathlib costs 7 ms at start
            return b"vnni" in file.read(4096)  # of the first core: all of 128 take the kernel milliseconds
    except OSError:
        return False


def _machine() -> str:
    if hasattr(os, "uname"):
        return os.uname().machine
    import platform  # not at the top: it costs 3 ms at start

    return platform.machine()
