"""Residual and finite scalar quantisers as people write them, a branch on the batch, and masks beside the row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OneCodebook(nn.Module):
    """Rows (n, positions, values) to (quantised, indices, loss), with gradients passed straight through."""

    def __init__(self, values: int, codes: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, values))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        indices = ((x.unsqueeze(-2) - self.codebook) ** 2).sum(-1).argmin(-1)
        quantised = self.codebook[indices]
        return x + (quantised - x).detach(), indices, F.mse_loss(quantised.detach(), x)


class Residual(nn.Module):
    """Each codebook quantises what the ones before it left."""

    def __init__(self, values: int = 4, codes: tuple[int, ...] = (8, 8, 8)) -> None:
        super().__init__()
        self.layers = nn.ModuleList([OneCodebook(values, size) for size in codes])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total, rest, chosen, losses = torch.zeros_like(x), x, [], []
        for layer in self.layers:
            quantised, indices, loss = layer(rest)
            rest, total = rest - quantised.detach(), total + quantised
            chosen.append(indices)
            losses.append(loss)
        return total, torch.stack(chosen, -1), torch.stack(losses).sum()

    def from_indices(self, indices: Tensor) -> Tensor:
        return torch.stack([layer.codebook[indices[..., k]] for k, layer in enumerate(self.layers)]).sum(0)


class _Model(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, size))
        self.b = nn.Sequential(nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 6))


class ResidualInForward(_Model):
    """Residual quantisation, with everything in forward."""

    def __init__(self, codes: tuple[int, ...] = (8, 8, 8)) -> None:
        super().__init__(8)
        self.q = Residual(4, codes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total, indices, loss = self.q(self.a(x).view(-1, 2, 4))
        return self.b(total.flatten(1)), indices, loss


class ResidualIndices(_Model):
    """``encode`` gives the indices of every codebook and their sum, ``decode`` takes the indices."""

    def __init__(self) -> None:
        super().__init__(8)
        self.q = Residual()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total, indices, _ = self.q(self.a(x).view(-1, 2, 4))
        return indices, total

    def decode(self, indices: Tensor) -> Tensor:
        return self.b(self.q.from_indices(indices).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


class ResidualSum(_Model):
    """``encode`` gives the quantised sum alone."""

    def __init__(self) -> None:
        super().__init__(8)
        self.q = Residual()

    def encode(self, x: Tensor) -> Tensor:
        return self.q(self.a(x).view(-1, 2, 4))[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.b(z.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Levels(nn.Module):
    """Finite scalar quantisation (Mentzer et al. 2023): each value is bounded and rounded to so many levels."""

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: tuple[int, ...] = (8, 5, 5)) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels))
        self.register_buffer("basis", torch.cumprod(torch.tensor([1, *levels[:-1]]), 0))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        half = (self.levels - 1) * (1 - 1e-3) / 2
        offset = torch.where(self.levels % 2 == 1, 0.0, 0.5)
        bounded = torch.tanh(z + torch.tan(offset / half)) * half - offset
        middle = self.levels // 2
        code = (bounded + (bounded.round() - bounded).detach()) / middle
        return code, ((code * middle + middle) * self.basis).sum(-1).round().to(torch.int64)

    def from_indices(self, indices: Tensor) -> Tensor:
        middle = self.levels // 2
        return ((indices.unsqueeze(-1) // self.basis) % self.levels - middle) / middle


class LevelsInForward(_Model):
    """Finite scalar quantisation, with everything in forward."""

    def __init__(self) -> None:
        super().__init__(6)
        self.q = Levels()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code, indices = self.q(self.a(x).view(-1, 2, 3))
        return self.b(code.flatten(1)), indices


class LevelsIndices(_Model):
    """``encode`` gives indices and codes, ``decode`` takes the indices."""

    def __init__(self) -> None:
        super().__init__(6)
        self.q = Levels()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code, indices = self.q(self.a(x).view(-1, 2, 3))
        return indices, code

    def decode(self, indices: Tensor) -> Tensor:
        return self.b(self.q.from_indices(indices).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


class BranchOnTheBatch(_Model):
    """Cuts a batch into pieces where an estimate of its memory is large."""

    def __init__(self) -> None:
        super().__init__(4)
        self.b = nn.Linear(2, 6)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        large = x.shape[0] * x.shape[1] * 4 > 2**20
        h = torch.cat([self.a(piece) for piece in x.split(1024)]) if large else self.a(x)
        mean, logvar = h.chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.b(z)

    def forward(self, x: Tensor) -> Tensor:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))


class Masked(nn.Module):
    """``forward(x, mask)``: the encoder takes which values were observed, the decoder the latent alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
        self.b = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 6))

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.a(torch.cat([x * mask, mask], 1)).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.b(z)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encode(x, mask)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar


class Forecast(nn.Module):
    """A window of 12 steps of 3 features in, the 4 steps of 2 features that follow out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 4)
        self.c = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 8))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.b(self.a(x)[0][:, -1]).chunk(2, 1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.c(z).view(-1, 4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar


class DecoderAlone(nn.Module):
    """A decoder without its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 6))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


class TakesNan(Masked):
    """Missing values are NaN, which the model turns into zeros and a mask of its own."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().encode(torch.nan_to_num(x), (~torch.isnan(x)).to(x.dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)), mean, logvar
