from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge_runtime import BundleInvalid, OptionError, standard_normal
from vae_edge_runtime.format.specs import LatentSpec, PriorSpec
from vae_edge_runtime.sampling.noise import philox_words
from vae_edge_runtime.sampling.prior import check_prior, choose, cumulated, draw, mixture_bytes, table_bytes

NORMAL = LatentSpec((3,), "gaussian", PriorSpec("standard_normal", "", 0, None), (), 0.0, 1.0, 0, ())
MIXTURE = dataclasses.replace(NORMAL, prior=PriorSpec("gaussian_mixture", "", 2, "prior.bin"))
CODES = LatentSpec((2, 2), "codes", PriorSpec("categorical", "", 4, "prior.bin"), (), 0.0, 1.0, 5, (3, 2, 2))


def test_a_standard_normal_prior_is_the_documented_noise() -> None:
    wanted = np.float32(0.5) * standard_normal(12, seed=9).reshape(4, 3)
    np.testing.assert_array_equal(draw(NORMAL, b"", 4, seed=9, temperature=0.5), wanted)


def test_a_mixture_draws_each_component_as_often_as_its_weight_says() -> None:
    means, stds = np.array([[-9.0] * 3, [9.0] * 3]), np.array([[0.5] * 3, [2.0] * 3])
    raw = mixture_bytes(np.array([1.0, 3.0]), means, stds)
    z = draw(MIXTURE, raw, 20_000, seed=1, temperature=1.0)
    second = z[:, 0] > 0
    assert second.mean() == pytest.approx(0.75, abs=0.01)
    assert z[second].mean() == pytest.approx(9.0, abs=0.05)
    assert z[second].std() == pytest.approx(2.0, rel=0.02)
    assert z[~second].std() == pytest.approx(0.5, rel=0.02)
    assert len(raw) == MIXTURE.prior_bytes
    check_prior(MIXTURE, raw)


def test_temperature_0_gives_the_means_of_a_mixture() -> None:
    raw = mixture_bytes(np.ones(2), np.array([[1.0] * 3, [2.0] * 3]), np.ones((2, 3)))
    assert set(draw(MIXTURE, raw, 50, seed=3, temperature=0.0).ravel()) == {1.0, 2.0}


def test_codes_are_drawn_position_by_position() -> None:
    table = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]])
    raw = table_bytes(table)
    check_prior(CODES, raw)
    codes = draw(CODES, raw, 5000, seed=2, temperature=1.0)
    assert codes.dtype == np.int64
    assert codes.shape == (5000, 2, 2)
    assert set(codes[:, 0, 0]) == {0}
    assert set(codes[:, 0, 1]) == {2}
    shares = np.bincount(codes[:, 1, 0], minlength=5) / 5000
    np.testing.assert_allclose(shares, [0, 0.5, 0, 0, 0.5], atol=0.03)
    np.testing.assert_allclose(np.bincount(codes[:, 1, 1], minlength=5) / 5000, [0.2] * 5, atol=0.03)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda p: sum(p) > 0), st.integers(0, 2**32 - 1))
def test_a_choice_never_falls_on_a_probability_of_0(probabilities: list[float], seed: int) -> None:
    p = np.array([probabilities])
    found = choose(cumulated(p), 50, 1, seed=seed)[:, 0]
    assert ((found >= 0) & (found < len(probabilities))).all()
    # 2**-32 is the grain of the table: what is smaller may round to nothing, never to a neighbour without weight.
    assert (p[0, found] > 0).all()


def test_a_choice_is_the_upper_half_of_a_word_among_cumulated_probabilities() -> None:
    words = philox_words(6, seed=5, stream=1) >> np.uint64(32)
    wanted = [0 if word < 2**31 else 1 for word in words.tolist()]
    assert choose(cumulated(np.array([[1.0, 1.0]])), 6, 1, seed=5)[:, 0].tolist() == wanted


def test_the_first_rows_do_not_depend_on_how_many_are_drawn() -> None:
    raw = table_bytes(np.ones((4, 5)))
    few, many = (draw(CODES, raw, n, seed=8, temperature=1.0) for n in (3, 30))
    np.testing.assert_array_equal(few, many[:3])


def test_a_model_without_a_prior_says_why_it_cannot_be_sampled() -> None:
    spec = dataclasses.replace(NORMAL, prior=PriorSpec("none", "nothing was fitted", 0, None))
    with pytest.raises(OptionError, match="nothing was fitted"):
        draw(spec, b"", 1, seed=0, temperature=1.0)


def test_a_table_of_codes_has_no_temperature() -> None:
    with pytest.raises(OptionError, match="no temperature"):
        draw(CODES, table_bytes(np.ones((4, 5))), 1, seed=0, temperature=0.5)


@pytest.mark.parametrize("bad", [np.ones(3), np.array([[1.0, -1.0]]), np.zeros((2, 3)), np.array([[np.nan, 1.0]])])
def test_probabilities_that_are_none_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(OptionError, match="probabilities"):
        cumulated(bad)


def test_a_damaged_prior_is_refused() -> None:
    raw = np.frombuffer(table_bytes(np.ones((4, 5))), dtype="<u4").copy()
    for at, value in ((4, 7), (0, 2**32 - 1)):
        spoilt = raw.copy()
        spoilt[at] = value
        with pytest.raises(BundleInvalid, match="do not ascend to 1"):
            check_prior(CODES, spoilt.tobytes())
    numbers = mixture_bytes(np.ones(2), np.zeros((2, 3)), np.ones((2, 3)))
    for at, value in ((3, np.nan), (9, -1.0)):
        spoilt_numbers = np.frombuffer(numbers, dtype="<f4").copy()
        spoilt_numbers[at] = value
        with pytest.raises(BundleInvalid, match="not finite"):
            check_prior(MIXTURE, spoilt_numbers.tobytes())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "codes"}, {"codebook": 4}, {"groups": ((2,), (2,))}, {"scale": 0.0}, {"embedding_shape": (2,)},
        {"prior": PriorSpec("categorical", "", 3, "prior.bin")},
    ],
)  # fmt: skip
def test_a_latent_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BundleInvalid):
        dataclasses.replace(NORMAL, **change)  # type: ignore[arg-type]
