from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_edge.models import ModelConfig, build
from vae_edge_export import ExportConfig, export
from vae_edge_runtime import OptionError, load

SHAPES: list[tuple[str, tuple[int, ...], int]] = [
    ("conv", (1, 28, 28), 2), ("conv", (3, 17, 30), 3), ("conv", (2, 8, 8), 1),
    ("mlp", (6,), 2), ("mlp", (5, 4), 1), ("sequence", (25, 3), 2), ("sequence", (100, 38), 3),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "shape", "depth"), SHAPES)
@pytest.mark.parametrize(
    ("likelihood", "variance"), [("mse", None), ("bernoulli", None), ("gaussian", 0.5), ("gaussian", None)]
)
def test_shapes_and_ranges_of_every_model(
    kind: Any, shape: tuple[int, ...], depth: int, likelihood: Any, variance: float | None
) -> None:
    config = ModelConfig(
        kind=kind, input_shape=shape, latent_dim=5, width=8, depth=depth, likelihood=likelihood, variance=variance
    )
    model = build(config).eval().requires_grad_(False)
    mean, logvar = model.encode(torch.rand(3, *shape))
    assert mean.shape == logvar.shape == (3, 5)
    decoded = model.decode(mean)
    x_hat = decoded[0] if config.learned_variance else decoded
    assert x_hat.shape == (3, *shape)
    if config.learned_variance:
        assert decoded[1].shape == (3, *shape)
        assert float(decoded[1].abs().max()) <= 8.0


@pytest.mark.parametrize(
    ("kind", "shape", "layout"),
    [("conv", (3, 17, 30), "nchw"), ("mlp", (6,), "features"), ("sequence", (25, 3), "time_features")],
)
def test_every_kind_goes_through_the_same_door_as_a_strangers_model(
    tmp_path: Path, kind: Any, shape: tuple[int, ...], layout: Any
) -> None:
    torch.manual_seed(0)
    model = build(ModelConfig(kind=kind, input_shape=shape, latent_dim=4, width=8, likelihood="gaussian"))
    rows = np.random.default_rng(0).normal(size=(130, *shape)).astype(np.float32)
    path = tmp_path / "m.vaeb"
    report = export(model, path, calibration=rows, config=ExportConfig(layout=layout, likelihood="gaussian"))
    assert max(p.max_relative for p in report.parity.values()) < 1e-4
    with torch.no_grad():
        expected = model.eval().encode(torch.from_numpy(rows))[0].numpy()
    with load(path, device="cpu") as vae:
        np.testing.assert_allclose(vae.encode(rows).mean, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "transformer"}, "conv, mlp, sequence"),
        ({"input_shape": (28, 28)}, "3 axes"),
        ({"input_shape": (1, 3, 28)}, "lower depth"),
        ({"latent_dim": 0}, "at least 1"),
        ({"likelihood": "poisson"}, "mse, bernoulli, gaussian"),
        ({"variance": 1.0}, "gaussian"),
    ],
)
def test_configs_that_make_no_model_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ModelConfig(**({"kind": "conv", "input_shape": (1, 28, 28)} | change))
