"""VAEs whose halves hide in ``forward``: no method and no module has a name that export knows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.utils._python_dispatch import TorchDispatchMode


class EverythingInForward(nn.Module):
    """Layers called by position, the draw between them, work after the decoder."""

    def __init__(self, features: int = 6, latent: int = 2) -> None:
        super().__init__()
        self.l1, self.l21, self.l22 = nn.Linear(features, 16), nn.Linear(16, latent), nn.Linear(16, latent)
        self.l3, self.l4 = nn.Linear(latent, 16), nn.Linear(16, features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.l1(2.0 * x - 1.0))
        mu, logvar = self.l21(h), self.l22(h)
        std = torch.exp(0.5 * logvar)
        z = mu + std * torch.randn_like(std)
        return torch.tanh(self.l4(F.relu(self.l3(z)))) * 3.0, mu, logvar


class WithDecoderInput(nn.Module):
    """The convolutional VAE of tutorials, whose decoder starts at ``decoder_input`` and ends at ``final_layer``."""

    def __init__(self, latent: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.LeakyReLU()
        )
        self.fc_mu, self.fc_var = nn.Linear(8 * 2 * 2, latent), nn.Linear(8 * 2 * 2, latent)
        self.decoder_input = nn.Linear(latent, 8 * 2 * 2)
        self.decoder = nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.LeakyReLU())
        self.final_layer = nn.Sequential(nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> list[Tensor]:
        h = torch.flatten(self.encoder(x), start_dim=1)
        mu, log_var = self.fc_mu(h), self.fc_var(h)
        std = torch.exp(0.5 * log_var)
        eps = torch.randn_like(std)
        z = eps * std + mu
        return [self.final_layer(self.decoder(self.decoder_input(z).view(-1, 8, 2, 2))), x, mu, log_var]


class TwoNoiseInputs(nn.Module):
    """Two latents whose noises are arguments of forward; the second posterior depends on the first draw."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.down, self.first, self.second = nn.Linear(features, 16), nn.Linear(16, 6), nn.Linear(16 + 3, 4)
        self.up = nn.Sequential(nn.Linear(5, 16), nn.ELU(), nn.Linear(16, features))

    def forward(self, x: Tensor, eps1: Tensor, eps2: Tensor) -> Tensor:
        h = F.elu(self.down(x))
        mu1, logvar1 = self.first(h).chunk(2, dim=1)
        z1 = mu1 + torch.exp(0.5 * logvar1) * eps1
        mu2, logvar2 = self.second(torch.cat([h, z1], dim=1)).chunk(2, dim=1)
        z2 = eps2 * torch.exp(0.5 * logvar2) + mu2
        return self.up(torch.cat([z1, z2], dim=1))


class Rsample(EverythingInForward):
    """``Normal(…).rsample()``, with a softplus for the standard deviation."""

    def forward(self, x: Tensor) -> dict[str, object]:
        h = F.relu(self.l1(x))
        q = Normal(self.l21(h), F.softplus(self.l22(h)))
        z = q.rsample()
        kl = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum()
        return {"recon": self.l4(F.relu(self.l3(z))), "posterior": q, "kl": kl}


class DrawsByNormal(EverythingInForward):
    """``torch.normal(mean, std)`` draws z in one operation."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.l1(x))
        return self.l4(F.relu(self.l3(torch.normal(self.l21(h), self.l22(h).exp().sqrt()))))


class InPlace(EverythingInForward):
    """The first PyTorch example: ``eps.mul(std).add_(mu)`` on a tensor filled by ``normal_``."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu_(self.l1(x))
        mu, std = self.l21(h), self.l22(h).mul(0.5).exp_()
        eps = std.new_empty(std.size()).normal_()
        return self.l4(F.relu(self.l3(eps.mul(std).add_(mu)))), mu


class InTrainingOnly(EverythingInForward):
    """Draws in training mode only, and returns its loss beside nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(F.relu(self.l1(x)), 0.2, self.training)
        z, logvar = self.l21(h), self.l22(h).clamp(-4.0, 4.0)
        if self.training:
            z = torch.addcmul(z, torch.randn(x.shape[0], z.shape[1]), torch.exp(logvar / 2))
        x_hat = self.l4(F.relu(self.l3(z)))
        return F.mse_loss(x_hat, x)


class Scaled(EverythingInForward):
    """Noise with a temperature, a latent that is squashed and scaled after the draw, one spread for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.full((1, 2), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        mu = self.l21(F.relu(self.l1(x)))
        z = mu - torch.exp(self.log_sigma) * (0.7 * torch.randn(mu.shape))
        return self.l4(F.relu(self.l3(torch.tanh(z) * 0.18)))


class Sequence(nn.Module):
    """A GRU over a window, a decoder that starts from zeros of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.writes = nn.GRU(3, 8, batch_first=True), nn.GRU(2, 8, batch_first=True)
        self.stats, self.out = nn.Linear(8, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.reads(x)[0][:, -1]
        mu, log_std = self.stats(h).chunk(2, -1)
        z = mu + log_std.exp() * torch.randn_like(mu)
        steps = z.unsqueeze(1).expand(-1, x.shape[1], -1)
        y, _ = self.writes(steps, torch.zeros(1, x.shape[0], 8))
        return self.out(y)


class WithLabels(nn.Module):
    """A label beside the row goes into both halves."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6 + 3, 16), nn.Linear(16, 4)
        self.c = nn.Sequential(nn.Linear(2 + 3, 16), nn.ReLU(), nn.Linear(16, 6))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        one_hot = F.one_hot(label, 3).to(x.dtype)
        mu, logvar = self.b(torch.relu(self.a(torch.cat([x, one_hot], 1)))).chunk(2, 1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.c(torch.cat([z, one_hot], 1))


class Codes(nn.Module):
    """A VQ model in one forward: distances, argmin, an embedding, and gradients passed straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 1, 4, 4)
        self.table = nn.Embedding(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.a(x).permute(0, 2, 3, 1)
        flat = h.reshape(-1, 4)
        distances = (flat**2).sum(1, keepdim=True) - 2 * flat @ self.table.weight.t() + (self.table.weight**2).sum(1)
        z_q = self.table(distances.argmin(1)).view(h.shape)
        loss = F.mse_loss(z_q.detach(), h)
        z_q = h + (z_q - h).detach()
        return self.b(z_q.permute(0, 3, 1, 2)), loss


class PinnedDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, every normal noise is the given one; results of operations are kept.

    Attributes:
        count: of draws. results: of all operations.
    """

    def __init__(self, *noises: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noises, self.count, self.results = noises, 0, list[object]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        result = func(*args, **(kwargs or {}))
        if name in ("randn", "randn_like", "normal_", "normal"):
            given = self.noises[self.count]
            noise = given.reshape(result.shape) if given.ndim else given.expand(result.shape)
            self.count += 1
            drawn = args[0] + args[1] * noise if name == "normal" and isinstance(args[0], Tensor) else noise
            result = result.copy_(drawn)
        self.results.append(result)
        return result


class IndicesAlone(nn.Module):
    """``encode`` ends at an argmin, ``decode`` embeds the indices."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 1, 4, 4)
        self.table = nn.Embedding(8, 4)

    def encode(self, x: Tensor) -> Tensor:
        h = self.a(x).permute(0, 2, 3, 1).unsqueeze(3)
        return (h - self.table.weight).pow(2).sum(-1).argmin(-1)

    def decode(self, indices: Tensor) -> Tensor:
        return self.b(self.table(indices).permute(0, 3, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class IndicesOfAParameter(nn.Module):
    """The same with a bare parameter as its codebook."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 1, 4, 4)
        self.weights = nn.Parameter(torch.randn(8, 4))

    def encode(self, x: Tensor) -> Tensor:
        h = self.a(x).permute(0, 2, 3, 1).unsqueeze(3)
        return (h - self.weights).pow(2).sum(-1).argmin(-1)

    def decode(self, indices: Tensor) -> Tensor:
        return self.b(self.weights[indices].permute(0, 3, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))
