"""Every head of a bundle against its formula, computed in float64 from the module's own halves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.graphs.residuals import Smoothing, StructuralSimilarity, gradient_residual, peak, top_mean
from vae_edge_export.rows import drawn_to_hold_out
from vae_edge_runtime import VAE, CalibrationError, InputError, OptionError, load, standard_normal, verify
from vae_edge_runtime.format import heads

HEADS = tuple(name for name, head in heads.HEADS.items() if not head.images_only)
DRAWS = 5


class Halves(nn.Module):
    """A Gaussian VAE of 6 features with 3 latents."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.look, self.paint = nn.Linear(6, 6), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.look(x).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.paint(z)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(700, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "heads.vaeb"
    config = ExportConfig(heads=HEADS, draws=DRAWS, top_share=0.4, layout="features", false_positive_rate=0.05)
    export(Halves(), path, calibration=rows, scale_form="logvar", config=config)
    return path


@pytest.fixture(scope="module")
def vae(bundle: Path) -> VAE:
    return load(bundle, device="cpu")


@pytest.fixture(scope="module")
def parts(rows: np.ndarray) -> dict[str, Tensor]:
    module, x = Halves().double(), torch.from_numpy(rows).double()
    with torch.no_grad():
        mean, logvar = module.encode(x)
        noise = torch.from_numpy(standard_normal(DRAWS * 3, seed=0, stream=2)).double().reshape(1, DRAWS, 3)
        z = mean[:, None] + (logvar[:, None] / 2).exp() * noise
        squares = torch.square(x - module.decode(mean))
        drawn = torch.square(x[:, None] - module.decode(z.flatten(0, 1)).reshape(-1, DRAWS, 6)).sum(2)
    return {"mean": mean, "logvar": logvar, "z": z, "squares": squares, "drawn": drawn}


def test_heads_of_one_decode(vae: VAE, rows: np.ndarray, parts: dict[str, Tensor]) -> None:
    found = vae.score(rows, heads="all").heads
    mean, logvar, squares = parts["mean"], parts["logvar"], parts["squares"]
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
    wanted = {
        "elbo": squares.sum(1) + kl,
        "reconstruction": squares.sum(1),
        "kl": kl,
        "top": squares.sort(1, descending=True).values[:, :3].mean(1),  # 0.4 of 6, rounded up
        "peak": squares.max(1).values,
    }
    for head, values in wanted.items():
        np.testing.assert_allclose(found[head].score, values.numpy(), rtol=1e-5, atol=1e-6, err_msg=head)


def test_no_rows_have_no_scores_by_any_head(vae: VAE, rows: np.ndarray) -> None:
    found = vae.explain(rows[:0]).scores
    assert {head: (len(s.score), len(s.p_value)) for head, s in found.heads.items()} == dict.fromkeys(HEADS, (0, 0))


def test_a_stream_goes_on_where_the_guard_leaves_no_row_to_score(vae: VAE, rows: np.ndarray) -> None:
    broken = np.full(6, np.nan, np.float32)  # drift watches mahalanobis, which then has no row
    events = list(vae.stream([rows[0], broken, rows[1]]))
    assert [event.status for event in events] == ["ok", "invalid_input", "ok"]


def test_sampled_heads_are_those_of_the_written_down_noise(
    vae: VAE, rows: np.ndarray, parts: dict[str, Tensor]
) -> None:
    found = vae.score(rows, heads=("reconstruction_probability", "iwae")).heads
    np.testing.assert_allclose(found["reconstruction_probability"].score, parts["drawn"].mean(1), rtol=1e-5)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(parts["z"]).sum(2)
    scale = (parts["logvar"] / 2).exp()[:, None]
    posterior = torch.distributions.Normal(parts["mean"][:, None], scale).log_prob(parts["z"]).sum(2)
    bound = torch.logsumexp(prior - posterior - parts["drawn"], 1) - np.log(DRAWS)
    np.testing.assert_allclose(found["iwae"].score, -bound, rtol=1e-5)


def test_the_bound_of_more_draws_is_no_looser_on_average(vae: VAE, rows: np.ndarray) -> None:
    heads = vae.score(rows, heads="all").heads
    elbo_by_draws = heads["reconstruction_probability"].score + heads["kl"].score
    assert heads["iwae"].score.mean() < elbo_by_draws.mean()


def test_mahalanobis_is_the_distance_from_the_calibration_codes(
    vae: VAE, rows: np.ndarray, parts: dict[str, Tensor]
) -> None:
    kept = ~drawn_to_hold_out(len(rows))
    codes = parts["mean"].numpy()
    fitted = pytest.importorskip("sklearn.covariance").LedoitWolf().fit(codes[kept])
    exact = np.sqrt(fitted.mahalanobis(codes))
    np.testing.assert_allclose(vae.score(rows, heads="mahalanobis").heads["mahalanobis"].score, exact, rtol=1e-4)


def test_typicality_is_the_distance_from_the_mean_score(vae: VAE, rows: np.ndarray) -> None:
    found = vae.score(rows, heads=("typicality",))
    kept = ~drawn_to_hold_out(len(rows))
    exact = np.abs(found.score - found.score[kept].mean(dtype=np.float64))
    np.testing.assert_allclose(found.heads["typicality"].score, exact, rtol=1e-4, atol=1e-4)


def test_ensembles_combine_the_p_values_of_their_parts(vae: VAE, rows: np.ndarray) -> None:
    found = vae.score(rows, heads="all").heads
    parts = vae.manifest.score.parts
    assert set(parts) == set(HEADS) - {"kl", "fisher", "harmonic", "ranks"}
    p = np.stack([found[part].p_value for part in parts], axis=1)
    np.testing.assert_allclose(found["fisher"].score, -2 * np.log(p).sum(1), rtol=1e-5)
    order = np.argsort(found["harmonic"].score)
    np.testing.assert_array_equal(np.diff((1 / p).mean(1)[order]) >= -1e-4, True)
    np.testing.assert_allclose(found["ranks"].score, (1 - p).mean(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_keeps_its_promised_rate_on_its_calibration_rows(vae: VAE, rows: np.ndarray, head: str) -> None:
    kept = rows[~drawn_to_hold_out(len(rows))]
    found = vae.score(kept, heads=(head,)).heads[head]
    assert 0.03 <= found.is_anomaly.mean() <= 0.055
    assert found.threshold == vae.threshold_for(0.05, head=head)


@pytest.mark.parametrize("head", HEADS)
def test_a_row_alone_scores_as_in_a_batch_and_beside_nan(vae: VAE, rows: np.ndarray, head: str) -> None:
    some = rows[:70].copy()
    together = vae.score(some, heads=(head,)).heads[head].score
    alone = np.concatenate([vae.score(some[i : i + 1], heads=(head,)).heads[head].score for i in range(70)])
    # One step of a p-value is 1 in 561; elsewhere the engine may round another way.
    steps = head in ("fisher", "harmonic", "ranks")
    np.testing.assert_allclose(alone, together, rtol=2e-2 if steps else 1e-5, atol=1e-5)
    some[7] = np.nan
    beside = vae.score(some, heads=(head,))
    assert beside.status[7] == 1
    assert np.isnan(beside.heads[head].score[7])
    good = np.arange(70) != 7
    np.testing.assert_array_equal(beside.heads[head].score[good], together[good])


def test_thresholds_of_other_rates_by_either_method(vae: VAE) -> None:
    quantile, tail = vae.threshold_for(0.02), vae.threshold_for(0.02, method="tail")
    assert tail == pytest.approx(quantile, rel=0.1)  # where both can say, they agree
    assert vae.threshold_for(1e-4, method="tail") > 1.2 * quantile
    assert vae.threshold_for(1e-3, head="top", method="tail") > vae.threshold_for(0.02, head="top")
    with pytest.raises(CalibrationError, match="at least 9999"):
        vae.threshold_for(1e-4)
    with pytest.raises(OptionError, match="valid are conformal and tail"):
        vae.threshold_for(0.1, method="guess")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no head 'ssim'"):
        vae.threshold_for(0.1, head="ssim")


def test_discoveries_of_a_batch(vae: VAE, rows: np.ndarray) -> None:
    batch = rows[drawn_to_hold_out(len(rows))]
    batch[:20] *= 8
    named = vae.score(batch).discoveries(0.1)
    assert named[:20].sum() >= 18
    assert named[20:].mean() < 0.05


def test_only_what_was_asked_for_is_there(vae: VAE, rows: np.ndarray) -> None:
    assert list(vae.score(rows[:3]).heads) == ["elbo"]
    assert list(vae.score(rows[:3], heads="peak").heads) == ["elbo", "peak"]
    assert list(vae.score(rows[:3], heads=("fisher",)).heads) == ["elbo", "fisher"]
    with pytest.raises(OptionError, match="no head 'ssim'; it has elbo, "):
        vae.score(rows[:3], heads=("ssim",))


def test_golden_vectors_cover_the_sampled_graph(bundle: Path) -> None:
    found = verify(bundle)
    assert found.ok
    assert {(c.graph, c.output) for c in found.checks} >= {("sampled", "iwae"), ("score", "top"), ("score", "mean")}


def test_the_anatomy_adds_up(vae: VAE, rows: np.ndarray) -> None:
    found = vae.explain(rows[:20])
    assert found.latents is not None
    np.testing.assert_allclose(found.features.sum(1), found.scores.reconstruction, rtol=1e-5)
    np.testing.assert_allclose(found.latents.sum(1), found.scores.kl, rtol=1e-5, atol=1e-6)
    row = found.to_dict(3)
    assert row["score"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-6)
    assert row["top"][0]["name"] == str(int(found.features[3].argmax()))
    assert row["top"][0]["share"] == pytest.approx(float(found.features[3].max() / found.features[3].sum()))
    assert row["draws"] == DRAWS
    assert row["heads"].keys() == set(HEADS)


@pytest.mark.parametrize(
    ("heads", "problem"),
    [
        (("kl",), "'kl' cannot be the default head"),
        (("mahalanobis",), "cannot be the default head"),
        (("elbo", "elbo"), "named twice"),
        (("elbo", "fisher"), "at least two other heads"),
        (("elbo", "kl", "fisher"), "at least two other heads"),
        (("elbo", "depth"), r"heads\[1\] is 'depth'; valid are elbo, "),
    ],
)
def test_heads_that_cannot_be_are_refused(heads: tuple[str, ...], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        ExportConfig(heads=heads)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["elbo", "kl", "iwae"])
def test_an_autoencoder_has_no_head_of_a_posterior(head: str, rows: np.ndarray, tmp_path: Path) -> None:
    model = nn.Linear(6, 2)
    back = nn.Linear(2, 6)
    with pytest.raises(OptionError, match="needs a Gaussian posterior"):
        export(
            nn.ModuleDict({"encoder": model, "decoder": back}), tmp_path / "a.vaeb", calibration=rows,
            encode=lambda m, x: m["encoder"](x), decode=lambda m, z: m["decoder"](z),
            config=ExportConfig(heads=("reconstruction", head)),  # type: ignore[arg-type]
        )  # fmt: skip
    assert not (tmp_path / "a.vaeb").exists()


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.look, self.paint = nn.Linear(3 * 16 * 16, 8), nn.Linear(4, 3 * 16 * 16)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.look(x.flatten(1)).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.paint(z)).reshape(-1, 3, 16, 16)


def test_image_heads_find_the_small_defect_that_the_sum_drowns(images: np.ndarray, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(128, 6, size=(250, 16, 16, 3)).clip(0, 255).astype(np.uint8)
    config = ExportConfig(
        heads=("elbo", "top", "peak", "ssim", "gradient"), map_sigma=1.0, layout="nhwc", scale=(255.0,), offset=(0.0,)
    )
    report = export(Pictures(), tmp_path / "p.vaeb", calibration=x, scale_form="logvar", config=config)
    assert max(p.max_relative for p in report.parity.values()) < 1e-4
    defect = x[:50].copy()
    defect[:, 5:7, 5:7] = 255
    with load(tmp_path / "p.vaeb") as vae:
        good, bad = vae.score(x[:50], heads="all", maps=True), vae.score(defect, heads="all", maps=True)
        assert (bad.heads["peak"].score > good.heads["peak"].score).mean() == 1.0
        assert bad.heads["peak"].is_anomaly.mean() > 0.9
        place = np.unravel_index(bad.map[0].sum(-1).argmax(), (16, 16))
        assert {int(i) for i in place} <= {5, 6}
        np.testing.assert_allclose(bad.map.sum(-1).max((1, 2)), bad.heads["peak"].score, rtol=1e-5)
        shown = vae.reconstruct(defect)
        low, high = vae.manifest.input.low, vae.manifest.input.high
    a, b = (torch.from_numpy(np.moveaxis(rows, 3, 1) / np.float32(255.0)) for rows in (defect, shown))
    similarity = StructuralSimilarity((high - low) / 255.0, (3, 16, 16))
    np.testing.assert_allclose(bad.heads["ssim"].score, similarity(a, b).numpy(), rtol=1e-4)
    np.testing.assert_allclose(bad.heads["gradient"].score, gradient_residual(a, b).numpy(), rtol=1e-4)


def test_image_heads_are_for_images(rows: np.ndarray, tmp_path: Path) -> None:
    config = ExportConfig(heads=("elbo", "ssim"), layout="features")
    with pytest.raises(OptionError, match="head 'ssim' is for images, the layout is 'features'"):
        export(Halves(), tmp_path / "a.vaeb", calibration=rows, scale_form="logvar", config=config)
    with pytest.raises(OptionError, match="have no neighbours"):
        export(Halves(), tmp_path / "a.vaeb", calibration=rows, scale_form="logvar",
               config=ExportConfig(map_sigma=1.0, layout="features"))  # fmt: skip


def test_structural_similarity_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 2, 15, 13, generator=generator, dtype=torch.float64)
    y = (x + 0.2 * torch.rand(2, 2, 15, 13, generator=generator, dtype=torch.float64)).clamp(0, 1)
    steps = np.arange(-5, 6)
    window = np.exp(-0.5 * (steps[:, None] ** 2 + steps[None] ** 2) / 1.5**2)
    window /= window.sum()
    exact = np.zeros(2)
    for n, c, i, j in np.ndindex(2, 2, 5, 3):
        a, b = (t[n, c, i : i + 11, j : j + 11].numpy() for t in (x, y))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        ssim = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
        exact[n] += ssim / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)) / 30
    module = StructuralSimilarity(1.0, (2, 15, 13)).double()
    np.testing.assert_allclose(module(x, y).numpy(), 1 - exact, rtol=1e-6)
    assert float(module(x, x).abs().max()) < 1e-12


def test_smoothing_keeps_what_is_flat_and_the_sum_of_what_is_inside() -> None:
    smooth = Smoothing(1.0, "nchw", (1, 12, 12))
    assert torch.allclose(smooth(torch.full((1, 1, 12, 12), 3.0)), torch.tensor(3.0))
    point = torch.zeros(1, 1, 12, 12)
    point[0, 0, 6, 5] = 1.0
    assert float(smooth(point).sum()) == pytest.approx(1.0, abs=1e-6)
    steps = Smoothing(2.0, "time_features", (40, 3))
    line = torch.zeros(1, 40, 3)
    line[0, 20, 1] = 1.0
    found = steps(line)
    assert float(found[0, :, [0, 2]].abs().max()) == 0.0  # features are no neighbours of each other
    assert float(found[0, 20, 1]) == pytest.approx(0.2, abs=0.01)  # 1 / (2 sqrt(2 pi))
    with pytest.raises(OptionError, match="beyond the row"):
        Smoothing(5.0, "time_features", (10, 3))


def test_pooling_and_gradients_by_hand() -> None:
    share = torch.tensor([[1.0, 9.0, 3.0, 5.0]])
    assert top_mean(share, 0.5).item() == 7.0
    assert top_mean(share, 0.01).item() == peak(share).item() == 9.0
    x = torch.tensor([[[[0.0, 2.0], [1.0, 0.0]]]])
    assert gradient_residual(x, torch.zeros_like(x)).item() == 1 + 4 + 4 + 1
    assert gradient_residual(x, x + 7.0).item() == 0.0


def test_conditional_models_sample_per_draw(tmp_path: Path) -> None:
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.look, self.paint = nn.Linear(7, 6), nn.Linear(4, 6)

    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    y = np.random.default_rng(1).normal(size=(200, 1)).astype(np.float32)
    config = ExportConfig(heads=("elbo", "reconstruction_probability"), draws=3, layout="features")
    export(
        Conditional(), tmp_path / "c.vaeb", calibration=x, condition=y, config=config, scale_form="logvar",
        encode=lambda m, x, c: tuple(m.look(torch.cat([x, c], 1)).chunk(2, 1)),
        decode=lambda m, z, c: m.paint(torch.cat([z, c], 1)),
    )  # fmt: skip
    model = Conditional()
    with torch.no_grad():
        mean, logvar = model.look(torch.from_numpy(np.concatenate([x, y], 1))).chunk(2, 1)
        noise = torch.from_numpy(standard_normal(9, seed=0, stream=2)).reshape(1, 3, 3)
        z = mean[:, None] + (logvar[:, None] / 2).exp() * noise
        c = torch.from_numpy(y)[:, None].expand(-1, 3, -1)
        exact = torch.square(torch.from_numpy(x)[:, None] - model.paint(torch.cat([z, c], 2))).sum(2).mean(1)
    with load(tmp_path / "c.vaeb") as vae:
        found = vae.score(x, condition=y, heads="all").heads["reconstruction_probability"]
        np.testing.assert_allclose(found.score, exact.numpy(), rtol=1e-5)
        with pytest.raises(InputError, match="conditional"):
            vae.score(x, heads="all")
