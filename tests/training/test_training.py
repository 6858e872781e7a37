from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_edge.models import ModelConfig
from vae_edge.training import EpochReport, TrainConfig, default_units, load_run, loop, train
from vae_edge.training.losses import annealed_beta, kl_nats, kl_with_free_bits, reconstruction_nats
from vae_edge_runtime import DataError, InputError, OptionError, StorageError

MODEL = ModelConfig(kind="mlp", input_shape=(6,), latent_dim=2, width=16, depth=1)
CONFIG = TrainConfig(model=MODEL, epochs=4, batch_size=32, learning_rate=1e-2, seed=3)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Six features driven by two factors, with a little noise."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(300, 6))).astype(np.float32)


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_training_lowers_the_loss_it_reports(rows: np.ndarray, tmp_path: Path) -> None:
    seen: list[EpochReport] = []
    result = train(dataclasses.replace(CONFIG, epochs=15), rows, out=tmp_path / "run", progress=seen.append)
    assert tuple(seen) == result.epochs
    assert result.best_validation_loss < 0.7 * seen[0].validation_loss
    assert result.best_validation_loss == min(e.validation_loss for e in seen)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 16))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(rows: np.ndarray, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(name))  # the global generator has no say
        train(dataclasses.replace(CONFIG, seed=seed), rows, out=tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(
    rows: np.ndarray, tmp_path: Path, stop_after: int
) -> None:
    class Stop(Exception):
        pass

    def interrupt(epoch: EpochReport) -> None:
        if epoch.epoch == stop_after:
            raise Stop

    train(CONFIG, rows, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(CONFIG, rows, out=tmp_path / "parts", progress=interrupt)
    train(CONFIG, rows, out=tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert (tmp_path / "parts" / "checkpoint.safetensors").exists()


def stopped_in_epoch(epoch: int, config: TrainConfig, rows: np.ndarray, out: Path, *, force: bool = False) -> None:
    """Train until Ctrl-C comes in the middle of an epoch."""
    validate, calls = loop._validate, iter(range(1, epoch + 1))

    def interrupted(*args: Any) -> tuple[float, float]:
        if next(calls) == epoch:
            raise KeyboardInterrupt
        return validate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, rows, out=out, force=force)


def test_ctrl_c_costs_the_running_epoch_only(rows: np.ndarray, tmp_path: Path) -> None:
    train(CONFIG, rows, out=tmp_path / "whole")
    stopped_in_epoch(3, CONFIG, rows, tmp_path / "parts")
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 2
    result = train(CONFIG, rows, out=tmp_path / "parts", resume=True)
    assert [e.epoch for e in result.epochs] == [1, 2, 3, 4]
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_ctrl_c_in_the_first_epoch_leaves_a_folder_that_can_be_trained_in(rows: np.ndarray, tmp_path: Path) -> None:
    stopped_in_epoch(1, CONFIG, rows, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    assert len(train(CONFIG, rows, out=tmp_path / "run").epochs) == CONFIG.epochs


def test_a_forced_run_replaces_the_old_one_whole_or_not_at_all(rows: np.ndarray, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(CONFIG, rows, out=run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    other = dataclasses.replace(CONFIG, scale=(9.0,), seed=4)
    stopped_in_epoch(1, other, rows, run, force=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    stopped_in_epoch(2, other, rows, run, force=True)
    train(other, rows, out=tmp_path / "other")
    train(other, rows, out=run, resume=True)
    assert weights(run) == weights(tmp_path / "other")


def test_a_loss_that_breaks_in_the_last_step_is_not_saved(
    rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_validate", lambda *args: (math.nan, 0.0))
    with pytest.raises(DataError, match="validation loss became nan in epoch 1"):
        train(CONFIG, rows, out=tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_loading_a_run_leaves_the_global_generator_alone(rows: np.ndarray, tmp_path: Path) -> None:
    train(CONFIG, rows, out=tmp_path / "run")
    before = torch.get_rng_state()
    load_run(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_early_stopping_keeps_the_best_epoch(rows: np.ndarray, tmp_path: Path) -> None:
    wild = dataclasses.replace(CONFIG, epochs=60, learning_rate=0.1, patience=3)
    result = train(wild, rows, out=tmp_path / "run")
    assert result.stopped_early
    assert len(result.epochs) == result.best_epoch + 3


def test_load_run_gives_the_model_and_the_export_options(rows: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, layout="features", offset=(1.0,) * 6, scale=(2.0,) * 6, names=tuple("abcdef"))
    train(config, rows, out=tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.config == config
    assert not run.model.training
    assert run.export_options == {
        "likelihood": "mse", "variance": None, "logits": False, "layout": "features",
        "offset": (1.0,) * 6, "scale": (2.0,) * 6, "names": tuple("abcdef"),
    }  # fmt: skip


def test_default_units_are_255_for_bytes_and_z_scores_for_floats() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 2, 5, 4)) * [[[3.0]], [[0.5]]] + [[[7.0]], [[-1.0]]]).astype(np.float32)
    assert default_units(x.astype(np.uint8), "nchw", "mse") == ((0.0,), (255.0,))
    assert default_units(x, "nchw", "bernoulli") == ((0.0,), (1.0,))
    offset, scale = default_units(x, "nchw", "gaussian")
    assert offset == pytest.approx((7.0, -1.0), abs=0.1)
    assert scale == pytest.approx((3.0, 0.5), rel=0.05)
    assert default_units(x.transpose(0, 2, 3, 1), "nhwc", "mse")[1] == pytest.approx(scale, rel=1e-6)
    assert default_units(x, "any", "mse")[1] == pytest.approx((x.std(dtype=np.float64),), rel=1e-6)
    x[:, 1] = 4.0
    assert default_units(x, "nchw", "mse")[1][1] == 1.0


def test_units_chosen_in_training_are_those_of_the_export(rows: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, layout="features")
    train(config, rows, out=tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (run.export_options["offset"], run.export_options["scale"]) == default_units(rows, "features", "mse")
    train(config, rows, out=tmp_path / "run", resume=True)
    with pytest.raises(DataError, match="other rows"):
        train(config, rows + 1, out=tmp_path / "run", resume=True)


def test_offset_or_scale_alone_leaves_the_other_neutral() -> None:
    assert TrainConfig(model=MODEL, scale=(255.0,)).offset == (0.0,)
    assert TrainConfig(model=MODEL, offset=(1.0, 2.0)).scale == (1.0, 1.0)


def test_no_file_of_a_run_is_a_pickle(rows: np.ndarray, tmp_path: Path) -> None:
    train(CONFIG, rows, out=tmp_path / "run")
    for path in (tmp_path / "run").iterdir():
        assert path.suffix in (".json", ".jsonl", ".safetensors")
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"PK")


@pytest.mark.parametrize(
    ("change", "x", "error", "said"),
    [
        ({}, np.zeros((50, 5), np.float32), InputError, r"\(5,\)"),
        ({}, np.arange(300.0).reshape(50, 6) / 1e3 + 1.7e9, InputError, "float32 keeps 1 different values of 50 rows"),
        ({}, np.zeros((50, 6), np.float32), InputError, "one value only in column 0,column 1"),
        ({}, np.full((50, 6), np.nan, np.float32), InputError, "row 0"),
        ({}, np.zeros((2, 6), np.float32), InputError, "too few"),
        ({}, np.zeros((0, 6), np.float32), InputError, "too few"),
        (
            {"model": dataclasses.replace(MODEL, likelihood="bernoulli")},
            np.full((50, 6), 3, np.float32),
            InputError,
            r"\[0, 1\]",
        ),
        ({"learning_rate": 1e30}, np.eye(300, 6, dtype=np.float32), DataError, "lower the learning rate"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(
    tmp_path: Path, change: dict[str, Any], x: np.ndarray, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        train(dataclasses.replace(CONFIG, **change), x, out=tmp_path / "run")


def test_a_run_is_not_overwritten_nor_resumed_as_another(rows: np.ndarray, tmp_path: Path) -> None:
    train(CONFIG, rows, out=tmp_path / "run")
    before = weights(tmp_path / "run")
    with pytest.raises(OptionError, match="resume=True"):
        train(CONFIG, rows, out=tmp_path / "run")
    with pytest.raises(OptionError, match="another seed"):
        train(dataclasses.replace(CONFIG, seed=9), rows, out=tmp_path / "run", resume=True)
    with pytest.raises(OptionError, match="pass one of them"):
        train(CONFIG, rows, out=tmp_path / "run", resume=True, force=True)
    assert weights(tmp_path / "run") == before


def test_a_file_where_the_run_folder_should_be_is_refused_before_training(rows: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match="name another"):
        train(CONFIG, rows, out=tmp_path / "run")


def test_a_damaged_checkpoint_is_refused_by_name(rows: np.ndarray, tmp_path: Path) -> None:
    train(CONFIG, rows, out=tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        checkpoint.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"checkpoint\.safetensors is damaged.*--force"):
            train(CONFIG, rows, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", ["config.json", "weights.safetensors"])
def test_damaged_runs_are_refused_by_name(rows: np.ndarray, tmp_path: Path, damage: str) -> None:
    train(CONFIG, rows, out=tmp_path / "run")
    (tmp_path / "run" / damage).write_bytes(b"{}")
    with pytest.raises(DataError, match=damage):
        load_run(tmp_path / "run")
    with pytest.raises(DataError, match="no run folder"):
        load_run(tmp_path)


def test_reconstruction_terms_are_torchs_log_densities() -> None:
    x, x_hat = torch.rand(4, 6), torch.rand(4, 6).clamp(0.1, 0.9)
    logvar = torch.randn(4, 6)

    def config(**change: Any) -> TrainConfig:
        return dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, **change))

    normal = torch.distributions.Normal
    for found, expected in (
        (reconstruction_nats(x, x_hat, None, config()), (x - x_hat).square().sum(1)),
        (
            reconstruction_nats(x, x_hat, None, config(likelihood="bernoulli")),
            torch.nn.functional.binary_cross_entropy_with_logits(x_hat, x, reduction="none").sum(1),
        ),
        (
            reconstruction_nats(x, x_hat, None, config(likelihood="gaussian", variance=0.25)),
            -normal(x_hat, 0.5).log_prob(x).sum(1),
        ),
        (
            reconstruction_nats(x, x_hat, logvar, config(likelihood="gaussian")),
            -normal(x_hat, (0.5 * logvar).exp()).log_prob(x).sum(1),
        ),
    ):
        torch.testing.assert_close(found, expected)


def test_kl_is_torchs_and_free_bits_are_free() -> None:
    mean, logvar = torch.randn(50, 3), torch.randn(50, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_nats(mean, logvar), expected.sum(1))
    torch.testing.assert_close(kl_with_free_bits(mean, logvar, 0.0), expected.sum(1).mean())
    assert float(kl_with_free_bits(torch.zeros(5, 3), torch.zeros(5, 3), 0.25)) == pytest.approx(0.75)


def test_beta_is_annealed_linearly() -> None:
    config = dataclasses.replace(CONFIG, beta=2.0, anneal_epochs=4)
    assert [annealed_beta(config, e) for e in (1, 2, 3, 5, 9)] == [0.0, 0.5, 1.0, 2.0, 2.0]
    assert math.isclose(annealed_beta(CONFIG, 1), 1.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"beta": -1.0},
        {"validation": 1.0},
        {"scale": (0.0,)},
        {"seed": -1},
        {"scale": (math.nan,)},
        {"offset": (math.inf,)},
        {"offset": (0.0,), "scale": (1.0, 2.0)},
        {"learning_rate": math.inf},
        {"model": ModelConfig(kind="conv", input_shape=(1, 8, 8)), "batch_size": 1},
    ],
)
def test_options_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        dataclasses.replace(CONFIG, **bad)
