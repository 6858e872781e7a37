"""Residual and finite scalar quantisers, hidden in forward or with names; a branch on the batch; masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import quantisers
import torch
from torch import nn

from vae_edge_export import ExportConfig, ExportReport, export
from vae_edge_export.adapters.recipe import AT_CODES, AT_ROUNDING, IN_WORDS
from vae_edge_runtime import load
from vae_edge_runtime.errors import AdaptError, ExportFailed

CONFIG = ExportConfig(layout="features", false_positive_rate=0.05, allow_poor_fit=True)


def _model(kind: type[nn.Module], *arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return kind(*arguments).eval()


def _exported(model: nn.Module, path: Path, rows: np.ndarray, **options: object) -> ExportReport:
    return export(model, path, calibration=rows[:120], config=CONFIG, **options)  # type: ignore[arg-type]


def test_residual_codes_in_forward_are_cut_apart_and_decode_to_what_forward_gives(
    tmp_path: Path, rows: np.ndarray
) -> None:
    model = _model(quantisers.ResidualInForward)
    report = _exported(model, tmp_path / "m.vaeb", rows)
    assert report.evidence[0] == IN_WORDS[AT_CODES]
    assert any("3 codebooks of 8 each" in line for line in report.evidence)
    with torch.no_grad(), load(tmp_path / "m.vaeb", device="cpu") as vae:
        assert (vae.manifest.latent.shape, vae.manifest.latent.codebook) == ((3, 2), 8)
        x_hat, indices, _ = model(torch.from_numpy(rows[:20]))
        encoded = vae.encode(rows[:20])
        np.testing.assert_array_equal(encoded.indices, indices.transpose(1, 2))
        np.testing.assert_allclose(vae.decode(encoded), x_hat, rtol=1e-4, atol=1e-5)
        assert vae.sample(3, seed=0).shape == (3, 6)


def test_codebooks_of_two_sizes_are_refused_with_the_sizes(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(AdaptError, match=r"its codebooks hold 4 and 8 codes"):
        _exported(_model(quantisers.ResidualInForward, (8, 4)), tmp_path / "m.vaeb", rows)


def test_residual_indices_with_names_are_cut_where_nothing_says_how_many_codes_there_are(
    tmp_path: Path, rows: np.ndarray
) -> None:
    report = _exported(_model(quantisers.ResidualIndices), tmp_path / "m.vaeb", rows)
    assert report.evidence[0] == IN_WORDS[AT_CODES]
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        assert vae.manifest.latent.codebook == 8


def test_levels_with_names_need_the_number_of_codes_and_no_more(tmp_path: Path, rows: np.ndarray) -> None:
    model = _model(quantisers.LevelsIndices)
    with pytest.raises(AdaptError, match=r"codebook=.*residual quantiser.*product of its levels"):
        _exported(model, tmp_path / "m.vaeb", rows)
    _exported(model, tmp_path / "m.vaeb", rows, codebook=200)
    with torch.no_grad(), load(tmp_path / "m.vaeb", device="cpu") as vae:
        encoded = vae.encode(rows[:20])
        np.testing.assert_array_equal(encoded.indices, model.encode(torch.from_numpy(rows[:20]))[0])
        np.testing.assert_allclose(vae.decode(encoded), model(torch.from_numpy(rows[:20])), rtol=1e-4, atol=1e-5)


def test_finite_scalar_quantisation_in_forward_is_cut_at_its_rounding(tmp_path: Path, rows: np.ndarray) -> None:
    model = _model(quantisers.LevelsInForward)
    report = _exported(model, tmp_path / "m.vaeb", rows)
    assert report.evidence[0] == IN_WORDS[AT_ROUNDING]
    with torch.no_grad(), load(tmp_path / "m.vaeb", device="cpu") as vae:
        code = vae.encode(rows[:20]).mean
        np.testing.assert_array_equal(code, np.round(code))
        np.testing.assert_allclose(vae.decode(code), model(torch.from_numpy(rows[:20]))[0], rtol=1e-4, atol=1e-5)


def test_a_branch_on_the_number_of_rows_is_refused_as_one_with_what_to_do(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(ExportFailed, match=r"branch on the number of rows.*slicing or chunking"):
        _exported(_model(quantisers.BranchOnTheBatch), tmp_path / "m.vaeb", rows)
    assert not list(tmp_path.iterdir())


def test_a_mask_beside_the_row_may_be_for_the_encoder_alone(tmp_path: Path, rows: np.ndarray) -> None:
    mask = (np.random.default_rng(1).random((120, 6)) > 0.3).astype(np.float32)
    model = _model(quantisers.Masked)
    report = _exported(model, tmp_path / "m.vaeb", rows, condition=mask)
    assert "decode does not depend on the condition" in report.evidence
    with torch.no_grad(), load(tmp_path / "m.vaeb", device="cpu") as vae:
        x, beside = torch.from_numpy(rows[:9]), torch.from_numpy(mask[:9])
        wanted = model.decode(model.encode(x, beside)[0])
        np.testing.assert_allclose(vae.reconstruct(rows[:9], condition=mask[:9]), wanted, rtol=1e-4, atol=1e-5)


def test_a_condition_that_no_half_depends_on_is_refused(tmp_path: Path, rows: np.ndarray) -> None:
    labels = np.arange(120) % 3
    with pytest.raises(AdaptError, match=r"neither encode nor decode depends on it"):
        _exported(
            _model(quantisers.ResidualSum), tmp_path / "m.vaeb", rows, condition=labels,
            encode=lambda m, x: m.encode(x), decode=lambda m, z: m.decode(z),
        )  # fmt: skip
