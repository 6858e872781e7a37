"""Figures of others that stand beside this page; none is of these pictures, and none is made by this benchmark."""

from __future__ import annotations

from typing import NamedTuple


class Quoted(NamedTuple):
    """AUROC of whole pictures."""

    data: str
    model: str
    auroc: str
    source: str


QUOTED = (
    Quoted("MNIST, one class", "VAE", "0.970", "tables of OCGAN and LSA (CVPR 2019), second hand"),
    Quoted("MNIST, one class", "denoising autoencoder", "0.877", "the same tables"),
    Quoted("MNIST, one class", "Deep SVDD", "0.948", "the same tables"),
    Quoted("MNIST, one class", "OCGAN", "0.975", "the same tables"),
    Quoted("Fashion-MNIST, one class", "GEOM", "0.935", "Golan & El-Yaniv 2018, from memory"),
    Quoted("Fashion-MNIST, one class", "autoencoders", "0.88 to 0.92", "the same paper, from memory"),
    Quoted("Fashion-MNIST, one class", "MLP VAE / 16 principal components", "0.913 / 0.902", "measured by us earlier"),
)
