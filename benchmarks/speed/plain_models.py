"""The three VAEs of the benchmark, as a tutorial would write them; torch is all they need."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import silu


class Windows(nn.Module):
    """Sensor windows (n, 100, 38) through an MLP of 3800, 512, 256 and 16 latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3800, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.mean, self.logvar = nn.Linear(256, 16), nn.Linear(256, 16)
        self.decoder = nn.Sequential(
            nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 3800)
        )  # fmt: skip

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.mean(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).reshape(-1, 100, 38)


class Grey(nn.Module):
    """Grey images (n, 1, 64, 64): four strided convolutions, four transposed ones, 32 latents; decodes to logits."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128, 256)
        down = [part for a, b in pairwise(widths) for part in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean, self.logvar, self.open = nn.Linear(4096, 32), nn.Linear(4096, 32), nn.Linear(32, 4096)
        up = [part for a, b in pairwise(widths[::-1]) for part in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU())]
        self.decoder = nn.Sequential(nn.Unflatten(1, (256, 4, 4)), *up[:-1])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.mean(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.open(z))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))


class Colour(nn.Module):
    """Colour images (n, 3, 256, 256): residual blocks with group norm and SiLU, latents (4, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), _Residual(32), nn.Conv2d(32, 64, 3, 2, 1), _Residual(64),
            nn.Conv2d(64, 128, 3, 2, 1), _Residual(128), nn.GroupNorm(8, 128), nn.SiLU(),
        )  # fmt: skip
        self.mean, self.logvar = nn.Conv2d(128, 4, 1), nn.Conv2d(128, 4, 1)
        up = nn.Upsample(scale_factor=2, mode="nearest")
        self.decoder = nn.Sequential(
            nn.Conv2d(4, 128, 3, 1, 1), _Residual(128), up, nn.Conv2d(128, 64, 3, 1, 1), _Residual(64), up,
            nn.Conv2d(64, 32, 3, 1, 1), _Residual(32), up, nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 3, 3, 1, 1),
            nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.mean(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


MODELS = {"windows": Windows, "grey": Grey, "colour": Colour}
