"""Bundles of every kind of latent, on the runtime: numbers against the module itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handmade
import handmade_codes
import numpy as np
import pytest
import torch

from vae_edge_export import ExportConfig, Prior, export
from vae_edge_export.rows import drawn_to_hold_out
from vae_edge_runtime import VAE, ExportFailed, InputError, OptionError, Status, load, verify

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(150, handmade.FEATURES)).astype(np.float32)
PICTURES = RNG.random((150, 1, 16, 16)).astype(np.float32)
LABELS = RNG.integers(0, 5, 150)
VQ: dict[str, Any] = {"encode": lambda m, x: m.quantise(x), "decode": lambda m, i: m.paint(i)}


def made(kind: Any) -> Any:
    torch.manual_seed(0)
    return kind().eval()


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VAE, Any]]:
    path, model = tmp_path_factory.mktemp("codes") / "vq.vaeb", made(handmade_codes.Quantised)
    export(model, path, calibration=PICTURES, **VQ)
    assert verify(path).ok
    with load(path, device="cpu", threads=1) as vae:
        yield vae, model


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VAE, Any]]:
    path, model = tmp_path_factory.mktemp("conditional") / "c.vaeb", made(handmade.LabelConditional)
    labels = (np.arange(150) % 2).astype(np.int8)
    report = export(model, path, calibration=ROWS, condition=LABELS, evaluation=(ROWS, labels, LABELS))
    assert report.verdict.auroc == report.verdict.auroc_torch
    assert verify(path).ok
    with load(path, device="cpu", threads=1) as vae:
        yield vae, model


def test_codes_are_the_modules_indices_and_z_q(codes: tuple[VAE, Any]) -> None:
    vae, model = codes
    found = vae.encode(PICTURES[:9])
    indices, z_q = model.quantise(torch.from_numpy(PICTURES[:9]))
    assert found.indices is not None
    np.testing.assert_array_equal(found.indices, indices.numpy())
    np.testing.assert_allclose(found.mean, z_q.detach().numpy(), rtol=1e-6)
    assert found.logvar is None
    painted = model.paint(indices).detach().numpy()
    for z in (found, found.indices):
        np.testing.assert_allclose(vae.decode(z), painted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(vae.reconstruct(PICTURES[:9]), painted, rtol=1e-4, atol=1e-6)


def test_a_vq_score_is_the_squared_error_and_has_no_kl(codes: tuple[VAE, Any]) -> None:
    vae, model = codes
    x = torch.from_numpy(PICTURES[:9])
    wanted = (x - model.paint(model.quantise(x)[0])).square().flatten(1).sum(1).detach().numpy()
    found = vae.score(PICTURES[:9], maps=True)
    np.testing.assert_allclose(found.score, wanted, rtol=1e-5)
    assert found.kl is None
    np.testing.assert_allclose(found.map.reshape(9, -1).sum(1), found.reconstruction, rtol=1e-5)


def test_vq_samples_use_only_codes_that_calibration_used_there(codes: tuple[VAE, Any]) -> None:
    vae, model = codes
    used = model.quantise(torch.from_numpy(PICTURES[~drawn_to_hold_out(150)]))[0].numpy()
    from vae_edge_runtime.sampling.prior import draw

    member = vae.manifest.latent.prior.member
    assert member is not None
    drawn = draw(vae.manifest.latent, vae.read_member(member), 500, seed=3, temperature=1.0)
    for row, column in np.ndindex(4, 4):
        assert set(drawn[:, row, column]) <= set(used[:, row, column])
    np.testing.assert_array_equal(vae.sample(5, seed=3), vae.decode(drawn[:5]))


def test_what_codes_cannot_do_says_so(codes: tuple[VAE, Any]) -> None:
    vae, _ = codes
    with pytest.raises(OptionError, match="no straight line"):
        vae.interpolate(PICTURES[0], PICTURES[1])
    with pytest.raises(OptionError, match="no temperature"):
        vae.sample(1, seed=0, temperature=0.7)
    with pytest.raises(OptionError, match="no spread"):
        _ = vae.encode(PICTURES[:1]).std
    with pytest.raises(InputError, match="indices from 0 to 12; the codebook has 0 to 11"):
        vae.decode(np.array([[[0] * 4] * 3 + [[12] * 4]]))
    with pytest.raises(InputError, match="float32, the model takes int64"):
        vae.decode(np.zeros((1, 4, 4), np.float32))


def test_a_row_that_is_not_finite_gets_no_index(codes: tuple[VAE, Any]) -> None:
    vae, _ = codes
    x = PICTURES[:3].copy()
    x[1, 0, 5, 5] = np.nan
    found = vae.encode(x)
    assert found.indices is not None
    assert found.status.tolist() == [Status.OK, Status.NON_FINITE_INPUT, Status.OK]
    assert (found.indices[1] == -1).all()
    np.testing.assert_array_equal(found.indices[[0, 2]], vae.encode(PICTURES[[0, 2]]).indices)


def test_a_supplied_prior_over_codes_is_drawn_from(tmp_path: Path) -> None:
    table = np.zeros((1, 12))
    table[0, 7] = 1
    export(made(handmade_codes.Quantised), tmp_path / "v.vaeb", calibration=PICTURES, prior=table, **VQ)
    with load(tmp_path / "v.vaeb", device="cpu") as vae:
        assert vae.manifest.latent.prior.source == "supplied at export"
        np.testing.assert_array_equal(vae.sample(2, seed=0), vae.decode(np.full((2, 4, 4), 7)))


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ("standard_normal", "a VQ model has codes"), (np.ones((3, 12)), r"\(3, 12\); this model takes \(1, 12\)"),
        (Prior("gaussian_mixture", "", means=np.zeros((1, 2)), stds=np.ones((1, 2))), "a latent is"),
    ],
)  # fmt: skip
def test_a_prior_that_does_not_fit_is_refused(prior: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        export(made(handmade_codes.Quantised), tmp_path / "v.vaeb", calibration=PICTURES, prior=prior, **VQ)
    assert list(tmp_path.iterdir()) == []


def test_a_condition_changes_every_answer_as_it_changes_the_modules(conditional: tuple[VAE, Any]) -> None:
    vae, model = conditional
    x, y = torch.from_numpy(ROWS[:7]), torch.from_numpy(LABELS[:7])
    mean, logvar = model.encode(x, y)
    found = vae.encode(ROWS[:7], condition=LABELS[:7])
    np.testing.assert_allclose(found.mean, mean.detach().numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.std, torch.exp(logvar / 2).detach().numpy(), rtol=1e-4)
    x_hat = model.decode(mean, y)
    np.testing.assert_allclose(vae.decode(found, condition=LABELS[:7]), x_hat.detach().numpy(), rtol=1e-4, atol=1e-5)
    squares = (x - x_hat).square().sum(1).detach().numpy()
    np.testing.assert_allclose(vae.score(ROWS[:7], condition=LABELS[:7]).reconstruction, squares, rtol=1e-4)
    one, other = (vae.sample(3, seed=1, condition=label) for label in (0, 4))
    assert np.abs(one - other).max() > 1e-3


def test_rows_and_conditions_are_cut_together(conditional: tuple[VAE, Any]) -> None:
    vae, _ = conditional
    whole = vae.score(ROWS, condition=LABELS).score
    alone = np.concatenate([vae.score(ROWS[i : i + 1], condition=LABELS[i : i + 1]).score for i in range(150)])
    np.testing.assert_allclose(whole, alone, rtol=1e-5)


def test_a_conditional_model_asks_for_its_condition(conditional: tuple[VAE, Any]) -> None:
    vae, _ = conditional
    for call in (
        lambda: vae.score(ROWS[:2]), lambda: vae.encode(ROWS[:2]), lambda: vae.sample(2, seed=0),
        lambda: vae.decode(np.zeros((2, 2), np.float32)), lambda: vae.interpolate(ROWS[0], ROWS[1]),
    ):  # fmt: skip
        with pytest.raises(InputError, match="pass condition=, a label"):
            call()
    with pytest.raises(InputError, match="labels 0 to 4"):
        vae.score(ROWS[:2], condition=9)


def test_a_hierarchical_model_lies_flat_and_comes_apart_again(tmp_path: Path) -> None:
    model = made(handmade.Ladder)
    export(model, tmp_path / "h.vaeb", calibration=PICTURES)
    with load(tmp_path / "h.vaeb", device="cpu") as vae:
        assert vae.manifest.latent.groups == ((2, 4, 4), (3,))
        pairs = model.encode(torch.from_numpy(PICTURES[:4]))
        found = vae.encode(PICTURES[:4])
        assert [part.shape for part in found.means] == [(4, 2, 4, 4), (4, 3)]
        for part, (mean, _) in zip(found.means, pairs, strict=True):
            np.testing.assert_allclose(part, mean.detach().numpy(), rtol=1e-4, atol=1e-6)
        kl = sum(
            (0.5 * (m.square() + v.exp() - 1 - v)).flatten(1).sum(1) for m, v in pairs
        )  # of independent latents it adds up
        np.testing.assert_allclose(vae.score(PICTURES[:4]).kl, kl.detach().numpy(), rtol=1e-4)
        wanted = model.decode([m for m, _ in pairs]).detach().numpy()
        np.testing.assert_allclose(vae.reconstruct(PICTURES[:4]), wanted, rtol=1e-4, atol=1e-5)


def test_an_autoencoder_is_sampled_from_a_gaussian_fitted_to_its_codes(tmp_path: Path) -> None:
    model = made(handmade.PlainAutoencoder)
    export(model, tmp_path / "a.vaeb", calibration=ROWS)
    with load(tmp_path / "a.vaeb", device="cpu") as vae:
        assert vae.score(ROWS[:2]).kl is None
        assert vae.encode(ROWS[:2]).logvar is None
        codes = vae.encode(ROWS[~drawn_to_hold_out(150)]).mean
        from vae_edge_runtime.sampling.prior import draw

        member = vae.manifest.latent.prior.member
        assert member is not None
        drawn = draw(vae.manifest.latent, vae.read_member(member), 20_000, seed=0, temperature=1.0)
        np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.02)
        np.testing.assert_allclose(drawn.std(0), codes.std(0), rtol=0.03)
        assert len(vae.interpolate(ROWS[0], ROWS[1], steps=3)) == 3


def test_a_vae_may_be_sampled_from_a_prior_fitted_afterwards(tmp_path: Path) -> None:
    """Its KL stays the one to N(0, I) that it was trained with."""
    model = made(handmade.Logvar)
    export(model, tmp_path / "f.vaeb", calibration=ROWS, prior="fitted")
    with load(tmp_path / "f.vaeb", device="cpu") as vae:
        assert vae.manifest.latent.prior.kind == "gaussian_mixture"
        mean, logvar = (t.detach() for t in model.encode(torch.from_numpy(ROWS[:3])))
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)
        np.testing.assert_allclose(vae.score(ROWS[:3]).kl, kl.numpy(), rtol=1e-4)
        assert vae.sample(5, seed=1).shape == (5, 6)


def test_without_a_prior_there_are_no_samples(tmp_path: Path) -> None:
    export(made(handmade.PlainAutoencoder), tmp_path / "a.vaeb", calibration=ROWS, prior="none")
    with load(tmp_path / "a.vaeb", device="cpu") as vae, pytest.raises(OptionError, match="prior='none'"):
        vae.sample(1, seed=0)


def test_a_kl_that_does_not_exist_is_not_weighed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no KL in closed form"):
        export(
            made(handmade.PlainAutoencoder), tmp_path / "a.vaeb", calibration=ROWS, config=ExportConfig(kl_weight=1.0)
        )


def test_a_distance_and_a_threshold_the_model_brings(tmp_path: Path) -> None:
    model = made(handmade.PlainAutoencoder)
    report = export(model, tmp_path / "a.vaeb", calibration=ROWS, config=ExportConfig(transform="sqrt", threshold=2.5))
    with load(tmp_path / "a.vaeb", device="cpu") as vae:
        found = vae.score(ROWS)
        wanted = (torch.from_numpy(ROWS) - model(torch.from_numpy(ROWS))).norm(dim=1).detach().numpy()
        np.testing.assert_allclose(found.score, wanted, rtol=1e-5)
        np.testing.assert_allclose(found.score**2, found.reconstruction, rtol=1e-5)
        assert found.threshold == 2.5
        kept = found.score[~drawn_to_hold_out(150)]
        assert report.calibration.source == "model"
        assert report.calibration.false_positive_rate == pytest.approx((1 + (kept > 2.5).sum()) / 121)


def test_a_model_only_the_older_exporter_knows_says_so(tmp_path: Path) -> None:
    report = export(made(handmade_codes.Distances), tmp_path / "d.vaeb", calibration=PICTURES, **VQ)
    assert any("traced by the legacy exporter: encode" in line for line in report.evidence)
    assert max(figure.max_relative for figure in report.parity.values()) < 1e-5


def test_the_older_exporter_may_not_freeze_a_batch_size(tmp_path: Path) -> None:
    class Frozen(handmade_codes.Distances):
        def quantise(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            indices, z_q = super().quantise(x)
            return indices, z_q + torch.zeros(int(x.shape[0]), 1, 1, 1)

    with pytest.raises(ExportFailed, match=r"frozen to a batch of 3 rows.*without int\(\)"):
        export(made(Frozen), tmp_path / "f.vaeb", calibration=PICTURES, **VQ)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("evaluated", [False, True])
def test_rows_that_are_no_classes_are_refused(evaluated: bool, tmp_path: Path) -> None:
    good = RNG.integers(0, 8, ROWS.shape).astype(np.float32)
    bad = good.copy()
    bad[3, 2] = 8
    options: dict[str, Any] = {"calibration": bad}
    if evaluated:
        options = {"calibration": good, "evaluation": (bad, np.arange(150) % 2)}
    with pytest.raises(InputError, match=r"whole numbers from 0 to 7.*from 0 to 8"):
        export(made(handmade.Discrete), tmp_path / "d.vaeb", config=ExportConfig(likelihood="categorical"), **options)


@pytest.mark.parametrize("likelihood", ["laplace", "beta", "categorical"])
def test_other_likelihoods_score_as_they_should(likelihood: Any, tmp_path: Path) -> None:
    kind = {"laplace": handmade.Logvar, "beta": handmade.BetaLikelihood, "categorical": handmade.Discrete}[likelihood]
    x = {"laplace": ROWS, "beta": RNG.random(ROWS.shape).astype(np.float32),
         "categorical": RNG.integers(0, 8, ROWS.shape).astype(np.uint8)}[likelihood]  # fmt: skip
    model = made(kind)
    export(model, tmp_path / "l.vaeb", calibration=x, config=ExportConfig(likelihood=likelihood))
    rows = torch.from_numpy(x[:6].astype(np.float32))
    out = model.decode(model.encode(rows)[0])
    wanted = {
        "laplace": lambda: torch.distributions.Laplace(out, 1.0).log_prob(rows),
        "beta": lambda: torch.distributions.Beta(*out).log_prob(rows),
        "categorical": lambda: torch.distributions.Categorical(logits=out.movedim(1, -1)).log_prob(rows),
    }[likelihood]()
    with load(tmp_path / "l.vaeb", device="cpu") as vae:
        found = vae.score(x[:6]).reconstruction
        np.testing.assert_allclose(found, -wanted.sum(1).detach().numpy(), rtol=2e-5, atol=2e-5)
        if likelihood == "beta":  # rows in other units, such as 0 to 255, are no normal ones
            mixed = vae.score(np.concatenate([x[:2], 255 * x[2:4], x[4:6]]))
            assert mixed.status.tolist() == [0, 0, *[Status.NON_FINITE_OUTPUT] * 2, 0, 0]
            np.testing.assert_array_equal(mixed.reconstruction[[0, 1, 4, 5]], found[[0, 1, 4, 5]])
        if likelihood == "categorical":
            assert set(np.unique(vae.sample(20, seed=0))) <= set(range(8))
