"""What float32 loses of a column is found before anything is trained or exported."""

from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime.errors import InputError
from vae_edge_runtime.scoring.resolution import constant_columns, lost_columns, refuse_lost, round_to_float32

R = np.random.default_rng(0).normal(size=(400, 3))
TABLE = np.stack([1.7e9 + 5 * R[:, 0], 5.2e7 + 0.5 * R[:, 1], 101325 + 20 * R[:, 2]], 1)


def test_columns_with_a_large_offset_are_named_with_what_is_left_and_what_to_subtract() -> None:
    lost = lost_columns(TABLE, ("time_s", "kwh", "pa"))
    assert [(c.name, c.place, c.rows, c.distinct) for c in lost] == [("time_s", 0, 400, 1), ("kwh", 1, 400, 1)]
    assert abs(lost[0].subtract - 1.7e9) < 50
    assert lost_columns(TABLE - [lost[0].subtract, lost[1].subtract, 0]) == []
    with pytest.raises(InputError, match=r"--subtract time_s=\d+\.0 --subtract kwh=52000000.0.*x\[\.\.\., 0\] - "):
        refuse_lost(TABLE, names=("time_s", "kwh", "pa"), what="rows")


@pytest.mark.parametrize(
    ("column", "is_lost"),
    [
        (1.7e9 + np.arange(400) * 10.0, True),  # seconds of an hour
        (1.7e9 + np.arange(400) * 86400.0, False),  # days of a year
        ((1 << 24) + np.arange(400.0) % 50, True),
        (20 + R[:, 0], False),
        (R[:, 0] * 1e-30, False),
        (np.full(400, 0.1), False),
        (np.where(np.arange(400) == 7, 0.0, 1.7e9 + R[:, 0]), True),  # an outlier does not hide the rest
        (np.where(np.arange(400) % 2, np.nan, 1.7e9 + R[:, 0]), True),
        (np.full(400, np.nan), False),
        (np.where(np.arange(400) == 7, 1e300, R[:, 0]), False),
    ],
)
def test_what_counts_is_the_error_beside_the_spread(column: np.ndarray, is_lost: bool) -> None:
    assert bool(lost_columns(column[:, None])) == is_lost


def test_float32_that_was_rounded_before_is_found_by_its_few_steps() -> None:
    rounded = round_to_float32(TABLE)
    assert [c.place for c in lost_columns(rounded)] == [0, 1]
    assert lost_columns(round_to_float32(R)) == []
    flags = np.repeat(np.float32([[0, 1], [1, 1]]), 50, axis=0)
    assert lost_columns(flags) == []


def test_windows_are_judged_as_their_rows() -> None:
    windows = np.lib.stride_tricks.sliding_window_view(TABLE, 10, axis=0).transpose(0, 2, 1)
    assert [c.place for c in lost_columns(windows)] == [0, 1]
    assert constant_columns(np.ones((5, 4, 2)) * [1, 2], ("a", "b")) == ["a", "b"]
    assert constant_columns(windows) == []
