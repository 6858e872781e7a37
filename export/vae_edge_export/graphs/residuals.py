"""From residuals to one number that a small defect does not drown in, in operations every engine has."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import Layout

from .likelihoods import row_sum

_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5
_SSIM_K1, _SSIM_K2 = 0.01, 0.03


class Smoothing(nn.Module):
    """A Gaussian over the two axes of an image or the time axis of a window; edges repeat their last value."""

    weight: Tensor

    def __init__(self, sigma: float, layout: Layout, row_shape: tuple[int, ...]) -> None:
        """``sigma`` in pixels or steps; ``row_shape`` in model layout.

        Raises:
            OptionError: rows without a neighbourhood, or smaller than the Gaussian.
        """
        super().__init__()
        self.image = layout in ("nchw", "nhwc")
        if not self.image and layout != "time_features":
            raise OptionError(f"map_sigma smooths images and windows; rows of layout '{layout}' have no neighbours")
        radius = math.ceil(3 * sigma)
        if radius >= min(row_shape[1:] if self.image else row_shape[:1]):
            raise OptionError(f"map_sigma {sigma:g} reaches {radius} elements, beyond the row: take a smaller one")
        self.register_buffer("weight", _gaussian(sigma, radius))
        self.radius = radius

    def forward(self, share: Tensor) -> Tensor:
        """(n, *row_shape) to the same, averaged."""
        if not self.image:
            turned = share.transpose(1, 2)  # time last, as convolutions want it
            n, features, steps = turned.shape
            padded = F.pad(turned, (self.radius, self.radius), mode="replicate").reshape(n * features, 1, -1)
            return F.conv1d(padded, self.weight.reshape(1, 1, -1)).reshape(-1, features, steps).transpose(1, 2)
        padded = F.pad(share, (self.radius,) * 4, mode="replicate")
        return _blur(padded, self.weight)


class StructuralSimilarity(nn.Module):
    """1 - mean SSIM of images (Wang et al. 2004): Gaussian window of sigma 1.5, 11 x 11, K1 0.01, K2 0.03."""

    weight: Tensor

    def __init__(self, span: float, row_shape: tuple[int, ...]) -> None:
        """``span`` is the range of values in model units; ``row_shape`` is (channels, height, width).

        Raises:
            OptionError: images below 11 x 11.
        """
        super().__init__()
        if min(row_shape[1:]) < 2 * _SSIM_RADIUS + 1:
            raise OptionError(f"head 'ssim' needs images of at least 11 x 11 pixels, these are {row_shape[1:]}")
        self.register_buffer("weight", _gaussian(_SSIM_SIGMA, _SSIM_RADIUS))
        self.c1, self.c2 = (_SSIM_K1 * span) ** 2, (_SSIM_K2 * span) ** 2

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """(n, channels, height, width) twice to (n,)."""
        a, b = _blur(x, self.weight), _blur(x_hat, self.weight)
        aa, bb, ab = (_blur(u * v, self.weight) for u, v in ((x, x), (x_hat, x_hat), (x, x_hat)))
        var_a, var_b, covariance = torch.relu(aa - a * a), torch.relu(bb - b * b), ab - a * b
        ssim = (2 * a * b + self.c1) * (2 * covariance + self.c2)
        ssim = ssim / ((a * a + b * b + self.c1) * (var_a + var_b + self.c2))
        return 1.0 - ssim.flatten(1).mean(1)


def gradient_residual(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared differences of neighbouring residuals of images, summed: (n, c, h, w) to (n,).

    The squared error of the image gradients (Mathieu, Couprie & LeCun 2016, with exponent 2): a
    residual with an edge weighs more than one that is smooth, such as a change of light.
    """
    residual = x - x_hat
    down, right = residual[:, :, 1:] - residual[:, :, :-1], residual[:, :, :, 1:] - residual[:, :, :, :-1]
    return row_sum(torch.square(down)) + row_sum(torch.square(right))


def top_mean(places: Tensor, share: float) -> Tensor:
    """Mean of the largest ``share`` of the elements, at least one: (n, *shape) to (n,)."""
    flat = places.flatten(1)
    count = max(1, math.ceil(share * flat.shape[1]))
    return torch.topk(flat, count, dim=1).values.mean(1)


def peak(places: Tensor) -> Tensor:
    """The largest element: (n, *shape) to (n,)."""
    return places.flatten(1).amax(1)


def _gaussian(sigma: float, radius: int) -> Tensor:
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weight = torch.exp(-0.5 * torch.square(steps / sigma))
    return (weight / weight.sum()).to(torch.float32)


def _blur(image: Tensor, weight: Tensor) -> Tensor:
    """Separable convolution of (n, c, h, w) without padding, each channel for itself."""
    channels = image.shape[1]
    across = weight.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = weight.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    return F.conv2d(F.conv2d(image, across, groups=channels), down, groups=channels)
