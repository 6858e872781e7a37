from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_edge_runtime import OptionError, standard_normal

# Specified in docs/concepts.md; any implementation must give these bits.
VECTORS = {
    (7, 0): ["0x1.22e11a0000000p+0", "-0x1.13578e0000000p-1", "-0x1.9cf7520000000p-3", "-0x1.ea51f20000000p-3"],
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_seed_gives_the_bits_of_the_specification(key: tuple[int, int], expected: list[str]) -> None:
    values = standard_normal(len(expected), seed=key[0], stream=key[1])
    assert [float(v).hex() for v in values] == expected


def test_a_million_values_have_the_moments_of_a_standard_normal() -> None:
    values = standard_normal(1_000_000, seed=1).astype(np.float64)
    assert abs(values.mean()) < 4e-3  # four standard errors
    assert abs(values.var() - 1) < 6e-3
    assert abs((values**4).mean() - 3) < 0.04


@given(seed=st.integers(0, 2**64 - 1), short=st.integers(0, 40), more=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_a_shorter_draw_is_the_start_of_a_longer_one(seed: int, short: int, more: int) -> None:
    assert np.array_equal(standard_normal(short, seed=seed), standard_normal(short + more, seed=seed)[:short])


def test_streams_of_one_seed_differ() -> None:
    assert not np.array_equal(standard_normal(8, seed=1), standard_normal(8, seed=1, stream=1))


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.0, True, None])
def test_seed_outside_64_bits_or_not_whole_is_refused(seed: object) -> None:
    with pytest.raises(OptionError, match="seed"):
        standard_normal(1, seed=seed)  # type: ignore[arg-type]
