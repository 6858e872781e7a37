"""Rows to bytes and back through a session: bounds kept, exact equal, triage, packets, strange rows, strange bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from codec_bundles import CORPUS, other_bundle, rows_for, window_bundle, windows

from vae_edge_runtime import (
    VAE,
    CompressedCorrupt,
    CompressedCut,
    CompressedError,
    DecoderMismatch,
    InputError,
    OptionError,
    PairMismatch,
    load,
    recalibrate,
)

X = windows(60, 7)


@pytest.fixture(scope="module")
def vae() -> Iterator[VAE]:
    with load(window_bundle(), device="cpu", threads=1) as session:
        yield session


def bound_of(vae: VAE, name: str) -> np.ndarray:
    assert vae.manifest.compression is not None
    mode = vae.manifest.compression.mode(name)
    assert mode is not None
    return np.array(mode.bound)


@pytest.mark.parametrize("name", ["0.3", "0.05"])
def test_every_value_stays_within_its_bound(vae: VAE, name: str) -> None:
    data = vae.compress(X, bound=name)
    back = vae.decompress(data)
    assert (np.abs(back.rows.astype(np.float64) - X) <= bound_of(vae, name)).all()
    assert back.kind.tolist() == ["bounded"] * len(X)
    assert set(back.bound.tolist()) == {name}
    assert back.rows.dtype == X.dtype
    assert len(data) < X.nbytes / 3


def test_exact_rows_come_back_equal(vae: VAE) -> None:
    back = vae.decompress(vae.compress(X, exact=True))
    np.testing.assert_array_equal(back.rows, X)
    assert set(back.kind.tolist()) == {"exact"}


def test_latents_alone_are_few_bytes_and_never_the_default(vae: VAE) -> None:
    with pytest.raises(OptionError, match="say one of bound=, exact=True and latents=True"):
        vae.compress(X)
    data = vae.compress(X, latents=True)
    back = vae.decompress(data)
    assert set(back.kind.tolist()) == {"latents"}
    assert len(data) < 60 * 20
    np.testing.assert_allclose(back.rows, vae.reconstruct(X), atol=3.0)


def test_triage_sends_scores_and_keeps_flagged_rows_within_the_bound(vae: VAE) -> None:
    rows = X.copy()
    rows[10:13] += 30
    scores = vae.score(rows)
    assert scores.is_anomaly[10:13].all()
    back = vae.decompress(vae.compress(rows, bound="0.05", triage=True))
    flagged = back.kind != "latents"
    np.testing.assert_array_equal(flagged, scores.is_anomaly)
    error = np.abs(back.rows.astype(np.float64) - rows)[flagged]
    assert (error <= bound_of(vae, "0.05")).all()
    step = vae._codec().identity.step
    assert np.abs(back.score.astype(np.float64) - scores.score).max() <= 0.51 * step + 1e-4 * np.abs(scores.score).max()
    assert ((back.p_value > 0) & (back.p_value <= 1)).all()


def test_scores_are_sent_where_asked_for(vae: VAE) -> None:
    assert np.isnan(vae.decompress(vae.compress(X, bound="0.3")).score).all()
    assert np.isfinite(vae.decompress(vae.compress(X, bound="0.3", scores=True)).score).all()


def rows_about_the_threshold(vae: VAE) -> np.ndarray:
    """64 rows with scores within a step of the threshold, on either side."""
    threshold, step = vae.score(X).threshold, vae._codec().identity.step
    assert threshold is not None
    noise = np.random.default_rng(0).normal(size=X.shape[1:])
    tried = np.round(X[:1] + np.linspace(0.0, 2.0, 8192)[:, None, None] * noise, 2).astype(np.float32)
    near = tried[np.abs(vae.score(tried).score - threshold) < step]
    return near[:: len(near) // 64][:64]


def test_a_sent_score_is_decided_as_the_score_was(vae: VAE) -> None:
    rows = rows_about_the_threshold(vae)
    scores = vae.score(rows)
    assert 0 < scores.is_anomaly.sum() < len(rows)
    for options in ({"bound": "0.3", "scores": True}, {"bound": "0.05", "triage": True}):
        back = vae.decompress(vae.compress(rows, **options))
        np.testing.assert_array_equal(back.score > scores.threshold, scores.is_anomaly)
        np.testing.assert_array_equal(
            back.p_value <= scores.p_value.max(where=scores.is_anomaly, initial=0), scores.is_anomaly
        )
        one = [vae.unpack(vae.packet(row, **options)).score[0] for row in rows]
        np.testing.assert_array_equal(one, back.score)


@pytest.mark.parametrize("options", [{"bound": "0.3"}, {"bound": 0.05}, {"exact": True}, {"latents": True}])
def test_a_packet_gives_the_row_that_a_block_gives(vae: VAE, options: dict[str, Any]) -> None:
    whole = vae.decompress(vae.compress(X, **options)).rows
    for i in (0, 7, 59):
        packet = vae.packet(X[i], **options)
        np.testing.assert_array_equal(vae.unpack(packet).rows[0], whole[i])
    assert len(packet) < X[0].nbytes


def test_a_packet_of_triage_carries_its_score(vae: VAE) -> None:
    packet = vae.packet(X[0], bound="0.05", triage=True)
    back = vae.unpack(packet)
    assert np.isfinite(back.score[0])
    assert np.isfinite(back.p_value[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -3e9])
def test_a_row_that_fits_no_table_comes_back_as_it_was(vae: VAE, value: float) -> None:
    rows = X[:5].copy()
    rows[2, 3, 1] = value
    for options in ({"bound": "0.05"}, {"exact": True}, {"bound": "0.05", "triage": True}):
        back = vae.decompress(vae.compress(rows, **options))  # type: ignore[arg-type]
        np.testing.assert_array_equal(back.rows[2], rows[2])
        assert back.kind[2] == "raw"
        assert back.status[[0, 1, 3, 4]].tolist() == [0] * 4
        # A row of 1e38 is finite and has no finite score, which triage finds out.
        assert back.status[2] == (1 if not np.isfinite(value) else 2 if value == 1e38 and "triage" in options else 0)
        packet = vae.unpack(vae.packet(rows[2], **options))  # type: ignore[arg-type]
        np.testing.assert_array_equal(packet.rows[0], rows[2])


def test_a_row_off_the_grid_comes_back_equal_from_an_exact_mode(vae: VAE) -> None:
    rows = X[:4].copy()
    rows[1, 0, 0] = np.float32(5.001234)
    back = vae.decompress(vae.compress(rows, exact=True))
    np.testing.assert_array_equal(back.rows, rows)
    assert back.kind.tolist() == ["exact", "raw", "exact", "exact"]


@pytest.mark.parametrize("n", [0, 1, 2, 61])
def test_any_number_of_rows(vae: VAE, n: int) -> None:
    rows = windows(n, 3)
    back = vae.decompress(vae.compress(rows, bound="0.3", triage=True))
    assert (len(back), back.rows.shape) == (n, (n, 20, 5))


CASES = [
    ("table", "0.1"), ("vector", "0.1"), ("label", "0.1"), ("autoencoder", "0.1"), ("recurrent", "0.2"),
    ("codes", "latents"), ("groups", "latents"), ("picture", "latents"), ("variance", "0.5u"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "modes"), CASES)
def test_every_kind_of_model_compresses(name: str, modes: str) -> None:
    with load(other_bundle(name, modes), device="cpu", threads=1) as session:
        rows, condition = rows_for(session.manifest, 30, 5)
        assert session.manifest.compression is not None
        for mode in session.manifest.compression.modes:
            how: dict[str, Any] = {"latents": True} if mode.kind == "latents" else {"bound": mode.name}
            back = session.decompress(session.compress(rows, condition=condition, **how))
            assert back.rows.shape == rows.shape
            if condition is not None:
                assert back.condition is not None
                np.testing.assert_array_equal(back.condition, condition)
            if mode.kind == "bounded":
                assert (np.abs(back.rows.astype(np.float64) - rows) <= np.array(mode.bound)).all()


def test_pictures_have_latents_alone_and_triage_keeps_flagged_ones_as_they_are() -> None:
    with load(other_bundle("picture", "latents"), device="cpu", threads=1) as session:
        rows, _ = rows_for(session.manifest, 12, 9)
        with pytest.raises(OptionError, match=r"no tables for '0\.1'"):
            session.compress(rows, bound="0.1")
        np.testing.assert_array_equal(session.decompress(session.compress(rows, exact=True)).rows, rows)
        rows[4] = 255 - rows[4]
        flagged = session.score(rows).is_anomaly
        back = session.decompress(session.compress(rows, exact=True, triage=True))
        np.testing.assert_array_equal(back.kind == "raw", flagged)
        np.testing.assert_array_equal(back.rows[flagged], rows[flagged])
    with pytest.raises(OptionError, match="pictures are compressed to latents alone"):
        recalibrate(CORPUS / "v1-picture.vaeb", "never.vaeb", rows=np.repeat(rows, 10, 0), compress="0.1")


# ---------------------------------------------------------------- what is refused


def test_another_bundle_refuses_the_rows_by_name(vae: VAE) -> None:
    data = vae.compress(X[:3], bound="0.3")
    packet = vae.packet(X[0], bound="0.3")
    with load(other_bundle("recurrent", "0.2"), device="cpu", threads=1) as other:
        with pytest.raises(PairMismatch, match="another bundle compressed these rows"):
            other.decompress(data)
        with pytest.raises(CompressedCorrupt, match="no packet of this bundle"):
            other.unpack(packet)
    with (
        load(CORPUS / "v1-window.vaeb", device="cpu", threads=1) as bare,
        pytest.raises(PairMismatch, match=r"another bundle of the same model .* has no tables"),
    ):
        bare.decompress(data)


def test_a_decoder_that_differs_is_refused(vae: VAE) -> None:
    data = vae.compress(X[:20], latents=True)
    with load(window_bundle(), device="cpu", threads=1) as other:
        true = other.decode
        other.decode = lambda z, **options: true(z, **options) * np.float32(1.002)  # type: ignore[method-assign]
        with pytest.raises(DecoderMismatch, match="golden rows"):
            other.decompress(data)
        codec = other._codec()
        codec._decodes = True  # as if it had passed the golden rows
        with pytest.raises(DecoderMismatch, match="where the sender decoded"):
            codec.read_block(_body(data), 20)


def _body(data: bytes) -> bytes:
    from vae_edge_runtime.codec.container import from_bytes

    _, frames = from_bytes(data)
    body = next(iter(frames)).body
    assert body is not None
    return body


def test_a_decoder_within_the_margin_keeps_the_bound(vae: VAE) -> None:
    """Engines differ by 1e-6 of the largest value; here by up to nine tenths of the margin."""
    data, whole = vae.compress(X, bound="0.05"), vae.compress(X, exact=True)
    assert vae.manifest.compression is not None
    margin = np.array(vae.manifest.compression.margin)
    rng = np.random.default_rng(0)
    with load(window_bundle(), device="cpu", threads=1) as other:
        true = other.decode

        def nearly(z: Any, **options: Any) -> Any:
            x_hat = true(z, **options)
            return (x_hat + rng.uniform(-0.9, 0.9, x_hat.shape) * margin).astype(np.float32)

        other.decode = nearly  # type: ignore[method-assign]
        assert (np.abs(other.decompress(data).rows.astype(np.float64) - X) <= bound_of(vae, "0.05")).all()
        np.testing.assert_array_equal(other.decompress(whole).rows, X)


@pytest.mark.parametrize(
    "options", [{"bound": "0.3", "exact": True}, {"bound": "7"}, {"latents": True, "triage": True}]
)
def test_wishes_that_make_no_sense_are_refused(vae: VAE, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        vae.compress(X[:2], **options)


def test_rows_of_another_shape_are_refused(vae: VAE) -> None:
    with pytest.raises(InputError):
        vae.compress(X[:, :19], bound="0.3")


def test_every_truncation_is_a_typed_error(vae: VAE) -> None:
    data = vae.compress(X[:3], bound="0.3", triage=True)
    for size in range(len(data)):
        with pytest.raises((CompressedCut, CompressedCorrupt)):
            vae.decompress(data[:size])
    for size in range(len(packet := vae.packet(X[0], bound="0.3"))):
        with pytest.raises(CompressedCorrupt):
            vae.unpack(packet[:size])


@pytest.mark.parametrize("options", [{"bound": "0.3"}, {"bound": "0.05", "triage": True}, {"exact": True}])
def test_flipped_bits_are_typed_errors(vae: VAE, options: dict[str, Any]) -> None:
    data, rng = vae.compress(X[:4], **options), np.random.default_rng(1)
    for bit in rng.choice(8 * len(data), min(1200, 8 * len(data)), replace=False).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CompressedError, PairMismatch)):
            vae.decompress(bytes(damaged))
    packet = vae.packet(X[0], **options)
    for bit in range(8 * len(packet)):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CompressedCorrupt):
            vae.unpack(bytes(damaged))


def test_bytes_behind_good_checksums_are_typed_errors(vae: VAE) -> None:
    """What no CRC-32 finds: bodies that were damaged before they were summed."""
    codec, rng = vae._codec(), np.random.default_rng(2)
    body = codec.block(X[:6], None, codec.wish(bound="0.05", exact=False, latents=False, triage=True, scores=None))
    codec.read_block(body, 6)
    refused = 0
    for _ in range(400):
        damaged = bytearray(body)
        for bit in rng.integers(0, 8 * len(body), rng.integers(1, 4)).tolist():
            damaged[bit // 8] ^= 1 << bit % 8
        try:
            codec.read_block(bytes(damaged), 6)
        except (CompressedError, DecoderMismatch):
            refused += 1
    assert refused >= 330  # a score or a check value within its margin may still be read


def test_figures_of_the_bundle_are_those_of_packets(vae: VAE) -> None:
    assert vae.manifest.compression is not None
    mode = vae.manifest.compression.mode("0.05")
    assert mode is not None
    sizes = [len(vae.packet(row, bound="0.05")) for row in windows(80, 11)]
    assert np.mean(sizes) == pytest.approx(mode.row_bytes, rel=0.05)
    assert mode.largest_error <= 1
    assert dataclasses.asdict(mode)["flipped"] is not None


@pytest.mark.slow
def test_ten_thousand_flipped_bits_and_every_truncation_are_typed_errors(vae: VAE) -> None:
    """One, two or a burst of bits: a CRC-32 finds each, and what it cannot find is still refused or read as it is."""
    rng = np.random.default_rng(9)
    files = [vae.compress(windows(8, 2), **how) for how in ({"bound": "0.3"}, {"bound": "0.05", "triage": True})]
    for data in files:
        for _ in range(5000):
            damaged = bytearray(data)
            first = int(rng.integers(8 * len(data)))
            for bit in {
                first,
                *(min(first + int(step), 8 * len(data) - 1) for step in rng.integers(0, 32, rng.integers(3))),
            }:
                damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises((CompressedError, PairMismatch)):
                vae.decompress(bytes(damaged))
        for size in range(len(data)):
            for allow_torn in (False, True):
                try:
                    back = vae.decompress(data[:size], allow_torn=allow_torn)
                    assert allow_torn
                    assert len(back) in (0, 8)
                except (CompressedCut, CompressedCorrupt):
                    pass
