"""Whatever ``encode`` and ``decode`` return, read by duck type: no library is imported for it.

Understood are tensors, tuples and lists, mappings, dataclasses and other objects with fields of
known names (``latent_dist``, ``latents``, ``embedding`` with ``log_covariance``, ``mean`` with
``logvar`` or ``stddev``, as ``torch.distributions`` have them), and codebook indices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vae_edge_runtime.errors import AdaptError

from ..adapters.scale_form import TO_LOGVAR, ScaleForm

MEAN_NAMES = ("mean", "mu", "loc", "z_mean", "z_mu", "mu_z", "embedding")
SCALE_NAMES: dict[str, ScaleForm] = {
    **dict.fromkeys(("logvar", "log_var", "log_variance", "z_logvar", "z_log_var", "log_covariance"), "logvar"),
    **dict.fromkeys(("log_std", "logstd", "log_sigma", "logsigma", "log_scale"), "log_std"),
    **dict.fromkeys(("stddev", "std", "sigma", "scale", "z_std"), "std"),
    **dict.fromkeys(("variance", "var"), "var"),
}
_INDEX_NAMES = ("indices", "codes", "encoding_indices", "quantized_indices", "min_encoding_indices")
_QUANTISED_NAMES = ("z_q", "quantized", "quantised", "quantized_vector", "quantize", "latents")
_DISTRIBUTION_NAMES = ("latent_dist", "posterior", "distribution", "dist", "q_z", "qz_x", "q")
_CODE_NAMES = ("latents", "latent", "z", "embedding", "code")
DECODED_NAMES = ("sample", "reconstruction", "x_hat", "x_recon", "recon_x", "recon", "reconstructed", "output", "mean")
_SPREAD_NAMES = ("x_logvar",)


@dataclass(frozen=True)
class Encoded:
    """What an encoder returned, sorted.

    Attributes:
        pairs: (mean, scale parameter) per latent, where names told them apart.
        scale_form: what the names say the parameters are; None where nothing was said.
        unnamed: two or more float tensors whose roles their order alone does not tell.
        code: the one tensor of a deterministic encoder.
        indices, z_q: of a codebook.
        how: in words, for the user.
    """

    how: str
    pairs: tuple[tuple[Tensor, Tensor], ...] = ()
    scale_form: ScaleForm | None = None
    unnamed: tuple[Tensor, ...] = ()
    code: Tensor | None = None
    indices: Tensor | None = None
    z_q: Tensor | None = None


def read_encoded(value: Any) -> Encoded:
    """Sort what an encoder returned.

    Raises:
        AdaptError: nothing in it is understood.
    """
    if isinstance(value, Tensor):
        return Encoded("one tensor", code=value)
    if isinstance(value, Distribution):
        _check_normal(value)
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return _read_sequence(value)
    fields = fields_of(value)
    for name in _DISTRIBUTION_NAMES:
        if name in fields:
            inner = read_encoded(fields[name])
            return dataclasses.replace(inner, how=f".{name}: {inner.how}")
    mean = next((name for name in MEAN_NAMES if isinstance(fields.get(name), Tensor)), None)
    scale = next((name for name in SCALE_NAMES if isinstance(fields.get(name), Tensor)), None)
    if mean and scale:
        pair = (fields[mean], fields[scale])
        return Encoded(f"{_kind(value)} with .{mean} and .{scale}", pairs=(pair,), scale_form=SCALE_NAMES[scale])
    indices = next((name for name in _INDEX_NAMES if isinstance(fields.get(name), Tensor)), None)
    quantised = next((name for name in _QUANTISED_NAMES if isinstance(fields.get(name), Tensor)), None)
    if indices and quantised:
        how = f"{_kind(value)} with .{indices} and .{quantised}"
        return Encoded(how, indices=fields[indices], z_q=fields[quantised])
    code = next((name for name in _CODE_NAMES if isinstance(fields.get(name), Tensor)), None)
    if code:
        return Encoded(f"{_kind(value)} with .{code}", code=fields[code])
    raise AdaptError(
        f"encode returned {shape_of(value)}; understood are a tensor, (mean, scale), or an object with "
        f"{', '.join(MEAN_NAMES[:3])} and one of {', '.join(list(SCALE_NAMES)[:4])}, …: "
        "write encode=lambda m, x: (mean, scale)"
    )


def _check_normal(value: Distribution) -> None:
    """A posterior is a diagonal Gaussian: the mean and scale of any other family mean something else."""
    base = value
    while isinstance(base, Independent):
        base = base.base_dist
    if not isinstance(base, Normal):
        name = type(base).__name__
        raise AdaptError(
            f"encode returns a {name}; a posterior with a KL is a Normal with one scale per latent. Take its mean as a "
            f"code, encode=lambda m, x: m.encode(x).mean, and the score is the reconstruction"
        )


def _read_sequence(value: tuple[Any, ...] | list[Any]) -> Encoded:
    tensors = [item for item in value if isinstance(item, Tensor)]
    if len(value) == 1:
        return read_encoded(value[0])
    posteriors = [item for item in value if isinstance(item, Distribution)]
    if len(posteriors) == 1 and len(tensors) == len(value) - 1:  # (posterior, a sample of it)
        return read_encoded(posteriors[0])
    if len(tensors) == len(value) and len(value) > 1:
        whole = [item for item in tensors if not item.is_floating_point()]
        floats = [item for item in tensors if item.is_floating_point() and item.ndim > 1]  # a loss has no axes
        if len(whole) == 1 and len(floats) == 1:
            return Encoded("indices and quantised latents", indices=whole[0], z_q=floats[0])
        if not whole:
            return Encoded(f"{len(value)} tensors", unnamed=tuple(tensors))
    pairs = [_pair(item) for item in value]
    if pairs and all(pair is not None for pair in pairs):
        return Encoded(f"a list of {len(pairs)} latents", pairs=tuple(p for p in pairs if p is not None))
    if len(value) == 2 and all(_tensors(item) for item in value) and len(value[0]) == len(value[1]):
        return Encoded(f"means and scales of {len(value[0])} latents", pairs=tuple(zip(*value, strict=True)))
    raise AdaptError(
        f"encode returned {shape_of(value)}: write encode=lambda m, x: (mean, scale), or a list of such pairs for a "
        "hierarchical model"
    )


def read_decoded(value: Any, *, count: int) -> tuple[Tensor, ...]:
    """``count`` tensors out of what a decoder returned: x_hat, or the two values of a distribution.

    Raises:
        AdaptError: there are more or fewer.
    """
    if count == 1 and isinstance(value, Tensor):
        return (value,)
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        if len(value) == count and all(isinstance(item, Tensor) for item in value):
            return tuple(value)
        if len(value) == 1:
            return read_decoded(value[0], count=count)
    elif not isinstance(value, Tensor):
        fields = fields_of(value)
        x_hat = next((fields[name] for name in DECODED_NAMES if isinstance(fields.get(name), Tensor)), None)
        if x_hat is not None and count == 1:
            return (x_hat,)
        spread = next((fields[name] for name in _SPREAD_NAMES if isinstance(fields.get(name), Tensor)), None)
        scale = next((name for name in SCALE_NAMES if isinstance(fields.get(name), Tensor)), None)
        if spread is None and scale is not None:
            spread = TO_LOGVAR[SCALE_NAMES[scale]](fields[scale])
        if x_hat is not None and spread is not None:
            return x_hat, spread
    wanted = (
        "two tensors: (x_hat, x_logvar) for likelihood 'gaussian' without a variance, (alpha, beta) for 'beta'"
        if count == 2
        else "one tensor x_hat (two are for likelihood 'gaussian' without a variance, or 'beta')"
    )
    raise AdaptError(f"decode must return {wanted}, not {shape_of(value)}")


def shape_of(value: Any) -> str:
    """A few words on a value nobody understood."""
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values ({', '.join(type(v).__name__ for v in value)})"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value))}"
    return f"a {type(value).__name__}"


def fields_of(value: Any) -> dict[str, Any]:
    """Fields by name; of an arbitrary object only those of known names are looked at."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_fields"):
        return {name: getattr(value, name) for name in value._fields}
    known = {*MEAN_NAMES, *SCALE_NAMES, *_INDEX_NAMES, *_QUANTISED_NAMES, *_DISTRIBUTION_NAMES, *_CODE_NAMES}
    present = {}
    for name in sorted(known | {*DECODED_NAMES, *_SPREAD_NAMES}):
        try:
            present[name] = getattr(value, name)
        except Exception:  # not there, a torch distribution without that moment, a property that raises
            continue
    return present


def _pair(value: Any) -> tuple[Tensor, Tensor] | None:
    if _tensors(value) and len(value) == 2:
        return value[0], value[1]
    return None


def _tensors(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) > 0 and all(isinstance(item, Tensor) for item in value)


def _kind(value: Any) -> str:
    return "a mapping" if type(value) is dict else f"a {type(value).__name__}"
