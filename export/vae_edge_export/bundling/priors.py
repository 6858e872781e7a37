"""The prior that ``sample`` draws from: the model's own, one that was supplied, or one fitted to calibration codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.specs import PriorSpec, element_count
from vae_edge_runtime.sampling.prior import mixture_bytes, table_bytes

from ..adapters import Prior
from ..halves.vae import AdaptedVae

MEMBER = "prior.bin"
_MOST_TABLE_ENTRIES = 1 << 20
"""Beyond 4 MiB one table serves all positions of a code grid."""

PriorChoice = Prior | Literal["standard_normal", "fitted", "none"] | NDArray[Any] | None


class BundlePrior(NamedTuple):
    """The prior of a bundle, and the bytes of its member where it has numbers."""

    spec: PriorSpec
    member: bytes | None


def choose_prior(vae: AdaptedVae, requested: PriorChoice, encoded: Callable[[], NDArray[Any]]) -> BundlePrior:
    """What ``sample`` draws from.

    Args:
        requested: None: the adapter's, else N(0, I) for a posterior, and fitted to the codes for all others.
            An array (positions or 1, codes) of probabilities, for a VQ model.
        encoded: gives the codes (n, *latent_shape) of the calibration rows; asked only where they are needed.

    Raises:
        OptionError: the prior does not fit the latent.
    """
    codes = encoded() if vae.kind == "codes" else None
    if codes is not None and not 0 <= int(codes.min()) <= int(codes.max()) < vae.codebook:
        raise OptionError(
            f"calibration rows have indices up to {codes.max()}, and the codebook has {vae.codebook} codes"
        )
    if isinstance(requested, np.ndarray):
        if vae.kind != "codes":
            raise OptionError("a table of probabilities is a prior for a VQ model; pass 'standard_normal' or 'fitted'")
        requested = Prior("categorical", "supplied at export", table=requested)
    if requested is None:
        requested = vae.prior or ("standard_normal" if vae.kind == "gaussian" else "fitted")
    if requested == "none":
        return BundlePrior(PriorSpec("none", "it was exported with prior='none'", 0, None), None)
    if requested == "standard_normal":
        if vae.kind == "codes":
            raise OptionError("a VQ model has codes, not real numbers: pass prior='fitted', 'none' or probabilities")
        return BundlePrior(PriorSpec("standard_normal", "N(0, I), as the model was trained", 0, None), None)
    if requested == "fitted":
        requested = _fit_normal(encoded()) if codes is None else _count_codes(vae, codes)
    assert isinstance(requested, Prior)
    return _with_member(vae, requested)


def _count_codes(vae: AdaptedVae, codes: NDArray[Any]) -> Prior:
    """How often each code stands at each position; positions are drawn independently of each other."""
    positions, k = element_count(vae.latent_shape), vae.codebook
    flat = codes.reshape(len(codes), positions)
    if positions * k > _MOST_TABLE_ENTRIES:
        table = np.bincount(flat.reshape(-1), minlength=k).astype(np.float64)[None]
        source = f"codes counted over {len(codes)} calibration rows, one table for all {positions} positions"
    else:
        table = np.stack([np.bincount(flat[:, i], minlength=k) for i in range(positions)]).astype(np.float64)
        source = f"codes counted over {len(codes)} calibration rows, position by position, independently"
    return Prior("categorical", source, table=table)


def _fit_normal(codes: NDArray[Any]) -> Prior:
    """A diagonal Gaussian on the codes: ex-post density estimation (Ghosh et al. 2020), its simplest form."""
    values = codes.astype(np.float64)
    source = f"a diagonal Gaussian fitted to the codes of {len(codes)} calibration rows"
    return Prior("gaussian_mixture", source, means=values.mean(axis=0)[None], stds=values.std(axis=0)[None])


def _with_member(vae: AdaptedVae, prior: Prior) -> BundlePrior:
    if prior.kind == "categorical":
        table = np.asarray(prior.table)
        if table.ndim != 2 or table.shape[1] != vae.codebook or len(table) not in (1, element_count(vae.latent_shape)):
            raise OptionError(
                f"the prior's table is {table.shape}; this model takes (1, {vae.codebook}) or "
                f"({element_count(vae.latent_shape)}, {vae.codebook})"
            )
        return BundlePrior(PriorSpec("categorical", prior.source, len(table), MEMBER), table_bytes(table))
    if prior.kind == "gaussian_mixture":
        means, stds = np.asarray(prior.means), np.asarray(prior.stds)
        if means.shape[1:] != vae.latent_shape or means.shape != stds.shape or len(means) != len(prior.weights):
            raise OptionError(f"the mixture's means are {means.shape}, a latent is {vae.latent_shape}")
        spec = PriorSpec("gaussian_mixture", prior.source, len(means), MEMBER)
        return BundlePrior(spec, mixture_bytes(prior.weights, means, stds))
    return BundlePrior(PriorSpec(prior.kind, prior.source, 0, None), None)
