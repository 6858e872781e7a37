"""Figures of others, and of earlier measurements, that the page is held against; none is made by this benchmark."""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = {
    "A": "PyOD's VAE, 15 epochs, scored from the posterior mean, half of the normal rows to train on. Measured by us "
    "before this page, not published.",
    "B": "a VAE in the tables of OCGAN and LSA (both CVPR 2019), with all 6,000 training rows of each digit where we "
    "have 250. Second hand: not read at the source.",
    "C": "an MLP VAE 784-256-16 with a Gaussian of fixed variance, 20 epochs. Measured by us before this page, not "
    "published.",
}
"""By the letter that the table names them by."""


@dataclass(frozen=True)
class Quoted:
    """AUROC of a VAE on a data set by a head; ``source`` is a key of ``SOURCES``."""

    data_set: str
    head: str
    auroc: float
    source: str


QUOTED = (
    Quoted("thyroid", "elbo", 0.987, "A"),
    Quoted("cardio", "elbo", 0.960, "A"),
    Quoted("satimage-2", "elbo", 0.998, "A"),
    Quoted("mammography", "elbo", 0.893, "A"),
    Quoted("WDBC", "elbo", 0.994, "A"),
    Quoted("MNIST, one class", "elbo", 0.970, "B"),
    Quoted("Fashion-MNIST, one class", "elbo", 0.915, "C"),
    Quoted("Fashion-MNIST, one class", "mahalanobis", 0.844, "C"),
    Quoted("Fashion-MNIST, one class", "kl", 0.528, "C"),
    Quoted("Fashion-MNIST, against MNIST", "elbo", 0.984, "C"),
    Quoted("Fashion-MNIST, against MNIST", "mahalanobis", 0.55, "C"),
    Quoted("Fashion-MNIST, against MNIST", "kl", 0.28, "C"),
)
