"""What a returned torch distribution says of itself is used: its family is the likelihood of a decoder.

A family is a row of a table: the likelihood of ours and how its parameters are read. Whether both are the same is
measured: -log p of the distribution against the formula of the likelihood, on rows at hand. A family without a row, or
with another -log p (a Laplace whose scale is learned), is refused by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..config import ExportConfig
from ..halves.normalise import fields_of
from .likelihoods import negative_log_likelihood

_RTOL = 1e-3


@dataclass(frozen=True)
class Family:
    """A family of distributions and the likelihood that has its -log p.

    Attributes:
        read: the distribution to what a decoder of that likelihood gives.
        logits: what is read are logits of a bernoulli.
    """

    kind: type[td.Distribution]
    likelihood: str
    read: Callable[[Any], Any]
    logits: bool = False


FAMILIES = (
    Family(td.Normal, "gaussian", lambda p: (p.mean, 2.0 * torch.log(p.stddev))),
    Family(td.Bernoulli, "bernoulli", lambda p: p.logits, logits=True),
    Family(td.Laplace, "laplace", lambda p: p.loc),
    Family(td.Beta, "beta", lambda p: (p.concentration1, p.concentration0)),
    Family(td.Categorical, "categorical", lambda p: p.logits.movedim(-1, 1)),
)


def distribution_in(value: Any) -> td.Distribution | None:
    """The one distribution that a value is or holds, without the ``Independent`` around it."""
    held = distributions_in(value)
    return held[0] if len(held) == 1 else None


def distributions_in(value: Any) -> list[td.Distribution]:
    """Every distribution that a value is or holds, without the ``Independent`` around it."""
    held = []
    for given in _distributions(value):
        while isinstance(given, td.Independent):
            given = given.base_dist
        held.append(given)
    return held


def _distributions(value: Any) -> Iterator[td.Distribution]:
    if isinstance(value, td.Distribution):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _distributions(item)
    elif not isinstance(value, (Tensor, str)):
        items = value if isinstance(value, Mapping) else fields_of(value)
        yield from (item for item in items.values() if isinstance(item, td.Distribution))


def with_family(
    recipe: Recipe, config: ExportConfig, decoded: Any, x: Tensor
) -> tuple[Recipe, ExportConfig, str | None]:
    """Recipe and config with the likelihood that a decoder's distribution names, and that said in words.

    Args:
        decoded: what ``decode`` returned for the codes of ``x``, (n, *input_shape) in model units.

    Raises:
        AdaptError: there is no likelihood of that family.
    """
    given = distribution_in(decoded)
    if given is None or config.likelihood != ExportConfig().likelihood:
        return recipe, config, None
    name = type(given).__name__
    family = next((row for row in FAMILIES if isinstance(given, row.kind)), None)
    said = (
        f"decode returns a {name}, and there is no likelihood of that family: score the squared error of its mean with "
        "decode=lambda m, z: m.decode(z).mean, or name a likelihood= that suits the rows"
    )
    if family is None:
        raise AdaptError(said)
    values = family.read(given)
    first, second = values if isinstance(values, tuple) else (values, None)
    ours = negative_log_likelihood(x, first, second, family.likelihood, None, logits=family.logits)
    if not _same_loss(given, x, ours):
        raise AdaptError(f"its -log p is not that of the likelihood '{family.likelihood}': {said}")
    decode, read = recipe.decode, family.read

    def decode_family(m: Any, z: Any, *condition: Tensor) -> Any:
        return read(distribution_in(decode(m, z, *condition)))

    config = dataclasses.replace(config, likelihood=family.likelihood, logits=family.logits)
    return dataclasses.replace(recipe, decode=decode_family), config, (
        f"decode returns a {name}: likelihood {family.likelihood}"
    )  # fmt: skip


def _same_loss(given: td.Distribution, x: Tensor, ours: Tensor) -> bool:
    """Whether -log p of each row is ours, where both are finite."""
    validating, given._validate_args = given._validate_args, False  # grey values are no coin flips, and scored as such
    try:
        loss = -given.log_prob(x)
    except (ValueError, RuntimeError):  # of another shape
        return False
    finally:
        given._validate_args = validating
    if len(loss) != len(x):
        return False
    rows, mine = loss.reshape(len(x), -1).sum(1), ours.reshape(len(x), -1).sum(1)
    where = torch.isfinite(rows) & torch.isfinite(mine)
    return bool(where.any()) and bool(torch.allclose(rows[where], mine[where], rtol=_RTOL, atol=_RTOL))
