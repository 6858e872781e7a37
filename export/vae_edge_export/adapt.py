"""Any VAE to two functions: x -> (mean, logvar) and z -> x_hat."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vae_edge_runtime.errors import AdaptError, OptionError

Encode = Callable[[Any, Tensor], Any]
Decode = Callable[[Any, Tensor], Any]
Scale = Literal["logvar", "log_std", "std", "var"]

LOGVAR_RANGE = (-30.0, 20.0)
_SMALLEST_STD = 3e-7  # exp(-30 / 2): the same floor as LOGVAR_RANGE

TO_LOGVAR: dict[str, Callable[[Tensor], Tensor]] = {
    "logvar": lambda s: s,
    "log_std": lambda s: 2.0 * s,
    "std": lambda s: 2.0 * torch.log(s.clamp(min=_SMALLEST_STD)),
    "var": lambda s: torch.log(s.clamp(min=_SMALLEST_STD**2)),
}


@dataclass(frozen=True)
class AdaptedVae:
    """A private copy of the user's module, in eval mode on the CPU, and how to call its halves.

    Attributes:
        input_shape: of one row in model layout. latent_shape: of one latent, any rank.
        learned_variance: the decoder gives (x_hat, x_logvar).
    """

    module: nn.Module
    encode: Encode
    decode: Decode
    scale: Scale
    input_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    learned_variance: bool


def adapt(
    model: nn.Module,
    example: Tensor,
    *,
    encode: Encode | None = None,
    decode: Decode | None = None,
    scale: Scale = "logvar",
    learned_variance: bool = False,
) -> AdaptedVae:
    """Find the two halves of a VAE and check them on example rows.

    Args:
        model: left as it is; a copy is worked on.
        example: (n, *input_shape) float32, in model units and layout.
        encode: (model, x) -> (mean, scale parameter); default: the model's own ``encode``.
        decode: (model, z) -> x_hat, or (x_hat, x_logvar); default: the model's own ``decode``.
        scale: what the second value of ``encode`` is.

    Raises:
        AdaptError: a half is missing, draws random numbers, or gives other shapes.
        OptionError: ``scale`` is not a valid one.
    """
    if not isinstance(model, nn.Module):
        raise AdaptError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    if scale not in TO_LOGVAR:
        raise OptionError(f"scale is {scale!r}; valid are {', '.join(TO_LOGVAR)}")
    encode = encode or _own_method(model, "encode", "encode=lambda m, x: m.YOUR_METHOD(x)")
    decode = decode or _own_method(model, "decode", "decode=lambda m, z: m.YOUR_METHOD(z)")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AdaptError(f"weight {name} holds NaN or infinity: export an earlier checkpoint")
    try:
        module = copy.deepcopy(model).cpu().eval()
    except Exception as error:
        raise AdaptError(
            f"the model cannot be copied ({error}): detach stored graph tensors before exporting"
        ) from error
    module.requires_grad_(False)
    with torch.no_grad(), kept_rng():
        mean, parameter = _pair(_call("encode", encode, module, example))
        if mean.shape != parameter.shape or mean.shape[0] != example.shape[0]:
            raise AdaptError(
                f"encode gave shapes {tuple(mean.shape)} and {tuple(parameter.shape)} for {example.shape[0]} rows; "
                f"(mean, {scale}) need one shape with the batch first"
            )
        again = _pair(_call("encode", encode, module, example))
        if not all(torch.equal(a, b) for a, b in zip((mean, parameter), again, strict=True)):
            raise AdaptError(
                "encode gives other values on a second call, so it samples: return (mean, "
                f"{scale}) before the reparameterisation, for instance encode=lambda m, x: m.encoder(x)"
            )
        _check_rows_alone(encode, module, example, mean)
        decoded = _call("decode", decode, module, mean)
        x_hat = _decoded(decoded, learned_variance)[0]
        if x_hat.shape != example.shape:
            raise AdaptError(f"decode gave shape {tuple(x_hat.shape)}, the rows have {tuple(example.shape)}")
    return AdaptedVae(
        module=module,
        encode=encode,
        decode=decode,
        scale=scale,
        input_shape=tuple(example.shape[1:]),
        latent_shape=tuple(mean.shape[1:]),
        learned_variance=learned_variance,
    )


def posterior(vae: AdaptedVae, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, logvar) of rows in model units, both (n, *latent_shape); logvar is clamped."""
    mean, parameter = _pair(vae.encode(module, x))
    return mean, TO_LOGVAR[vae.scale](parameter).clamp(*LOGVAR_RANGE)


def reconstruction(vae: AdaptedVae, module: nn.Module, z: Tensor) -> tuple[Tensor, Tensor | None]:
    """(x_hat, x_logvar or None) in model units, both (n, *input_shape)."""
    return _decoded(vae.decode(module, z), vae.learned_variance)


def _own_method(model: nn.Module, name: str, line: str) -> Callable[[Any, Tensor], Any]:
    if callable(getattr(model, name, None)):
        return lambda m, value: getattr(m, name)(value)
    words = ("enc", "dec", "mu", "mean", "var", "latent", "posterior", "generat", "sample")
    near = [n for n in dir(type(model)) if not n.startswith("_") and any(w in n.lower() for w in words)]
    near += [n for n, _ in model.named_children() if n not in near]
    found = f" (it has: {', '.join(near[:8])})" if near else ""
    raise AdaptError(f"{type(model).__name__} has no method '{name}'{found}: pass {line}")


def _call(what: str, function: Callable[[Any, Tensor], Any], module: nn.Module, value: Tensor) -> Any:
    try:
        return function(module, value)
    except Exception as error:
        raise AdaptError(
            f"{what} failed on rows of shape {tuple(value.shape)}: {type(error).__name__}: {error}"
        ) from error


def _check_rows_alone(encode: Encode, module: nn.Module, example: Tensor, mean: Tensor) -> None:
    """A row must encode alone as it does among others, or no batch size but the traced one works."""
    for rows in (1, len(example) + 1):
        x = torch.cat([example, example[:1]])[:rows]
        try:
            found = _pair(encode(module, x))[0]
        except Exception as error:
            raise AdaptError(
                f"encode takes a batch of {len(example)} and fails on a batch of {rows} ({error}): "
                "use x.shape[0] or -1 where the batch size is written as a number"
            ) from error
        if found.shape[0] != rows or not torch.allclose(found[0], mean[0], rtol=1e-3, atol=1e-5):
            raise AdaptError(
                f"encode gives another mean for a row in a batch of {rows} than in one of {len(example)}: "
                "rows must not influence each other (batch statistics, softmax over the batch axis)"
            )


def _pair(value: Any) -> tuple[Tensor, Tensor]:
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, Tensor) for v in value):
        return value[0], value[1]
    raise AdaptError(f"encode must return two tensors (mean, scale parameter), not {_shape_of(value)}")


def _decoded(value: Any, learned_variance: bool) -> tuple[Tensor, Tensor | None]:
    if not learned_variance and isinstance(value, Tensor):
        return value, None
    if learned_variance and isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    wanted = (
        "(x_hat, x_logvar), for likelihood 'gaussian' without a variance" if learned_variance else "one tensor x_hat"
    )
    raise AdaptError(f"decode must return {wanted}, not {_shape_of(value)}")


def _shape_of(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values ({', '.join(type(v).__name__ for v in value)})"
    return f"a {type(value).__name__}"


@contextmanager
def kept_rng() -> Iterator[None]:
    """Leave torch's global generator as it was."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
