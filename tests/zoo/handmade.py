"""Models as people write them by hand, in as many styles as there are tutorials; small, random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

FEATURES, LATENT = 6, 2


class FlatTutorial(nn.Module):
    """The classic example script: takes pictures, flattens them in forward, fc21 and fc22."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(256, 40), nn.Linear(40, 5), nn.Linear(40, 5)
        self.fc3, self.fc4 = nn.Linear(5, 40), nn.Linear(40, 256)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x.view(-1, 256))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class KerasLike(nn.Module):
    """The encoder samples and returns (z_mean, z_log_var, z)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.z_mean, self.z_log_var = nn.Linear(256, 4), nn.Linear(256, 4)
        self.dense = nn.Linear(4, 256)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.conv(x)
        z_mean, z_log_var = self.z_mean(h), self.z_log_var(h)
        return z_mean, z_log_var, z_mean + torch.exp(z_log_var / 2) * torch.randn(z_mean.shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.deconv(self.dense(z).view(-1, 16, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[2])


class BoltsStyle(nn.Module):
    """No encode or decode: modules encoder, fc_mu, fc_var, decoder; a torch distribution in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(), nn.Conv2d(8, 8, 4, 2, 1)
        )
        self.fc_mu, self.fc_var = nn.Linear(128, 6), nn.Linear(128, 6)
        self.decoder = nn.Sequential(
            nn.Linear(6, 128), nn.Unflatten(1, (8, 4, 4)), nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, 1, 1),
            nn.GELU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x).flatten(1)
        q = Normal(self.fc_mu(h), torch.exp(self.fc_var(h) / 2))
        z = q.rsample()
        return z, self.decoder(z)


class LightningStyle(nn.Module):
    """The tutorial of a LightningModule: batch norm in both halves, heads called fc_mu and fc_var, a loss beside."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(FEATURES, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU()
        )
        self.fc_mu, self.fc_var = nn.Linear(16, LATENT), nn.Linear(16, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, FEATURES)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_var(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x)
        std = torch.exp(0.5 * logvar)
        return self.decode(mu + std * torch.randn_like(std)), mu, logvar


class Mlp(nn.Module):
    """Base of the variants below: h, two heads, a decoder."""

    out_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(FEATURES, 16), nn.SiLU(), nn.LayerNorm(16))
        self.to_mean, self.to_scale = nn.Linear(16, LATENT), nn.Linear(16, LATENT)
        self.outer = nn.Sequential(nn.Linear(LATENT, 16), nn.SiLU(), nn.Linear(16, self.out_features))

    def decode(self, z: Tensor) -> Any:
        return self.outer(z)


class ReturnsDistribution(Mlp):
    def encode(self, x: Tensor) -> Independent:
        h = self.inner(x)
        return Independent(Normal(self.to_mean(h), F.softplus(self.to_scale(h)) + 1e-6), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).rsample())


@dataclass
class PosteriorOutput:
    mu: Tensor
    log_sigma: Tensor


class ReturnsDataclass(Mlp):
    def encode(self, x: Tensor) -> PosteriorOutput:
        h = self.inner(x)
        return PosteriorOutput(self.to_mean(h), self.to_scale(h))

    def forward(self, x: Tensor) -> Tensor:
        q = self.encode(x)
        return self.decode(torch.normal(q.mu, q.log_sigma.exp()))


class ReturnsDict(Mlp):
    def encode(self, x: Tensor) -> dict[str, Tensor]:
        h = self.inner(x)
        return {"h": h, "mu": self.to_mean(h), "log_var": self.to_scale(h)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        q = self.encode(x)
        z = q["mu"] + (0.5 * q["log_var"]).exp() * torch.empty_like(q["mu"]).normal_()
        return {**q, "recon": self.decode(z)}


class StdHead(Mlp):
    """The second value is the standard deviation itself; sampling in training mode only."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x)
        return self.to_mean(h), F.softplus(self.to_scale(h)) + 1e-3

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.encode(x)
        return self.decode(mean + std * torch.randn_like(std) if self.training else mean)


class SoftplusOutside(Mlp):
    """The second value becomes a standard deviation in forward, by softplus."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x)
        return self.to_mean(h), self.to_scale(h)

    def forward(self, x: Tensor) -> Tensor:
        mean, rho = self.encode(x)
        return self.decode(mean + F.softplus(rho) * torch.randn_like(mean))


class Logvar(Mlp):
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inner(x)
        return self.to_mean(h), self.to_scale(h)

    def forward(self, x: Tensor) -> Any:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))


class LearnedVariance(Logvar):
    out_features = 2 * FEATURES

    def decode(self, z: Tensor) -> Normal:
        mean, raw = self.outer(z).chunk(2, dim=1)
        return Normal(mean, F.softplus(raw) + 0.05)


class BetaLikelihood(Logvar):
    out_features = 2 * FEATURES

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = (F.softplus(self.outer(z)) + 0.1).chunk(2, dim=1)
        return alpha, beta


class Discrete(Logvar):
    """Eight classes per feature."""

    out_features = 8 * FEATURES

    def decode(self, z: Tensor) -> Tensor:
        return self.outer(z).reshape(-1, 8, FEATURES)


class Probabilities(Logvar):
    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.outer(z))


class PlainAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 16), nn.Tanh(), nn.Linear(16, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class LabelConditional(nn.Module):
    """A label beside x, one-hot inside."""

    classes = 5

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES + self.classes, 16)
        self.mu, self.logvar = nn.Linear(16, LATENT), nn.Linear(16, LATENT)
        self.outer = nn.Sequential(nn.Linear(LATENT + self.classes, 16), nn.ReLU(), nn.Linear(16, FEATURES))

    def _hot(self, y: Tensor, like: Tensor) -> Tensor:
        return F.one_hot(y, self.classes).to(like.dtype)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.inner(torch.cat([x, self._hot(y, x)], dim=1)))
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return self.outer(torch.cat([z, self._hot(y, z)], dim=1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mu, logvar = self.encode(x, y)
        return self.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar), y)


class VectorConditional(LabelConditional):
    """A vector of five numbers beside x."""

    def _hot(self, y: Tensor, like: Tensor) -> Tensor:
        return y


class Recurrent(nn.Module):
    """Sequence VAE: bidirectional recurrent encoder, many-to-many recurrent decoder, fixed window."""

    steps, channels = 20, 5

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.reader = kind(self.channels, 12, batch_first=True, bidirectional=True)
        self.writer = kind(4, 12, batch_first=True)
        self.fc_mu, self.fc_logvar = nn.Linear(24, 4), nn.Linear(24, 4)
        self.out = nn.Linear(12, self.channels)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.reader(x)[0][:, -1]
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.writer(z.unsqueeze(1).repeat(1, self.steps, 1))[0])

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encode(x)
        return self.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))


class Temporal(nn.Module):
    """Sequence VAE of dilated convolutions with a latent per step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(5, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 8, 3, padding=2, dilation=2), nn.ReLU()
        )
        self.mu, self.logvar = nn.Conv1d(8, 2, 1), nn.Conv1d(8, 2, 1)
        self.tail = nn.Sequential(nn.Conv1d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 5, 3, padding=1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x.transpose(1, 2))
        return self.mu(h), self.logvar(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.tail(z).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encode(x)
        return self.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))


class Ladder(nn.Module):
    """Hierarchical: a spatial latent and a global one, each with its own posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 4, 2, 1), nn.SiLU())
        self.low = nn.Conv2d(8, 4, 1)
        self.high = nn.Linear(128, 6)
        self.up = nn.Linear(3, 32)
        self.last = nn.Sequential(
            nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )

    def encode(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        h = self.first(x)
        low, high = self.low(h), self.high(h.flatten(1))
        return [(low[:, :2], low[:, 2:]), (high[:, :3], high[:, 3:])]

    def decode(self, latents: list[Tensor]) -> Tensor:
        low, high = latents
        return self.last(torch.cat([low, self.up(high).reshape(-1, 2, 4, 4)], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode([m + torch.randn_like(m) * torch.exp(0.5 * v) for m, v in self.encode(x)])


class Attention(nn.Module):
    """Group norm and self-attention over a spatial latent."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 4, 2, 1))
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.to_moments = nn.Conv2d(8, 4, 1)
        self.up = nn.Sequential(nn.ConvTranspose2d(2, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.down(x)
        tokens = h.flatten(2).transpose(1, 2)
        tokens = tokens + self.mix(tokens, tokens, tokens, need_weights=False)[0]
        mean, logvar = self.to_moments(tokens.transpose(1, 2).reshape(h.shape)).chunk(2, dim=1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.up(z)

    def forward(self, x: Tensor) -> Tensor:
        mean, logvar = self.encode(x)
        return self.decode(mean + torch.randn_like(mean) * torch.exp(0.5 * logvar))
