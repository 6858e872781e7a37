"""Which head to decide by: measured, with an interval, and said at export."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from plain_pictures import Waves, picture_bundle, pictures, spoilt

from vae_edge_export import ExportConfig, export
from vae_edge_export.checks.head_choice import head_advice, pasted_rows
from vae_edge_runtime import load
from vae_edge_runtime.format.specs import InputSpec


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_a_pasted_square_changes_an_eighth_of_each_side_and_nothing_else(layout: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 32, 24, 3), dtype=np.uint8)
    x = x if layout == "nhwc" else np.ascontiguousarray(np.moveaxis(x, 3, 1))
    spec = InputSpec(x.shape[1:], "uint8", layout, 0.0, 255.0, ())  # type: ignore[arg-type]
    before = x.copy()
    made = pasted_rows(x, spec)
    np.testing.assert_array_equal(x, before)
    changed = (made != x).any(3 if layout == "nhwc" else 1)
    assert changed.any(1).sum(1).max() <= 3
    assert changed.any(2).sum(1).max() <= 4
    assert (changed.sum((1, 2)) >= 8).all()
    np.testing.assert_array_equal(made, pasted_rows(x, spec))


def test_a_head_is_advised_only_where_it_is_better_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(80) >= 40
    noise = rng.normal(size=80)
    scores = {"elbo": noise + 0.5 * truth, "top": noise + 4.0 * truth, "kl": noise + 9.0 * truth}
    figures, choice = head_advice("elbo", scores, truth, {"top": {"blank": 0.9}})
    assert "AUROC on 40 labelled rows, with 95% intervals: elbo 0.7" in figures
    assert "kl" not in figures, "kl must not decide"
    assert choice.startswith("decide by 'top': score --head top, or recalibrate --default-head top")
    alike = {"elbo": noise + truth, "top": noise + 1.01 * truth}
    assert head_advice("elbo", alike, truth, {})[1].startswith("decide by 'elbo', the default head")
    assert "which may be chance; label more rows to tell" in head_advice("elbo", alike, truth, {})[1]
    assert "which may be chance; labelled pictures (--evaluation) can tell" in head_advice("elbo", alike, None, {})[1]
    assert len(head_advice("elbo", {"elbo": noise + 4.0 * truth, "top": noise}, truth, {})) == 2
    assert head_advice("elbo", {"elbo": noise}, truth, {}) == ()
    assert "takes blank rows for normal" in head_advice("elbo", scores, truth, {"top": {"blank": 0.1}})[2]


def _heads(seed: int, gain: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two heads that find the same rows hard; ``gain`` of the second on anomalies."""
    rng = np.random.default_rng(seed)
    truth = np.arange(80) >= 40
    hard = rng.normal(size=80)
    return {
        "elbo": hard + truth + 0.3 * rng.normal(size=80),
        "top": hard + (1 + gain) * truth + 0.3 * rng.normal(size=80),
    }, truth


def test_heads_are_compared_on_the_same_rows() -> None:
    scores, truth = _heads(1, gain=0.25)
    figures, choice = head_advice("elbo", scores, truth, {})
    (elbo, elbo_high), (top, top_low) = ((float(v) for v in row) for row in (
        re.search(r"elbo (\S+) \[\S+, (\S+)\]", figures).groups(),  # type: ignore[union-attr]
        re.search(r"top (\S+) \[(\S+),", figures).groups(),  # type: ignore[union-attr]
    ))  # fmt: skip
    assert top_low < elbo < top < elbo_high, "each interval holds the other head's figure"
    assert choice.startswith("decide by 'top'")
    assert re.search(r"is worse by 0\.\d+ \[0\.0\d\d, 0\.\d+\]", choice)


def test_a_head_of_the_same_worth_is_rarely_advised() -> None:
    advised = 0
    for seed in range(40):
        choice = head_advice("elbo", *_heads(seed, gain=0.0), {})[1]
        advised += choice.startswith("decide by 'top'")
    assert advised <= 3


def test_pictures_get_top_and_peak_beside_elbo_and_a_recommendation(tmp_path: Path) -> None:
    x = np.concatenate([pictures(20, seed=3), spoilt(pictures(20, seed=4))])
    report = export(
        Waves(), tmp_path / "a.vaeb", calibration=pictures(60, seed=0),
        evaluation=(x, np.arange(40) >= 20),
        config=ExportConfig(layout="nhwc", scale=(255.0,), false_positive_rate=0.05, parity_rtol=1e-3),
        encode=lambda model, rows: model.encode(rows), decode=lambda model, z: model.decode(z), scale_form="logvar",
    )  # fmt: skip
    assert report.default_head == "elbo"
    assert list(report.channels) == ["top", "peak"]
    assert "20 labelled rows" in report.advice[0]
    assert "top 1.000 [1.000, 1.000]" in report.advice[0]
    with load(picture_bundle(tmp_path / "b.vaeb", "elbo"), device="cpu") as vae:
        assert vae.heads == ("elbo",), "heads that are named are the heads"
