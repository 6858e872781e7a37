"""What two halves must do on real rows before they are worth tracing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.likelihoods import LIKELIHOODS, LikelihoodName

from ..adapters import Recipe
from .normalise import Encoded, read_encoded
from .probe import PinnedNoise
from .vae import AdaptedVae


def failed(what: str, module: nn.Module, feeds: tuple[Tensor, ...], error: Exception) -> AdaptError:
    """A half that raised: what, on which shapes, and a remedy where the text gives it away."""
    text, remedy = str(error), ""
    if "cuda" in text.lower() or "different device" in text.lower():
        remedy = ": code inside it asks for a GPU; take devices from its inputs (x.device), export runs on the CPU"
    elif "missing" in text and "positional argument" in text:
        remedy = ": if it is a conditional model, pass condition=, one per row"
    elif what == "encode" and any(word in text for word in ("shape", "size", "dimension", "channels")):
        remedy = _first_layer(module)
    elif what == "decode":
        remedy = ". If something comes before it in forward, write it, decode=lambda m, z: …"
    shapes = " and ".join(str(tuple(feed.shape)) for feed in feeds)
    return AdaptError(f"{what} failed on rows of shape {shapes}: {type(error).__name__}: {text}{remedy}")


def _first_layer(module: nn.Module) -> str:
    for name, part in module.named_modules():
        for attribute in ("in_features", "in_channels", "input_size"):
            if isinstance(takes := getattr(part, attribute, None), int):
                kind = type(part).__name__
                return f". Its first layer, {name} ({kind}), takes {takes}: check shape and layout of the rows"
    return ""


def check_encode(recipe: Recipe, module: nn.Module, feeds: tuple[Tensor, ...], encoded: Encoded) -> None:
    """Shapes with the batch first, the same values on a second call, and a row alone as among others.

    Of three and more unnamed tensors one may be a sample: it is left out of the graph.

    Raises:
        AdaptError: one of these does not hold.
    """
    n = len(feeds[0])
    pairs: list[tuple[Tensor, ...]] = [*encoded.pairs, *([encoded.unnamed] if len(encoded.unnamed) == 2 else [])]
    for mean, parameter in pairs:
        if mean.shape != parameter.shape or mean.shape[:1] != (n,):
            raise AdaptError(
                f"encode gave shapes {tuple(mean.shape)} and {tuple(parameter.shape)} for {n} rows; mean and scale "
                "need one shape with the batch first"
            )
    kept = feeds[0].clone()
    first, again = _tensors(encoded), _tensors(read_encoded(recipe.encode(module, *feeds)))
    if not torch.equal(kept, feeds[0]):
        raise AdaptError("encode changes its input in place: work on a copy (x = x * 2, not x *= 2 or x.mul_(2))")
    steady = [i for i, (a, b) in enumerate(zip(first, again, strict=True)) if torch.equal(a, b)]
    if len(steady) < (min(2, len(first)) if encoded.unnamed else len(first)):
        with PinnedNoise(0.0) as pin:
            recipe.encode(module, *feeds)
        places = ", ".join(f"{source.op} at {source.where}" for source in pin.sources) or "an unknown place"
        raise AdaptError(
            f"encode gives other values on a second call, so it samples ({places}): return (mean, scale) before the "
            "reparameterisation, for instance encode=lambda m, x: m.encoder(x)"
        )
    for rows in (1, n + 1):
        part = tuple(torch.cat([feed, feed[:1]])[:rows] for feed in feeds)
        try:
            other = _tensors(read_encoded(recipe.encode(module, *part)))
        except Exception as error:
            raise AdaptError(
                f"encode takes a batch of {n} and fails on a batch of {rows} ({error}): "
                "use x.shape[0] or -1 where the batch size is written as a number"
            ) from error
        for i in steady:
            same = other[i].shape[:1] == (rows,) and _close(other[i][0], first[i][0])
            if not same:
                raise AdaptError(
                    f"encode gives another result for a row in a batch of {rows} than in one of {n}: "
                    "rows must not influence each other (batch statistics, softmax over the batch axis)"
                )


def _tensors(encoded: Encoded) -> list[Tensor]:
    named = [tensor for pair in encoded.pairs for tensor in pair]
    listed = [*named, *encoded.unnamed, encoded.code, encoded.indices, encoded.z_q]
    return [tensor for tensor in listed if tensor is not None]


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-5)


def check_decode(vae: AdaptedVae, feeds: tuple[Tensor, ...], likelihood: LikelihoodName, *, logits: bool) -> Tensor:
    """The decoder gives rows of the right shape, the same ones each time; returns them."""
    example = feeds[0]
    latent = vae.encode(vae.module, *feeds)[0]
    try:
        x_hat = vae.decode(vae.module, latent, *feeds[1:])[0]
        again = vae.decode(vae.module, latent, *feeds[1:])[0]
    except AdaptError:
        raise
    except Exception as error:
        if vae.kind == "codes":
            raise AdaptError(
                f"decode of a VQ model is given indices {tuple(latent.shape)} and failed ({type(error).__name__}: "
                f"{error}): look them up in it, decode=lambda m, i: m.decode(m.codebook(i).permute(0, 3, 1, 2))"
            ) from error
        raise failed("decode", vae.module, (latent, *feeds[1:]), error) from error
    shape = tuple(x_hat.shape)
    if LIKELIHOODS[likelihood].values == "classes":
        if len(shape) != example.ndim + 1 or (shape[0], *shape[2:]) != tuple(example.shape):
            raise AdaptError(
                f"decode gave shape {shape}; a categorical needs (n, classes, *{tuple(example.shape[1:])})"
            )
    elif shape != tuple(example.shape):
        raise AdaptError(
            f"decode gave shape {shape}, the rows have {tuple(example.shape)}: if more follows in forward, write it, "
            "decode=lambda m, z: …"
        )
    low, high = float(x_hat.min()), float(x_hat.max())
    if LIKELIHOODS[likelihood].takes_logits and not logits and not 0.0 <= low <= high <= 1.0:
        raise AdaptError(
            f"decode gives values from {low:.3g} to {high:.3g}, which are no probabilities: if they are logits, say "
            "logits=True; else take another likelihood"
        )
    if not torch.equal(x_hat, again):
        raise AdaptError(
            "decode gives other values on a second call, so it draws random numbers: return the mean of the "
            "distribution, decode=lambda m, z: …"
        )
    return x_hat
