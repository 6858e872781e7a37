"""Every family of the compatibility page: exported, compared with PyTorch, run, also by an older engine."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import matrix
import numpy as np
import pytest
import torch
from families import FAMILIES, Family, built

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^\| (?!model|---)(.+?) \|$", PAGE, flags=re.MULTILINE)
ROWS = {cells.split(" | ")[0]: cells.split(" | ") for cells in CELLS}


def test_the_page_has_a_row_per_family_and_no_other() -> None:
    assert list(ROWS) == [family.name for family in FAMILIES]
    assert f"[{len(FAMILIES)} models](docs/compatibility.md) were run" in (ROOT / "README.md").read_text(
        encoding="utf-8"
    )


def test_at_most_five_models_need_lambdas() -> None:
    ways = [cells[2] for cells in ROWS.values()]
    assert len(ways) >= 90
    assert ways.count("lambdas") <= 5
    assert ways.count("noise") >= 12


def _check(family: Family, folder: Path) -> None:
    found = matrix.run(family, folder)
    row = ROWS[family.name]
    if family.refused:
        assert family.refused in found.problem
        assert row[3].startswith("refused: ")
        assert family.refused in row[3]
        return
    assert ("**fails**" in row[3]) == bool(found.problem), found.problem or "the page says that it fails"
    assert not found.problem
    assert found.parity <= 1e-4
    assert found.fresh_error <= 1e-4
    assert found.other_ort is None or found.other_ort <= 1e-4
    assert row[2] == matrix.way_of(found.recognised)
    assert row[3].removesuffix(" (legacy exporter)") == found.recognised
    assert (row[4], row[7]) == (found.latent, found.sample)


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.library], ids=lambda f: f.name)
def test_a_model_written_by_hand(family: Family, tmp_path: Path) -> None:
    _check(family, tmp_path)


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", [f for f in FAMILIES if f.library], ids=lambda f: f.name)
def test_a_librarys_own_class(family: Family, tmp_path: Path) -> None:
    if importlib.util.find_spec(family.library) is None:
        pytest.skip(f"{family.library} is not installed: make compatibility brings it")
    _check(family, tmp_path)


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["PyOD VAE", "PyOD AutoEncoder"])
def test_scores_and_decisions_are_pyods(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = next(f for f in FAMILIES if f.name == name)
    if importlib.util.find_spec("pyod") is None:
        pytest.skip("pyod is not installed: make compatibility brings it")
    detector = built(family)
    rows = np.random.default_rng(5).normal(3, 2, (300, 6)).astype(np.float32)
    export(detector, tmp_path / "d.vaeb", calibration=rows)
    if hasattr(detector.model, "reparameterize"):  # its own scores draw a latent: compare on the mean
        monkeypatch.setattr(detector.model, "reparameterize", lambda mu, logvar: mu)
    with load(tmp_path / "d.vaeb", device="cpu") as vae:
        found = vae.score(rows)
        np.testing.assert_allclose(found.score, detector.decision_function(rows), rtol=1e-5)
        assert found.threshold == pytest.approx(float(detector.threshold_), rel=1e-12)
        calibration = vae.manifest.variants["fp32"].calibration
        assert calibration is not None
        assert calibration.source == "model"
        margin = np.abs(found.score - detector.threshold_) > 1e-5
        np.testing.assert_array_equal(found.is_anomaly[margin], (detector.predict(rows) == 1)[margin])


@pytest.mark.zoo
@pytest.mark.filterwarnings("default")
def test_latents_of_diffusers_are_scaled_as_its_pipelines_scale_them(tmp_path: Path) -> None:
    if importlib.util.find_spec("diffusers") is None:
        pytest.skip("diffusers is not installed: make compatibility brings it")
    family = next(f for f in FAMILIES if f.name == "diffusers AutoencoderKL, with shift")
    model, rows = built(family).eval(), family.rows(np.random.default_rng(0))
    export(model, tmp_path / "kl.vaeb", calibration=rows, config=ExportConfig(layout="nchw"))
    with torch.no_grad(), load(tmp_path / "kl.vaeb", device="cpu") as vae:
        q = model.encode(torch.from_numpy(rows[:5])).latent_dist
        wanted = (q.mean - model.config.shift_factor) * model.config.scaling_factor
        found = vae.encode(rows[:5])
        np.testing.assert_allclose(found.mean, wanted.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.std, (q.std * model.config.scaling_factor).numpy(), rtol=1e-4)
        np.testing.assert_allclose(vae.decode(found), model.decode(q.mean).sample.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(vae.score(rows[:5]).kl, q.kl().numpy(), rtol=1e-4)  # its own, unscaled
        assert (vae.manifest.latent.offset, vae.manifest.latent.scale) == (0.0609, 0.3611)
