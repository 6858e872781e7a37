"""The table of likelihoods: what the output of a decoder may mean, one row of the table each.

The formulas are in ``vae_edge_export/graphs/likelihoods.py``, under the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..record import record


@record(frozen=True)
class Likelihood:
    """One p(x|z).

    Attributes:
        name: in manifests and on the command line.
        help: one line.
        second_output: when the decoder gives two tensors: ``never``, ``always``, or ``without_variance``, where no
            fixed variance is given.
        values: that a row may hold in model units: ``real``; ``unit``: in [0, 1]; ``classes``: whole numbers from 0.
        takes_variance, takes_logits: which options of an export belong to it.
        is_square: whether -log p is a squared error, whose root is a distance (``ScoreSpec.transform``).
    """

    name: str
    help: str
    second_output: Literal["never", "always", "without_variance"] = "never"
    values: Literal["real", "unit", "classes"] = "real"
    takes_variance: bool = False
    takes_logits: bool = False
    is_square: bool = False


_TABLE = (
    Likelihood("mse", "sum of squared errors", is_square=True),
    Likelihood(
        "bernoulli", "binary cross-entropy of values in [0, 1]; the decoder gives probabilities, or logits",
        values="unit", takes_logits=True,
    ),
    Likelihood(
        "gaussian", "of a fixed variance, or the decoder gives (mean, logvar)",
        second_output="without_variance", takes_variance=True,
    ),
    Likelihood("laplace", "sum of absolute errors, of scale 1"),
    Likelihood(
        "beta", "of values in [0, 1]; the decoder gives (alpha, beta)", second_output="always", values="unit",
    ),
    Likelihood(
        "categorical", "of whole numbers from 0; the decoder gives logits (n, classes, *row_shape)", values="classes",
    ),
)  # fmt: skip

LIKELIHOODS: dict[str, Likelihood] = {likelihood.name: likelihood for likelihood in _TABLE}
"""By name, in the order of the JSON Schema."""

if TYPE_CHECKING:
    LikelihoodName = str
else:
    LikelihoodName = Literal[tuple(LIKELIHOODS)]  # as in heads.py
