"""A term of the training loss for structure that the reconstruction lacks; no weights of another network."""

from __future__ import annotations

from torch import Tensor, nn

from vae_edge_export.graphs.residuals import StructuralSimilarity

from .config import TrainConfig


def structure_of(config: TrainConfig, rows: Tensor) -> nn.Module | None:
    """SSIM over the range of the training rows (n, channels, height, width); None without ``config.perceptual``."""
    if not config.perceptual:
        return None
    return StructuralSimilarity((rows.max() - rows.min()).item(), config.model.input_shape)


def structure_loss(x: Tensor, x_hat: Tensor, structure: nn.Module, config: TrainConfig) -> Tensor:
    """``perceptual`` times the number of elements times 1 - mean SSIM(x, x_hat), per row, (n,).

    SSIM compares means, variances and covariances in windows of 11 x 11 pixels (Wang et al. 2004); Bergmann et al.
    2018 train autoencoders for inspection by it. The term is no part of the ELBO, of the validation loss, or of scores.
    """
    shown = x_hat.sigmoid() if config.model.likelihood == "bernoulli" else x_hat
    loss: Tensor = structure(x, shown)
    return config.perceptual * config.model.elements * loss
