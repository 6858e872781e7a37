"""Every operator a graph may use runs on onnxruntime's CPU and gives the numbers numpy gives."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from operator_cases import CASES
from operator_graphs import build

from vae_edge_runtime.format.onnx_ops import ALLOWED
from vae_edge_runtime.format.onnx_scan import scan


def test_every_allowed_operator_has_a_case_and_no_other_has() -> None:
    assert set(CASES) == ALLOWED


@pytest.mark.parametrize("op", sorted(ALLOWED | set(CASES)))
def test_an_allowed_operator_passes_the_scan_and_gives_the_numbers_of_numpy(op: str) -> None:
    raw, feeds, wanted = build(op, CASES[op])
    assert scan(raw).ops == {op}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    for got, (name, array) in zip(session.run(list(wanted), feeds), wanted.items(), strict=True):
        assert (got.dtype, got.shape) == (array.dtype, array.shape), name
        np.testing.assert_allclose(got, array, rtol=1e-5, atol=1e-6, err_msg=name)
