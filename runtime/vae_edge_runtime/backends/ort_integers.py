"""Whether ONNX Runtime's integer kernels add up exactly on this CPU.

x86 CPUs without VNNI add products of unsigned and signed bytes in pairs, in 16 bits, and such a sum may saturate: on
Zen 3 outputs were off by up to 0.4 of their range. The exporter gives int8-cpu unsigned weights, which are added
exactly everywhere. Those of int8, which is for TensorRT, are signed, and so were those of int8-cpu before.
"""

from __future__ import annotations

import functools
import mmap
import platform
from pathlib import Path

from ..format.onnx_scan import scan

_OPERATOR = b"DequantizeLinear"
IN_FLOAT = (
    "sums of its signed 8-bit weights may saturate on this CPU, so it computes in float; int8-cpu of a new export has "
    "unsigned ones"
)


def may_saturate(source: str | bytes) -> bool:
    """Whether sums of this graph may saturate here.

    Args:
        source: the graph's bytes, already looked through by ``scan``, or the path of a file of them.
    """
    if _adds_exactly():
        return False
    if isinstance(source, str):
        with Path(source).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            if pages.find(_OPERATOR) < 0:
                return False
            source = bytes(pages)
    return _OPERATOR in source and scan(source).signed_weights


@functools.cache
def _adds_exactly() -> bool:
    """Whether it is known of this CPU: others than x86 do, and x86 with VNNI, which Linux tells."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
