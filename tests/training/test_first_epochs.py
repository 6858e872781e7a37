"""The first epochs: a warm-up of the learning rate, and statistics of batch norm that are those of the weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from shell import run

from vae_edge.models import ModelConfig, build
from vae_edge.training import TrainConfig
from vae_edge.training.loop import _generator, _settle_batch_norm
from vae_edge.training.run_folder import read_config
from vae_edge.training.schedules import share_of_rate


def _plan(**options: object) -> TrainConfig:
    model = ModelConfig(kind="conv", input_shape=(1, 16, 16), latent_dim=2, width=4, depth=1)
    return TrainConfig(model=model, layout="nchw", **options)  # type: ignore[arg-type]


def test_the_learning_rate_grows_in_equal_steps_to_the_whole() -> None:
    rising = _plan(epochs=3, warmup_epochs=2)
    assert [share_of_rate(rising, step, 2) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert share_of_rate(_plan(), 0, 2) == 1.0


def test_a_cosine_falls_from_the_whole_to_almost_nothing_and_never_jumps() -> None:
    falling = _plan(epochs=10, warmup_epochs=1, schedule="cosine")
    shares = [share_of_rate(falling, step, 20) for step in range(200)]
    assert shares[:20] == [(step + 1) / 20 for step in range(20)]
    assert shares[20] == 1.0
    assert shares[110] == pytest.approx(0.5)
    assert 0 < shares[-1] < 1e-3
    assert max(abs(a - b) for a, b in itertools.pairwise(shares)) <= 0.05 + 1e-12
    assert share_of_rate(_plan(epochs=1, warmup_epochs=5, schedule="cosine"), 0, 1) == 0.2


def test_statistics_of_batch_norm_are_the_means_over_the_batches_and_the_momentum_stays() -> None:
    model = build(ModelConfig(kind="conv", input_shape=(1, 8, 8), latent_dim=2, width=4, depth=1))
    config = TrainConfig(model=model.config, layout="nchw")  # type: ignore[arg-type]
    rows = torch.rand(12, 1, 8, 8, generator=_generator(0, 0))
    model.train()
    batches = [torch.arange(0, 6), torch.arange(6, 12)]
    _settle_batch_norm(model, rows, batches, config, _generator(0, 1))
    norm = model.down[0][1]  # type: ignore[index,union-attr]
    with torch.no_grad():
        before = model.down[0][0](rows)  # type: ignore[index,union-attr,operator]
    torch.testing.assert_close(norm.running_mean, before.mean((0, 2, 3)))  # type: ignore[union-attr]
    assert norm.momentum == 0.1  # type: ignore[union-attr]
    assert int(norm.num_batches_tracked) == 2  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize(("rows", "options", "size"), [(40, (), 16), (40, ("--batch-size", 8), 8), (4096, (), 64)])
def test_few_pictures_train_in_small_batches(tmp_path: Path, rows: int, options: tuple[object, ...], size: int) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 1), dtype=np.uint8))
    done = run("train", "conv", "--data", tmp_path / "x.npy", "--layout", "nhwc", "--epochs", 1, "--width", 2,
               "--depth", 1, "--latent", 2, *options, "-o", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    assert read_config(tmp_path / "run").batch_size == size
