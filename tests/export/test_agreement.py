"""Two ways to run one model against each other: every figure against its definition."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vae_edge_export.agreement import latent_error, psnr_db, score_agreement, ssim
from vae_edge_runtime.errors import InputError

RNG = np.random.default_rng(0)
FINITE = st.floats(-1e6, 1e6, width=32)


def test_equal_scores_agree_in_everything() -> None:
    scores = RNG.gamma(2.0, size=50).astype(np.float32)
    found = score_agreement(scores, scores, 3.0, 3.0)
    assert (found.rows, found.scored_by_one, found.decisions_differ, found.agreement) == (50, 0, 0, 1.0)
    assert (found.error_max, found.error_p99, found.differing_rows) == (0.0, 0.0, ())
    assert found.correlation == pytest.approx(1.0, abs=1e-12)
    assert found.rank_correlation == pytest.approx(1.0, abs=1e-12)


def test_each_is_decided_by_its_own_threshold() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    found = score_agreement(a, 10 * a, 2.5, 25.0)
    assert (found.decisions_differ, found.agreement, found.rank_correlation) == (0, 1.0, 1.0)
    found = score_agreement(a, 10 * a, 2.5, 35.0)
    assert (found.decisions_differ, found.agreement, found.differing_rows) == (1, 0.75, (2,))


def test_a_score_on_the_threshold_is_no_anomaly() -> None:
    assert score_agreement(np.array([2.0, 5.0]), np.array([2.0, 5.0]), 2.0, 1.9).differing_rows == (0,)


def test_errors_are_relative_to_the_larger_of_score_and_rms() -> None:
    a = np.array([3.0, 4.0, 0.0])
    rms = math.sqrt(25 / 3)
    found = score_agreement(a, np.add(a, [0.3, 0.2, 0.1]), None, None)
    assert found.error_max == pytest.approx(0.3 / 3.0)
    assert score_agreement(a, np.add(a, [0.0, 0.0, 0.1]), None, None).error_max == pytest.approx(0.1 / rms)


def test_p99_is_one_of_the_errors() -> None:
    a = np.ones(100)
    assert score_agreement(a, a + np.arange(100) / 100, None, None).error_p99 == pytest.approx(0.99)
    assert score_agreement(np.zeros(2), np.ones(2), None, None).error_p99 == math.inf


def test_without_a_threshold_there_are_no_decisions() -> None:
    found = score_agreement(np.arange(5.0), np.arange(5.0), 2.0, None)
    assert (found.decisions_differ, found.agreement, found.differing_rows) == (None, None, ())


def test_rows_that_one_did_not_score_are_counted_and_no_anomaly() -> None:
    a, b = np.array([1.0, np.nan, 9.0, 9.0]), np.array([1.0, np.nan, np.nan, 9.0])
    found = score_agreement(a, b, 5.0, 5.0)
    assert (found.rows, found.scored_by_one, found.differing_rows, found.agreement) == (2, 1, (2,), 0.75)


def test_only_the_first_twenty_differing_rows_are_named() -> None:
    found = score_agreement(np.zeros(100), np.ones(100), 0.5, 0.5)
    assert (found.decisions_differ, found.differing_rows) == (100, tuple(range(20)))


def test_nothing_scored_gives_nan_and_no_warning() -> None:
    found = score_agreement(np.full(3, np.nan), np.ones(3), 0.5, 2.0)
    assert (found.rows, found.scored_by_one, found.decisions_differ) == (0, 3, 0)
    assert all(math.isnan(v) for v in (found.error_max, found.error_p99, found.correlation, found.rank_correlation))


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 1), (3, 1)), ((0,), (0,))])
def test_scores_of_other_rows_are_refused(shapes: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="one score per row, of the same rows"):
        score_agreement(np.zeros(shapes[0]), np.zeros(shapes[1]), None, None)


@given(arrays(np.float32, st.integers(2, 30), elements=FINITE), st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_changes_no_figure(a: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, order = a + rng.normal(size=a.shape), rng.permutation(len(a))
    one, other = score_agreement(a, b, 0.0, 0.1), score_agreement(a[order], b[order], 0.0, 0.1)
    assert (one.decisions_differ, one.agreement) == (other.decisions_differ, other.agreement)
    assert one.error_max == pytest.approx(other.error_max, rel=1e-9)
    assert one.rank_correlation == pytest.approx(other.rank_correlation, abs=1e-9)
    assert -1 - 1e-9 <= one.correlation <= 1 + 1e-9


def test_to_dict_holds_plain_values() -> None:
    plain = score_agreement(np.arange(3.0), np.arange(3.0), 1.5, 0.5).to_dict()
    assert plain["differing_rows"] == (1,)
    assert {type(v) for v in plain.values()} == {int, float, tuple}


def test_psnr_is_its_formula_row_by_row() -> None:
    x = RNG.integers(0, 256, size=(3, 2, 4, 4), dtype=np.uint8)
    y = x.copy()
    y[1] ^= 1  # every element off by 1
    found = psnr_db(x, y, 255.0)
    assert found.tolist() == [math.inf, pytest.approx(20 * math.log10(255)), math.inf]
    assert psnr_db(np.zeros((1, 5)), np.full((1, 5), 0.1), 1.0)[0] == pytest.approx(20.0)


@pytest.mark.parametrize("function", [psnr_db, ssim])
def test_images_that_cannot_be_compared_are_refused(function: Any) -> None:
    images = np.zeros((1, 1, 12, 12))
    with pytest.raises(InputError, match="cannot be compared"):
        function(images, images[:, :, :11], 1.0)
    with pytest.raises(InputError, match="the peak is 0"):
        function(images, images, 0.0)


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(InputError, match="at least 11 x 11"):
        ssim(np.zeros((1, 1, 10, 30)), np.zeros((1, 1, 10, 30)), 1.0)


def _ssim_by_loops(x: np.ndarray, y: np.ndarray, peak: float) -> float:
    """The definition, place by place, with a two-dimensional window."""
    steps = np.arange(11) - 5
    window = np.exp(-(steps[:, None] ** 2 + steps[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    found = []
    for c in range(x.shape[0]):
        for i in range(x.shape[1] - 10):
            for j in range(x.shape[2] - 10):
                p, q = x[c, i : i + 11, j : j + 11], y[c, i : i + 11, j : j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                cov = (window * (p - mp) * (q - mq)).sum()
                found.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_ssim_is_the_definition_computed_place_by_place(peak: float) -> None:
    x = RNG.uniform(0, peak, size=(3, 2, 14, 17))
    y = np.stack([x[0], x[1] + 0.1 * peak * RNG.normal(size=x[1].shape), peak - x[2]])
    found = ssim(x, y, peak)
    assert found == pytest.approx([_ssim_by_loops(a, b, peak) for a, b in zip(x, y, strict=True)], abs=1e-12)
    assert found[0] == pytest.approx(1.0)
    assert found[2] < 0 < found[1] < 1


def test_ssim_is_one_minus_the_head_of_that_name() -> None:
    torch = pytest.importorskip("torch")
    from vae_edge_export.graphs.residuals import StructuralSimilarity

    x, y = RNG.uniform(size=(2, 4, 3, 20, 16)).astype(np.float32)
    head = StructuralSimilarity(1.0, (3, 20, 16))(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    assert ssim(x, y, 1.0) == pytest.approx(1.0 - head, abs=2e-6)


def test_latent_error_is_measured_on_rows_that_both_encoded() -> None:
    a = np.array([[3.0, 4.0], [np.nan, 0.0], [3.0, 4.0]], dtype=np.float32)
    b = np.array([[3.5, 4.0], [9.0, 9.0], [3.0, 4.0]], dtype=np.float32)
    found = latent_error(a, b)
    assert (found.rows, found.max_absolute, found.rms) == (2, 0.5, 0.25)
    assert found.relative_rms == pytest.approx(0.25 / math.sqrt(12.5))
    assert latent_error(np.zeros((2, 3)), np.ones((2, 3))).relative_rms == math.inf
    assert latent_error(np.zeros((2, 3)), np.zeros((2, 3))).to_dict() == {
        "rows": 2, "max_absolute": 0.0, "rms": 0.0, "relative_rms": 0.0,
    }  # fmt: skip


def test_latents_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        latent_error(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="no row was encoded by both"):
        latent_error(np.full((2, 3), np.nan), np.zeros((2, 3)))


def test_agreement_needs_neither_torch_nor_onnx() -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
from vae_edge_export.agreement import score_agreement
print(score_agreement([1.0, 2.0], [1.0, 2.0], None, None).rows)
try:
    from vae_edge_export import export
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    said = "2\nexporting needs the package 'torch', which is not installed: pip install \"vae-edge[export]\"\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
