"""A few steps of training for any model of the zoo: random weights have forgiven what trained ones do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.nn import functional as F

STEPS = 60


def trained(model: nn.Module, x: Tensor, condition: Tensor | None = None) -> nn.Module:
    """The model after ``STEPS`` steps of Adam on the loss its forward suggests, in eval mode.

    Args:
        x: (n, *row_shape) float32, in model units. condition: one per row, or None.
    """
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(STEPS):
        rows = torch.randint(0, len(x), (64,))
        given = (x[rows],) if condition is None else (x[rows], condition[rows])
        loss = _loss(model(*given), x[rows])
        if not loss.requires_grad:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def _loss(out: Any, x: Tensor) -> Tensor:
    """Reconstruction as the forward's return value suggests, and the KL where it gives mean and logvar beside."""
    if isinstance(out, Distribution):
        base = out.base_dist if isinstance(out, Independent) else out
        return -base.log_prob(x).mean()
    if isinstance(out, dict):
        out = next(out[name] for name in ("recon", "x_hat", "sample") if name in out)
    tensors = [out] if isinstance(out, Tensor) else [t for t in out if isinstance(t, Tensor)]
    if len(tensors) == 2 and all(t.shape == x.shape for t in tensors):  # alpha and beta of a beta
        return F.mse_loss(tensors[0] / (tensors[0] + tensors[1]), x)
    classes = [t for t in tensors if t.ndim == x.ndim + 1 and t.numel() != x.numel()]
    if classes and len(tensors) == 1:
        return F.cross_entropy(classes[0], x.long())
    x_hat = next(t for t in tensors if t.numel() == x.numel())
    loss = F.mse_loss(x_hat.reshape(x.shape), x)
    if len(tensors) == 3 and tensors[1].shape == tensors[2].shape:
        mean, logvar = tensors[1:]
        loss = loss + 1e-3 * 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return loss
