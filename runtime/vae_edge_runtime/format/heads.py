"""The table of heads: every way a bundle can score a row, one row of the table each.

The manifest, the exporter, calibration, scoring, the command line and ``docs/anomaly-scores.md`` read this
table. ``tests/export/graphs/test_head_table.py`` holds each row to a formula, a test of it, and a line in the docs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..record import record

Computed = Literal["score", "sampled", "statistics", "p_values"]


@record(frozen=True)
class Head:
    """One way to score a row.

    Attributes:
        name: in manifests, on the command line and in results.
        computed: where. ``score``, ``sampled``: in the graph of this name. ``statistics``: in numpy, from outputs of
            ``score`` and statistics of the calibration rows. ``p_values``: in numpy, from those of other heads.
        help: one line, as in the docs.
        source: the publication of the method, as in the docs; empty where there is none.
        in_nats: whether the score is in nats.
        is_term: whether the graph ``score`` has it as an output whatever the heads are.
        is_sum: whether it is the weighted sum of the terms, which ``ScoreSpec.transform`` is for.
        needs_kl: whether the model needs a KL in closed form.
        images_only: whether rows must be images.
        reads_codes: whether it reads the posterior means, which the graph ``score`` then gives as ``mean``.
        statistic: the field of ``manifest.Variant`` that holds what calibration fits for it, if anything.
        may_be_default: whether it may come first, as the output ``score``.
        may_decide: whether a bundle may decide by it, wherever it is computed (``ScoreSpec.decides_by``).
        may_be_part: whether ensembles combine it.
        over_tiles: how scores of tiles make that of a picture: ``sum`` or ``mean`` of what each has of its own,
            ``top`` and ``peak`` of the blended map; None: a bundle of tiles cannot have it.
        trap_advice: its place among the heads that an export names where the default one falls for a likelihood
            trap; None where it is not named.
    """

    name: str
    computed: Computed
    help: str
    source: str
    in_nats: bool = False
    is_term: bool = False
    is_sum: bool = False
    needs_kl: bool = False
    images_only: bool = False
    reads_codes: bool = False
    statistic: Literal["latent_statistics", "typical_score"] | None = None
    may_be_default: bool = False
    may_decide: bool = True
    may_be_part: bool = True
    over_tiles: Literal["sum", "mean", "top", "peak"] | None = None
    trap_advice: int | None = None

    @property
    def grows_with_picture(self) -> bool:
        """Whether the score of a picture in tiles adds up what its tiles have: a threshold is for one size."""
        return self.over_tiles == "sum"


_TABLE = (
    Head(
        "elbo", "score", "w_r · reconstruction + w_k · kl: the negative ELBO at the posterior mean",
        "Kingma & Welling 2013", in_nats=True, is_sum=True, needs_kl=True, may_be_default=True, over_tiles="sum",
    ),
    Head(
        "reconstruction", "score", "w_r · reconstruction", "",
        in_nats=True, is_sum=True, is_term=True, may_be_default=True, over_tiles="sum",
    ),
    # Measured on shifted data: KL alone ranks anomalies as more normal (AUROC 0.28). It is neither default nor part.
    Head(
        "kl", "score", "kl; a channel, never the default", "",
        in_nats=True, is_term=True, needs_kl=True, may_decide=False, may_be_part=False, over_tiles="sum",
    ),
    Head(
        "top", "score", "mean of the largest share (1 %) of the map's places", "",
        in_nats=True, may_be_default=True, over_tiles="top", trap_advice=2,
    ),
    Head(
        "peak", "score", "the largest place of the map", "", in_nats=True, may_be_default=True, over_tiles="peak",
    ),
    Head(
        "ssim", "score", "1 − mean SSIM(x, x̂), images", "Wang et al. 2004; Bergmann et al. 2018",
        images_only=True, may_be_default=True, over_tiles="mean", trap_advice=3,
    ),
    Head(
        "gradient", "score", "Σ (∇(x − x̂))², images: edges in the residual, not light", "Mathieu et al. 2016",
        images_only=True, may_be_default=True, over_tiles="sum",
    ),
    Head(
        "reconstruction_probability", "sampled", "−mean over K draws z ~ q(z|x) of log p(x|z)", "An & Cho 2015",
        in_nats=True, needs_kl=True,
    ),
    Head(
        "iwae", "sampled", "−log mean over K draws of p(x, z) / q(z|x)", "Burda et al. 2016",
        in_nats=True, needs_kl=True,
    ),
    Head(
        "mahalanobis", "statistics",
        "distance of μ from the calibration codes, covariance shrunk after Ledoit & Wolf 2004", "Denouden et al. 2018",
        reads_codes=True, statistic="latent_statistics", trap_advice=1,
    ),
    Head(
        "typicality", "statistics", "|score − mean calibration score|, of the default head", "Nalisnick et al. 2019",
        in_nats=True, statistic="typical_score", over_tiles="sum", trap_advice=4,
    ),
    Head(
        "fisher", "p_values", "−2 Σ ln p over the p-values of the other heads", "Fisher 1925", may_be_part=False,
        over_tiles="sum",
    ),
    Head("harmonic", "p_values", "mean of 1 / p over them", "Wilson 2019", may_be_part=False, over_tiles="sum"),
    Head("ranks", "p_values", "mean of 1 − p over them", "", may_be_part=False, over_tiles="sum"),
)  # fmt: skip

HEADS: dict[str, Head] = {head.name: head for head in _TABLE}
"""By name, in the order of the JSON Schema."""

if TYPE_CHECKING:
    HeadName = str
else:
    # The names as a type: the manifest's reader and its JSON Schema are made from types.
    HeadName = Literal[tuple(HEADS)]


def computed(*where: Computed) -> tuple[str, ...]:
    """Names of the heads that are computed in one of these places, in the order of the table."""
    return tuple(head.name for head in _TABLE if head.computed in where)


def defaults() -> tuple[str, ...]:
    """Names of the heads that may be the default one, in the order of the table."""
    return tuple(head.name for head in _TABLE if head.may_be_default)
