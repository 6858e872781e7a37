"""Memory by bytes: rows at once, rows compared, and outputs kept, from what a row needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from strangers import Plain
from torch import nn

from vae_edge_export.checks.reference import Reference
from vae_edge_export.graphs.row_bytes import measure_row_bytes
from vae_edge_export.variants.builder import spread_by_size
from vae_edge_runtime.format.specs import Signature, TensorSpec
from vae_edge_runtime.graph_session import BYTES_PER_RUN, ROWS_PER_RUN, rows_within


def _signature(*shape: int) -> Signature:
    return Signature((TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", shape),))


def test_the_largest_operation_of_a_row_is_counted_in_both_precisions() -> None:
    module = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 1, 3, padding=1)).eval()
    needed = measure_row_bytes(module, _signature(1, 64, 64), {"x": np.zeros((3, 1, 64, 64), np.float32)})
    pixels = 64 * 64
    assert needed.single == 2 * 4 * (32 + 32) * pixels  # what the activation takes and gives
    assert needed.double == 8 * (2 * (32 + 32) + 32 * 9) * pixels  # and the unfolded input of the second convolution


@pytest.mark.parametrize(("row_bytes", "rows"), [(0, 64), (1, 64), (4 << 20, 64), (5 << 20, 51), (1 << 30, 1)])
def test_rows_at_once_are_those_that_fit(row_bytes: int, rows: int) -> None:
    assert rows_within(BYTES_PER_RUN, row_bytes) == rows
    assert rows <= ROWS_PER_RUN


def test_rows_to_compare_reach_from_the_darkest_to_the_brightest() -> None:
    x = np.random.default_rng(0).permutation(100).astype(np.float32).reshape(100, 1)
    chosen = spread_by_size(x, 8)
    assert sorted(x[chosen, 0]) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert list(chosen) == sorted(chosen)


def test_a_reference_in_float64_is_computed_once_for_the_same_rows() -> None:
    calls = []

    class Counted(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                calls.append(len(x))
            return self.outer(self.fc_mu(self.inner(x)))

    example = {"x": np.ones((3, 6), np.float32)}
    reference = Reference.of({"g": Counted()}, {"g": _signature(6)}, {"g": example})
    rows = {"x": np.ones((5, 6), np.float32)}
    calls.clear()
    first, again = reference.run("g", rows), reference.run("g", {"x": rows["x"].copy()})
    np.testing.assert_array_equal(first["y"], again["y"])
    assert calls == [5]
    reference.run("g", {"x": rows["x"] * 2})
    assert calls == [5, 5]
