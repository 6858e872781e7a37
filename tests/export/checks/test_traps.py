from __future__ import annotations

import numpy as np
import pytest

from vae_edge_export.checks.traps import ROWS, spring_traps, trap_warnings, unnatural_rows
from vae_edge_runtime.format.specs import InputSpec

RNG = np.random.default_rng(0)
IMAGE = InputSpec((12, 12, 1), "uint8", "nhwc", 0, 255, ())
CHANNELS_FIRST = InputSpec((1, 12, 12), "float32", "nchw", 0, 1, ())
WINDOW = InputSpec((24, 3), "float32", "time_features", -1, 1, ())
TABLE = InputSpec((4,), "float32", "features", -1, 1, ())


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        (IMAGE, {"blank", "blurred", "inverted", "noise", "shuffled"}),
        (CHANNELS_FIRST, {"blank", "blurred", "inverted", "noise", "shuffled"}),
        (WINDOW, {"blank", "blurred", "inverted", "noise", "shuffled"}),
        (TABLE, {"inverted", "noise", "shuffled"}),
    ],
    ids=lambda value: value.layout if isinstance(value, InputSpec) else "",
)
def test_unnatural_rows_fit_the_model_and_stay_in_its_range(spec: InputSpec, kinds: set[str]) -> None:
    x = (RNG.random((ROWS, *spec.shape)) * (255 if spec.dtype == "uint8" else 1)).astype(spec.dtype)
    found = unnatural_rows(x, spec)
    assert found.keys() == kinds
    for kind, rows in found.items():
        assert (rows.shape, rows.dtype) == (x.shape, x.dtype), kind
        assert x.min() <= rows.min() <= rows.max() <= x.max(), kind


def test_each_kind_is_what_its_name_says() -> None:
    x = RNG.normal(size=(10, 24, 3)).astype(np.float32)
    found = unnatural_rows(x, WINDOW)
    assert (np.ptp(found["blank"], axis=1) == 0).all()
    np.testing.assert_allclose(np.sort(found["shuffled"], axis=1), np.sort(x, axis=1))
    assert (np.diff(found["blurred"], axis=1).std() < 0.5 * np.diff(x, axis=1).std()).all()
    np.testing.assert_allclose(
        found["inverted"] + x, np.broadcast_to(x.min((0, 1)) + x.max((0, 1)), x.shape), atol=1e-5
    )
    table = RNG.normal(size=(50, 4)).astype(np.float32)
    shuffled = unnatural_rows(table, TABLE)["shuffled"]
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(table, axis=0))
    assert (shuffled != table).any(axis=1).mean() > 0.9


def test_a_score_that_rewards_what_is_flat_is_caught_and_the_other_head_is_offered() -> None:
    x = RNG.random((ROWS, 12, 12, 1)).astype(np.float32)
    spec = InputSpec((12, 12, 1), "float32", "nhwc", 0, 1, ())

    def score(rows: np.ndarray) -> dict[str, np.ndarray]:
        flat = rows.reshape(len(rows), -1)
        return {"elbo": flat.var(1), "ssim": -flat.var(1)}

    traps = spring_traps(x, spec, score, whole=False)
    assert traps["elbo"]["blank"] == 0.0
    assert traps["ssim"]["blank"] == 1.0
    lines = trap_warnings(traps, "elbo")
    assert any("blank rows look more normal than normal ones" in line for line in lines)
    assert any("the head 'ssim' of this bundle tells them apart (1.00)" in line for line in lines)
    alone = trap_warnings({"elbo": traps["elbo"]}, "elbo")
    assert all("no head of this bundle does better; --heads offers mahalanobis, top, ssim" in line for line in alone)


def test_rows_of_classes_are_not_made_of_what_lies_between_them() -> None:
    x = RNG.integers(0, 5, (20, 4)).astype(np.float32)
    seen: list[np.ndarray] = []

    def score(rows: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(rows)
        return {"reconstruction": rows.sum(1)}

    traps = spring_traps(x, TABLE, score, whole=True)
    assert traps["reconstruction"].keys() == {"inverted", "shuffled"}
    assert all((rows == rows.round()).all() for rows in seen)


def test_an_infinite_score_is_not_normal() -> None:
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    calls = iter([np.zeros(20), *[np.full(20, np.nan)] * 3])
    traps = spring_traps(x, TABLE, lambda rows: {"elbo": next(calls)}, whole=False)
    assert set(traps["elbo"].values()) == {1.0}
