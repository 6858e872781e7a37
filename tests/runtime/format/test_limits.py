"""The page of limits says what the code does, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vae_edge_runtime.format import limits

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/limits.md").read_text("utf-8")
NAMES = [name for name in vars(limits) if name.startswith(("MAX_", "MOST_"))]


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_is_on_the_page_with_its_number(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if f"`{name}`" in line]
    numbers = [int(number) for number in re.findall(r"\| (\d+)", row)]
    assert numbers == [getattr(limits, name)]


def test_the_page_names_no_limit_and_no_test_that_is_not_there() -> None:
    assert set(re.findall(r"`(M[AO][A-Z_]+)`", PAGE)) == set(NAMES)
    tests = re.findall(r"`(tests/[a-z_/]+\.py)`", PAGE)
    assert len(tests) > 10
    assert [path for path in tests if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(
    ("sizes", "limit", "product"),
    [
        ((), 10, 1),
        ((2, 3), 10, 6),
        ((0, 3), 10, 3),
        ((-4, 3), 10, 12),
        ((1 << 62,) * 100_000, 1 << 28, 1 << 62),
        ((11, 5), 10, 11),
    ],
)
def test_a_product_stops_above_its_limit(sizes: tuple[int, ...], limit: int, product: int) -> None:
    assert limits.product(sizes, limit) == product
