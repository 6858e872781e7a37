"""What the CPU of this machine lacks, for tests that cannot do without."""

from __future__ import annotations

import pytest


def need_bfloat16() -> None:
    """Skip the test where OpenVINO finds no bfloat16 arithmetic."""
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16 arithmetic")
