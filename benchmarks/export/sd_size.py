"""The autoencoder of Stable Diffusion by its size: 84 M parameters of diffusers, no download, trained for a few steps.

Untrained weights give activations that shrink layer by layer and a decoder that answers every latent alike, which no
comparison of numbers can fail on. A few dozen steps on smooth pictures of 64 x 64 make both halves depend on their
rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 40
CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
"""That of Stable Diffusion 1 and 2."""


def pictures(n: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colour pictures (n, height, width, 3): each a sum of four waves per channel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    made = np.empty((n, height, width, 3), np.uint8)
    for picture in made:
        waves = rng.normal(size=(3, 4, 4)).astype(np.float32)
        for channel, each in enumerate(waves):
            value = sum(a * np.sin(6 * (b * y + c * x) + 3 * d) for a, b, c, d in each)
            picture[..., channel] = np.clip(127.5 + 50 * np.asarray(value), 0, 255)
    return made


def model(weights: Path | None = None) -> Any:
    """The model in eval mode, with weights of ``train`` where there are any, else random ones."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    made = AutoencoderKL(**CONFIG).eval()
    if weights is not None and weights.exists():
        made.load_state_dict(torch.load(weights, weights_only=True))
    return made


def train(weights: Path, steps: int = STEPS) -> list[float]:
    """Train at 64 x 64, batches of 2, with Adam; write the weights and return the mean squared error of each step."""
    import torch

    made, losses = model().train(), []
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-4)
    for step in range(steps):
        rows = torch.from_numpy(pictures(2, 64, 64, seed=step)).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
        posterior = made.encode(rows).latent_dist
        error = (made.decode(posterior.sample()).sample - rows).square().mean()
        loss = error + 1e-6 * posterior.kl().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(error))
    torch.save(made.eval().state_dict(), weights)
    return losses


if __name__ == "__main__":
    import sys

    print(train(Path(sys.argv[1])))
