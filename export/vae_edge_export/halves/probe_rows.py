"""What two halves must do on real rows before they are worth tracing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS, LikelihoodName

from ..adapters import Recipe
from .causes import ReducedTypes, batch_statistics, other_values, tensors_of
from .door import foreign, in_words, raised_by_the_model
from .normalise import Encoded, read_encoded
from .vae import AdaptedVae


def check_encode(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...], encoded: Encoded) -> None:
    """Shapes with the batch first, the same values on a second call, and a row alone as among others.

    Of three and more unnamed tensors one may be a sample: it is left out of the graph.

    Raises:
        AdaptError: one of these does not hold.
    """
    n = len(feeds[0])
    _check_finite_floats(encoded)
    pairs: list[tuple[Tensor, ...]] = [*encoded.pairs, *([encoded.unnamed] if len(encoded.unnamed) == 2 else [])]
    for mean, parameter in pairs:
        if mean.shape != parameter.shape or mean.shape[:1] != (n,):
            raise AdaptError(
                f"encode gave shapes {tuple(mean.shape)} and {tuple(parameter.shape)} for {n} rows; mean and scale "
                "need one shape with the batch first"
            )
    kept = feeds[0].clone()
    with ReducedTypes() as types:
        second = read_encoded(recipe.encode(module, *feeds))
    types.refuse("encode")
    first, again = tensors_of(encoded), tensors_of(second)
    if not torch.allclose(kept, feeds[0], rtol=0.0, atol=0.0, equal_nan=True):  # NaN stands for a missing value
        raise AdaptError("encode changes its input in place: work on a copy (x = x * 2, not x *= 2 or x.mul_(2))")
    if len(first) != len(again):
        raise AdaptError(
            f"encode gave {encoded.how}, and {second.how} on a second call: return the same things each time"
        )
    steady = [i for i, (a, b) in enumerate(zip(first, again, strict=True)) if torch.equal(a, b)]
    if len(steady) < (min(2, len(first)) if encoded.unnamed else len(first)):
        raise AdaptError(other_values(recipe, module, feeds))
    for rows in (1, n + 1):
        part = tuple(torch.cat([feed, feed[:1]])[:rows] for feed in feeds)
        try:
            other = tensors_of(read_encoded(recipe.encode(module, *part)))
        except AdaptError as error:
            why = batch_statistics(module, foreign(error)) or (
                "use x.shape[0] or -1 where the batch size is written as a number"
            )
            raise AdaptError(
                f"encode takes a batch of {n} and fails on a batch of {rows} ({in_words(foreign(error))}): {why}"
            ) from error
        for i in steady:
            same = len(other) == len(first) and other[i].shape[:1] == (rows,) and _close(other[i][0], first[i][0])
            if not same:
                why = batch_statistics(module) or (
                    "rows must not influence each other (batch statistics, softmax over the batch axis)"
                )
                raise AdaptError(
                    f"encode gives another result for a row in a batch of {rows} than in one of {n}: {why}"
                )


def _check_finite_floats(encoded: Encoded) -> None:
    """What an encoder gives for real rows are numbers: dense, real, finite."""
    for tensor in tensors_of(encoded):
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise AdaptError(
                f"encode gave a tensor of type {tensor.dtype}, layout {tensor.layout}: return dense real numbers, for "
                "instance x.to_dense() or torch.view_as_real(x)"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AdaptError(
                "encode gives NaN or infinity for real rows: run it on them by hand, and look at the scale of the rows "
                "(offset= and scale=) and at logarithms and divisions in it"
            )


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5, equal_nan=True)


def check_decode(
    vae: AdaptedVae, feeds: tuple[Tensor, ...], likelihood: LikelihoodName, *, logits: bool, any_shape: bool = False
) -> Tensor:
    """The decoder gives rows of the right shape, the same ones each time; returns them.

    Args:
        any_shape: of any shape with the batch first.
    """
    example = feeds[0]
    latent = vae.encode(vae.module, *feeds)[0]
    try:
        x_hat = vae.decode(vae.module, latent, *feeds[1:])[0]
        with ReducedTypes() as types:
            again = vae.decode(vae.module, latent, *feeds[1:])[0]
    except AdaptError as error:
        if vae.kind == "codes" and raised_by_the_model(error):
            raise AdaptError(
                f"decode of a VQ model is given indices {tuple(latent.shape)} and failed ({in_words(foreign(error))}): "
                "look them up in it, decode=lambda m, i: m.decode(m.codebook(i).permute(0, 3, 1, 2))"
            ) from error
        raise
    types.refuse("decode")
    shape = tuple(x_hat.shape)
    if LIKELIHOODS[likelihood].values == "classes":
        if len(shape) != example.ndim + 1 or (shape[0], *shape[2:]) != tuple(example.shape):
            raise AdaptError(
                f"decode gave shape {shape}; a categorical needs (n, classes, *{tuple(example.shape[1:])})"
            )
    elif any_shape:
        if len(shape) < 2 or shape[0] != len(example):
            raise AdaptError(f"decode gave shape {shape} for {len(example)} rows; the batch comes first")
    elif shape != tuple(example.shape):
        raise AdaptError(
            f"decode gave shape {shape}, the rows have {tuple(example.shape)}: if more follows in forward, write it, "
            "decode=lambda m, z: …. A forecast is another row than went in: pass the target of every row (target=, or "
            "--target), which it is scored against; or export it with --for generation"
        )
    if LIKELIHOODS[likelihood].takes_logits and not logits:
        check_probabilities(x_hat)
    if not torch.equal(x_hat, again):
        raise AdaptError(
            "decode gives other values on a second call, so it draws random numbers: return the mean of the "
            "distribution, decode=lambda m, z: …"
        )
    return x_hat


def check_probabilities(x_hat: Tensor) -> None:
    """Nothing, where every value is in [0, 1].

    Raises:
        AdaptError: one is not, so what is taken for probabilities are logits, or values of another kind.
    """
    low, high = float(x_hat.min()), float(x_hat.max())
    if not 0.0 <= low <= high <= 1.0:
        raise AdaptError(
            f"decode gives values from {low:.3g} to {high:.3g}, which are no probabilities: if they are logits, say "
            "--logits (in Python logits=True); else take another likelihood",
            explained=True,
        )
