from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import TinyBundle

from vae_edge_runtime import BundleCorrupt, verify
from vae_edge_runtime.verification import max_errors


def test_a_good_bundle_proves_itself_with_figures(tiny_path: Path) -> None:
    found = verify(tiny_path)
    assert found.ok
    assert [(c.graph, c.output) for c in found.checks] == [
        ("encode", "mean"), ("encode", "logvar"), ("decode", "x_hat"), ("score", "score"),
    ]  # fmt: skip
    assert all(c.max_relative < 1e-6 for c in found.checks)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ok"] is True


def test_a_golden_miss_is_a_negative_verdict_with_the_figure(tiny: TinyBundle) -> None:
    member = "golden/fp32.score.score.bin"
    expected = np.frombuffer(tiny.members[member], "<f4")
    plain = tiny.replace_member(member, (expected * np.float32(1.01)).tobytes())
    found = verify(tiny.write(plain))
    assert not found.ok
    (miss,) = [c for c in found.checks if not c.passed]
    assert (miss.graph, miss.output) == ("score", "score")
    assert miss.max_relative == pytest.approx(0.01 / 1.01, rel=0.3)


def test_a_flipped_weight_is_refused_by_name(tiny: TinyBundle) -> None:
    path = tiny.write()
    raw = bytearray(path.read_bytes())
    raw[raw.index(tiny.members["fp32/decoder.weights"]) + 30] ^= 4
    path.write_bytes(raw)
    with pytest.raises(BundleCorrupt, match=r"fp32/decoder\.weights"):
        verify(path)


@pytest.mark.parametrize(
    ("actual", "reference", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.1, 100.0], [1.0, 100.0], 0.1, 0.1 / math.sqrt(5000.5)),
        ([0.0, 1e-9], [0.0, 0.0], 1e-9, math.inf),
        ([math.nan, 1.0], [1.0, 1.0], math.inf, math.inf),
        ([], [], 0.0, 0.0),
    ],
)
def test_relative_error_is_against_the_size_of_the_output(
    actual: list[float], reference: list[float], absolute: float, relative: float
) -> None:
    found = max_errors(np.array(actual), np.array(reference))
    assert found == pytest.approx((absolute, relative), rel=1e-12)


def test_one_step_of_an_integer_output_is_rounding() -> None:
    assert max_errors(np.array([9, 11], np.uint8), np.array([10, 10], np.uint8)) == (0.0, 0.0)
    assert max_errors(np.array([12], np.uint8), np.array([10], np.uint8)) == (1.0, 0.1)
