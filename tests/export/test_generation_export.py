"""Export for generation alone: without calibration rows, without scores; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handmade_generators import Labelled, LabelPainter, Quantised
from quantisers import Forecast
from strangers import Plain
from torch import Tensor, nn

from vae_edge_export import ExportConfig, Prior, export, export_for_generation
from vae_edge_runtime import load, recalibrate, standard_normal, verify
from vae_edge_runtime.errors import AdaptError, FitFailed, NotExported, OptionError
from vae_edge_runtime.table_scorer import Scorer


def _decoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.BatchNorm1d(16), nn.Linear(16, 48), nn.Unflatten(1, (3, 4, 4)))


def _plain() -> Plain:
    torch.manual_seed(0)
    return Plain()


def test_without_a_row_a_model_samples_encodes_decodes_and_verifies(tmp_path: Path) -> None:
    model = _plain()
    report = export_for_generation(model, tmp_path / "g.vaeb", shape=(6,), config=ExportConfig(layout="features"))
    assert report.purpose == "generation"
    assert set(report.parity) == {"encode.mean", "encode.logvar", "decode.x_hat"}
    assert max(figure.max_relative for figure in report.parity.values()) < 1e-5
    assert report.fit is None
    x = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    with torch.no_grad(), load(tmp_path / "g.vaeb", device="cpu") as vae:
        assert sorted(vae.manifest.variants["fp32"].graphs) == ["decode", "encode"]
        assert (vae.manifest.stream, vae.manifest.compression) == (None, None)
        z = standard_normal(10 * 2, seed=7).reshape(10, 2)
        np.testing.assert_allclose(vae.sample(10, seed=7), model.decode(torch.from_numpy(z)), rtol=1e-4, atol=1e-5)
        mean = model.encode(torch.from_numpy(x))[0]
        np.testing.assert_allclose(vae.encode(x).mean, mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(vae.reconstruct(x), model.decode(mean), rtol=1e-4, atol=1e-5)
        assert vae.interpolate(x[0], x[1], steps=4).shape == (4, 6)
    checked = verify(tmp_path / "g.vaeb")
    assert (checked.ok, checked.rows, len(checked.checks)) == (True, 4, 3)


def test_a_few_rows_are_enough_and_say_how_well_the_model_fits(tmp_path: Path, rows: np.ndarray) -> None:
    config = ExportConfig(layout="features", allow_poor_fit=True)
    report = export_for_generation(_plain(), tmp_path / "g.vaeb", rows=rows[:3], config=config)
    assert report.fit is not None
    assert report.fit.rows == 3
    assert report.samples is not None
    assert report.samples.rows_spread == pytest.approx(float(np.sqrt(rows[:3].astype(float).var(0).mean())))


@pytest.mark.parametrize(
    "use",
    [
        lambda vae, x: vae.score(x),
        lambda vae, x: vae.explain(x),
        lambda vae, x: vae.heads,
        lambda vae, x: vae.threshold_for(0.1),
        lambda vae, x: vae.stream(iter(x)),
        lambda vae, x: vae.compress(x, exact=True),
    ],
)
def test_whatever_scores_is_refused_by_one_error_that_says_how_to_export(
    use: Callable[[Any, np.ndarray], Any], tmp_path: Path, rows: np.ndarray
) -> None:
    path = tmp_path / "g.vaeb"
    export_for_generation(_plain(), path, shape=(6,), config=ExportConfig(layout="features"))
    with (
        load(path, device="cpu") as vae,
        pytest.raises(NotExported, match=r"exported for generation.*calibration rows"),
    ):
        use(vae, rows[:4])


def test_recalibration_and_tables_are_refused_alike(tmp_path: Path, rows: np.ndarray) -> None:
    path = tmp_path / "g.vaeb"
    export_for_generation(_plain(), path, shape=(6,), config=ExportConfig(layout="features"))
    with pytest.raises(NotExported):
        recalibrate(path, tmp_path / "h.vaeb", rows=rows)
    with pytest.raises(NotExported):
        Scorer(path, threshold=1.0)


def test_a_decoder_alone_needs_the_shape_of_its_latent_and_no_more(tmp_path: Path) -> None:
    model = _decoder().eval()
    report = export_for_generation(model, tmp_path / "d.vaeb", latent_shape=(3,), config=ExportConfig(layout="nchw"))
    assert report.purpose == "decoder"
    with torch.no_grad(), load(tmp_path / "d.vaeb", device="cpu") as vae:
        assert vae.manifest.input.shape == vae.manifest.output.shape == (3, 4, 4)
        z = standard_normal(5 * 3, seed=1).reshape(5, 3)
        np.testing.assert_allclose(vae.sample(5, seed=1), model(torch.from_numpy(z)), rtol=1e-4, atol=1e-5)
        with pytest.raises(NotExported, match=r"decoder alone.*'encode'.*whole model"):
            vae.encode(np.zeros((2, 3, 4, 4), np.float32))
        with pytest.raises(NotExported, match=r"whole model with calibration rows"):
            vae.score(np.zeros((2, 3, 4, 4), np.float32))
    assert verify(tmp_path / "d.vaeb").ok


def test_flat_rows_of_a_decoder_take_the_shape_that_is_given(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 12))
    config = ExportConfig(layout="nhwc", output_dtype="uint8", scale=(255.0,))
    export_for_generation(model, tmp_path / "d.vaeb", latent_shape=(3,), shape=(2, 2, 3), config=config)
    with load(tmp_path / "d.vaeb", device="cpu") as vae:
        rows = vae.sample(4, seed=0)
        assert (rows.shape, rows.dtype) == ((4, 2, 2, 3), np.uint8)


def test_a_decoder_of_labels_takes_conditions(tmp_path: Path) -> None:
    model = LabelPainter()
    labels = np.array([0, 1, 2, 1])
    export_for_generation(model, tmp_path / "d.vaeb", latent_shape=(3,), condition=labels)
    with torch.no_grad(), load(tmp_path / "d.vaeb", device="cpu") as vae:
        z = standard_normal(4 * 3, seed=1).reshape(4, 3)
        wanted = model(torch.from_numpy(z), torch.full((4,), 2))
        np.testing.assert_allclose(vae.sample(4, seed=1, condition=2), wanted, rtol=1e-4, atol=1e-5)
    assert verify(tmp_path / "d.vaeb").ok


def test_a_conditional_model_without_rows_takes_conditions(tmp_path: Path) -> None:
    model = Labelled()
    export_for_generation(
        model, tmp_path / "g.vaeb", shape=(6,), condition=np.array([0, 1, 2]), config=ExportConfig(layout="features")
    )
    with load(tmp_path / "g.vaeb", device="cpu") as vae:
        assert vae.sample(3, seed=0, condition=1).shape == (3, 6)
    assert verify(tmp_path / "g.vaeb").ok


def test_codes_are_counted_where_rows_are_given_and_not_sampled_where_none_are(
    tmp_path: Path, rows: np.ndarray
) -> None:
    config = ExportConfig(layout="features", allow_poor_fit=True)
    given = export_for_generation(Quantised(), tmp_path / "a.vaeb", rows=rows[:50], config=config)
    assert given.samples is not None
    without = export_for_generation(Quantised(), tmp_path / "b.vaeb", shape=(6,), config=config)
    assert without.samples is None
    with load(tmp_path / "b.vaeb", device="cpu") as vae:
        assert vae.decode(np.zeros((2, 3), np.int64)).shape == (2, 6)
        with pytest.raises(OptionError, match=r"cannot be sampled.*without rows"):
            vae.sample(1, seed=0)
    assert verify(tmp_path / "a.vaeb").ok
    assert verify(tmp_path / "b.vaeb").ok


@pytest.mark.parametrize("kind", [np.ndarray, list])
def test_probabilities_of_codes_are_the_prior_of_a_vq_model(tmp_path: Path, rows: np.ndarray, kind: type) -> None:
    table = np.full((1, 8), 1e-12)
    table[0, [2, 5]] = 0.5
    config = ExportConfig(layout="features", allow_poor_fit=True)
    prior = table if kind is np.ndarray else table.tolist()
    export_for_generation(Quantised(), tmp_path / "a.vaeb", rows=rows[:50], prior=prior, config=config)
    with load(tmp_path / "a.vaeb", device="cpu") as vae:
        drawn = vae.sample(40, seed=0)
        wanted = {vae.decode(np.array([[a, b, c]])).tobytes() for a in (2, 5) for b in (2, 5) for c in (2, 5)}
    assert {row[None].tobytes() for row in drawn} <= wanted


class _Pictures(nn.Module):
    """Mean and logvar are the two halves of one tensor; sizes are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 4, 2, 1))
        self.back = nn.Sequential(nn.ConvTranspose2d(2, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.body(x).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.back(z)

    def forward(self, x: Tensor) -> Tensor:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))


def test_height_and_width_are_free_where_that_is_asked_for(tmp_path: Path) -> None:
    config = ExportConfig(layout="nchw", dynamic_size=True)
    export_for_generation(_Pictures(), tmp_path / "g.vaeb", shape=(1, 16, 16), config=config)
    with load(tmp_path / "g.vaeb", device="cpu") as vae:
        assert vae.sample(2, seed=0, size=(24, 40)).shape == (2, 1, 24, 40)
    checked = verify(tmp_path / "g.vaeb")
    assert checked.ok
    assert len(checked.checks) == 3 + 3 * 3  # three outputs, at three further sizes
    with pytest.raises(OptionError, match=r"dynamic_size of a decoder alone"):
        export_for_generation(_decoder(), tmp_path / "d.vaeb", latent_shape=(3,), config=config)


def test_a_forecast_is_exported_for_generation_and_needs_its_targets_for_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Forecast().eval()
    x = np.random.default_rng(0).normal(size=(120, 12, 3)).astype(np.float32)
    config = ExportConfig(layout="time_features", false_positive_rate=0.05)
    with pytest.raises(AdaptError, match=r"A forecast is another row.*--target.*--for generation"):
        export(model, tmp_path / "s.vaeb", calibration=x, config=config)
    config = ExportConfig(layout="time_features")
    for given in ({"rows": x[:9]}, {"shape": (12, 3)}):
        report = export_for_generation(model, tmp_path / "g.vaeb", config=config, force=True, **given)
        assert report.fit is None
        assert any("compared with no targets" in line for line in report.evidence)
        with torch.no_grad(), load(tmp_path / "g.vaeb", device="cpu") as vae:
            assert (vae.manifest.input.shape, vae.manifest.output.shape) == ((12, 3), (4, 2))
            wanted = model.decode(model.encode(torch.from_numpy(x[:9]))[0])
            np.testing.assert_allclose(vae.reconstruct(x[:9]), wanted, rtol=1e-4, atol=1e-5)
            assert vae.sample(3, seed=0).shape == (3, 4, 2)
        assert verify(tmp_path / "g.vaeb").ok


class _Constant(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 0 * z[:, :1] + torch.tensor([1.0, 2.0, 3.0, 4.0])


class _NotFinite(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.log(z)


def test_a_decoder_that_ignores_its_latent_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(FitFailed, match=r"all the same row.*--allow-poor-fit.*Nothing was written"):
        export_for_generation(_Constant(), tmp_path / "d.vaeb", latent_shape=(4,))
    assert not (tmp_path / "d.vaeb").exists()
    config = ExportConfig(allow_poor_fit=True)
    report = export_for_generation(_Constant(), tmp_path / "d.vaeb", latent_shape=(4,), config=config)
    assert report.warnings == ("rows sampled from the prior are all the same row",)


def test_samples_that_are_not_finite_are_refused_whatever_is_allowed(tmp_path: Path) -> None:
    for config in (ExportConfig(), ExportConfig(allow_poor_fit=True)):
        with pytest.raises(FitFailed, match=r"of 64 rows sampled from the prior hold NaN or infinity"):
            export_for_generation(_NotFinite(), tmp_path / "d.vaeb", latent_shape=(4,), config=config)
    assert not list(tmp_path.iterdir())


def test_a_prior_of_another_scale_is_kept_and_another_spread_than_the_rows_is_said(
    tmp_path: Path, rows: np.ndarray
) -> None:
    prior = Prior("gaussian_mixture", "mine", means=np.zeros((1, 3)), stds=np.full((1, 3), 0.5))
    export_for_generation(_decoder(), tmp_path / "d.vaeb", latent_shape=(3,), prior=prior)
    with load(tmp_path / "d.vaeb", device="cpu") as vae:
        half = standard_normal(6, seed=0).reshape(2, 3) / 2
        np.testing.assert_array_equal(vae.sample(2, seed=0), vae.decode(half))
    config = ExportConfig(layout="features", allow_poor_fit=True)
    model = _plain()
    model.outer[2].weight.data *= 0.001
    report = export_for_generation(model, tmp_path / "g.vaeb", rows=rows[:20], config=config)
    assert any("times as far as the rows" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (ExportConfig(heads=("elbo",)), "heads"),
        (ExportConfig(compress="0.1"), "compress"),
        (ExportConfig(false_positive_rate=0.2), "false_positive_rate"),
        (ExportConfig(threshold=3.0), "threshold"),
    ],
)
def test_options_about_scores_are_refused_by_name(config: ExportConfig, named: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{named} is about scores"):
        export_for_generation(_plain(), tmp_path / "g.vaeb", shape=(6,), config=config)


def test_what_says_no_shape_or_two_is_refused(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(OptionError, match=r"--shape 1,28,28.*--latent-shape 16"):
        export_for_generation(_plain(), tmp_path / "g.vaeb")
    with pytest.raises(OptionError, match=r"rows say their own shape"):
        export_for_generation(_plain(), tmp_path / "g.vaeb", rows=rows, shape=(6,))
    config = ExportConfig(precisions=("fp32", "fp16"))
    with pytest.raises(OptionError, match=r"fp32 alone"):
        export_for_generation(_plain(), tmp_path / "g.vaeb", shape=(6,), config=config)
    with pytest.raises(OptionError, match=r"pass rows"):
        export_for_generation(_plain(), tmp_path / "g.vaeb", shape=(6,), prior="fitted")


class _WithEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(self.encoder(x)[:, :2]))


def test_a_whole_model_is_not_taken_for_a_decoder(tmp_path: Path) -> None:
    with pytest.raises(AdaptError, match=r"has the part 'encoder'.*shape= in place of latent_shape=.*decode=lambda"):
        export_for_generation(_WithEncoder(), tmp_path / "d.vaeb", latent_shape=(2,))
    export_for_generation(
        _WithEncoder(), tmp_path / "d.vaeb", latent_shape=(2,), decode=lambda m, z: torch.sigmoid(m.decoder(z))
    )


class _Noisy(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z + torch.randn_like(z)


class _OverTheBatch(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.softmax(z, 0)


@pytest.mark.parametrize(("model", "why"), [(_Noisy(), "draws random numbers"), (_OverTheBatch(), "batch axis")])
def test_a_decoder_whose_rows_are_not_its_latents_alone_is_refused(model: nn.Module, why: str, tmp_path: Path) -> None:
    with pytest.raises(AdaptError, match=why):
        export_for_generation(model, tmp_path / "d.vaeb", latent_shape=(4,))
