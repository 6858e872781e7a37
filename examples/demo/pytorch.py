"""The same job in PyTorch, written out by hand: the yardstick for scores and latency."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from device import milliseconds
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vae_edge.models import ModelConfig, build


def read_model(run: Path) -> nn.Module:
    """The trained model, from its two files."""
    plain: dict[str, Any] = json.loads((run / "config.json").read_text("utf-8"))["model"]
    model = build(ModelConfig(**(plain | {"input_shape": tuple(plain["input_shape"])})))
    model.load_state_dict(load_file(run / "weights.safetensors"))
    return model.eval()


@torch.inference_mode()
def score(model: Any, frames: np.ndarray) -> np.ndarray:
    """Negative ELBO at the posterior mean, (n,) nats, of raw frames (n, height, width, 1) uint8."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    mean, logvar = model.encode(x)
    logits = model.decode(mean)
    surprise = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=(1, 2, 3))
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)
    return (surprise + kl).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    x = np.load(options.data)["x"]

    torch.set_num_threads(1)
    model = read_model(options.run)
    scores = np.concatenate([score(model, x[i : i + 64]) for i in range(0, len(x), 64)])
    latency = {str(n): milliseconds(lambda n=n: score(model, x[:n])) for n in (1, 32)}
    np.savez(options.output.with_suffix(".npz"), score=scores)
    options.output.with_suffix(".json").write_text(json.dumps({"latency_ms": latency}, indent=1) + "\n")
    print(f"{len(scores)} rows scored with torch {torch.__version__}")


if __name__ == "__main__":
    main()
