"""What rows cost: blocks near the code length of their tables, tables that follow a block, grids, bytes of frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle, windows

from vae_edge_runtime import VAE, InputError, load, recalibrate
from vae_edge_runtime.codec.contexts import Counted
from vae_edge_runtime.codec.modes import Coded, ModeCodec
from vae_edge_runtime.codec.rans import TOTAL


@pytest.fixture(scope="module")
def vae() -> Iterator[VAE]:
    with load(window_bundle(), device="cpu", threads=1) as session:
        yield session


def coded(vae: VAE, name: str, x: np.ndarray) -> tuple[ModeCodec, Coded]:
    """The codec of a mode, and rows as its whole numbers."""
    codec = vae._codec()
    mode = codec._mode([mode.name for mode in codec.section.modes].index(name))
    return mode, mode.coded(x, codec._latents(mode, x, None), None)


def code_bytes(mode: ModeCodec, rows: Coded, *, follow: bool = True) -> float:
    """What the symbols of rows take by their tables."""
    symbols = mode.columns(rows, follow=follow)
    bits = symbols.bits - np.log2(symbols.freq)
    return float(bits.sum() / 8 + len(symbols.escapes))


@pytest.mark.parametrize("name", ["0.3", "0.05", "exact"])
def test_a_block_of_1000_rows_is_within_half_a_percent_of_its_code_length(vae: VAE, name: str) -> None:
    mode, rows = coded(vae, name, windows(1000, 21))
    assert len(mode.block(rows)) <= 1.005 * code_bytes(mode, rows) + 100  # 100: check values and lengths


@pytest.mark.parametrize("name", ["0.3", "0.05", "exact"])
def test_tables_follow_rows_that_changed_and_cost_next_to_nothing_where_they_did_not(vae: VAE, name: str) -> None:
    same, noise = windows(400, 22), np.random.default_rng(3).laplace(0, 0.3, (400, 20, 5))
    mode, rows = coded(vae, name, same)
    assert code_bytes(mode, rows) < 1.002 * code_bytes(mode, rows, follow=False)
    mode, rows = coded(vae, name, np.round(same + noise, 2).astype(np.float32))
    assert code_bytes(mode, rows) < 0.995 * code_bytes(mode, rows, follow=False)


def test_followed_tables_stay_tables(vae: VAE) -> None:
    mode, _ = coded(vae, "0.05", windows(2, 1))
    tables, rng = mode.tables.residual, np.random.default_rng(4)
    assert tables is not None
    counted, before = Counted(tables, follow=True), 0
    for n in (1, 1999, 5000, 3):
        counted.met(rng.integers(0, tables.freq.size, n))
        freq = counted.freq.reshape(tables.freq.shape)
        assert freq.min() >= 1
        assert freq.sum(axis=1).tolist() == [TOTAL] * len(freq)
        np.testing.assert_array_equal(counted.start.reshape(freq.shape), np.cumsum(freq, axis=1) - freq)
        before += n
        assert (counted.freq != tables.freq.ravel()).any() == (before >= 2000)


def whole_windows(n: int, seed: int) -> np.ndarray:
    return np.round(10 * windows(n, seed)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VAE]:
    """Of rows of whole numbers, with a bound of 2 units, at which five of them come back as one."""
    path = tmp_path_factory.mktemp("whole") / "whole.vaeb"
    recalibrate(
        CORPUS / "v1-window.vaeb", path, rows=whole_windows(300, 1), compress="2u,0.9u,exact", false_positive_rate=0.1
    )
    with load(path, device="cpu", threads=1) as session:
        yield session


def test_a_bound_of_rows_on_a_grid_uses_the_grid(whole: VAE) -> None:
    x = whole_windows(200, 31)
    back = whole.decompress(whole.compress(x, bound="2u"))
    error = np.abs(back.rows.astype(np.float64) - x)
    assert error.max() == 2
    np.testing.assert_array_equal(back.rows, np.rint(back.rows))
    assert np.unique(error).tolist() == [0, 1, 2]
    mode, rows = coded(whole, "2u", x)
    assert mode.tables.residual is not None
    assert mode.tables.residual.step.min() > 4.9  # 4 without the grid
    assert len(mode.block(rows)) < 0.8 * len(whole.compress(x, exact=True))


def test_a_bound_that_the_grid_would_make_finer_does_not_use_it(whole: VAE) -> None:
    x = whole_windows(50, 32) + np.float32(0.3)
    back = whole.decompress(whole.compress(x, bound="0.9u"))
    assert set(back.kind.tolist()) == {"bounded"}
    assert np.abs(back.rows.astype(np.float64) - x).max() <= 0.9


def test_a_row_off_the_grid_comes_back_as_it_was(whole: VAE) -> None:
    x = whole_windows(4, 33)
    x[1, 0, 0] += 0.3
    back = whole.decompress(whole.compress(x, bound="2u"))
    assert back.kind.tolist() == ["bounded", "raw", "bounded", "bounded"]
    np.testing.assert_array_equal(back.rows[1], x[1])


def test_a_decoder_within_the_margin_keeps_the_bound_on_a_grid(whole: VAE) -> None:
    x = whole_windows(100, 34)
    data = {name: whole.compress(x, **how) for name, how in (("2u", {"bound": "2u"}), ("exact", {"exact": True}))}
    assert whole.manifest.compression is not None
    margin, rng = np.array(whole.manifest.compression.margin), np.random.default_rng(0)
    with load(whole.info.path, device="cpu", threads=1) as other:
        true = other.decode
        other.decode = lambda z, **options: (  # type: ignore[method-assign]
            (y := true(z, **options)) + rng.uniform(-0.9, 0.9, y.shape) * margin
        ).astype(np.float32)
        assert np.abs(other.decompress(data["2u"]).rows - x).max() <= 2
        np.testing.assert_array_equal(other.decompress(data["exact"]).rows, x)


def test_a_packet_has_two_bytes_of_checksum_and_less_than_a_byte_of_head(vae: VAE) -> None:
    x = windows(100, 23)
    mode, rows = coded(vae, "0.05", x)
    own = np.mean([code_bytes(mode, rows.taken(slice(i, i + 1)), follow=False) for i in range(len(x))])
    sent = np.mean([len(vae.packet(row, bound="0.05")) for row in x])
    assert sent < own + 2 + 3 / 8 + 0.6  # a mode of four, whether a score follows, and half a byte that a row ends in


def test_a_score_takes_less_than_a_byte(vae: VAE) -> None:
    x = windows(1000, 24)
    assert len(vae.compress(x, bound="0.3", scores=True)) < len(vae.compress(x, bound="0.3")) + 900
    alone = [len(vae.packet(row, bound="0.3", scores=True)) - len(vae.packet(row, bound="0.3")) for row in x[:200]]
    assert np.mean(alone) < 1


def test_bounds_are_shares_of_the_spread_of_the_training_rows_where_there_are_any(tmp_path: Path) -> None:
    training = windows(200, 26) * np.array([1, 2, 1, 1, 1], np.float32)
    path, options = tmp_path / "x.vaeb", {"compress": "0.1", "false_positive_rate": 0.1, "rows": windows(100, 25)}
    outcome = recalibrate(CORPUS / "v1-window.vaeb", path, compress_rows=training, **options)  # type: ignore[arg-type]
    assert outcome.compression is not None
    np.testing.assert_allclose(outcome.compression.spread, training.astype(np.float64).std((0, 1)), rtol=1e-6)
    with pytest.raises(InputError, match="5 rows are too few"):
        recalibrate(
            CORPUS / "v1-window.vaeb", tmp_path / "y.vaeb", compress_rows=training[:5], **options,  # type: ignore[arg-type]
        )  # fmt: skip
