"""What a score is made of: its terms, and the share of every element and every latent in them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..format.manifest import Manifest
from ..format.specs import InputSpec, LatentSpec
from ..record import record
from .inputs import Status
from .results import Posterior, Scores

if TYPE_CHECKING:
    from ..statistics.regions import Region

F32 = NDArray[np.float32]


@record(frozen=True, eq=False)
class Anatomy:
    """The score of n rows taken apart; a row that was not scored holds NaN.

    Attributes:
        scores: of every head of the bundle, with the map.
        features: (n, features) float32: share of each feature of a table or window in the
            reconstruction term, time summed up; of each pixel of an image, (n, height, width).
        times: (n, steps) float32: share of each step of a window; None elsewhere.
        latents: (n, *latent_shape) float32: share of each latent in the KL term; they add up to it; None
            where the model has no KL.
        regions: per row, connected places above the threshold of the head ``peak``;
            None without that head, and for tables.
        names: of the features, as the bundle has them.
        draws: of the posterior that the sampled heads decode; 0 without such a head.
    """

    scores: Scores
    features: F32
    times: F32 | None
    latents: F32 | None
    regions: tuple[tuple[Region, ...], ...] | None
    names: tuple[str, ...]
    draws: int

    def top(self, row: int, count: int = 3) -> tuple[tuple[str, float], ...]:
        """The elements of one row that contribute most: (name, share of the sum of positive shares).

        Names are those of the features; of an image "row,column", elsewhere the index.

        Raises:
            OptionError: there is no such row.
        """
        self._check(row, count)
        return top_shares(self.features[row], self.names, count)

    def to_dict(self, row: int, count: int = 3) -> dict[str, Any]:
        """One row in plain values, for JSON; None instead of NaN.

        Raises:
            OptionError: there is no such row.
        """
        self._check(row, count)
        from .plain import plain  # not at the top: a screen needs none of it

        latents = None if self.latents is None else self.latents[row].reshape(-1)
        strongest = [] if latents is None else np.argsort(-latents, kind="stable")[:count].tolist()
        values = {
            "status": Status(int(self.scores.status[row])),
            "score": float(self.scores.score[row]),
            "reconstruction": float(self.scores.reconstruction[row]),
            "kl": None if self.scores.kl is None else float(self.scores.kl[row]),
            "heads": {head: float(scores.score[row]) for head, scores in self.scores.heads.items()},
            "top": [{"name": name, "share": share} for name, share in self.top(row, count)],
            "regions": None if self.regions is None else [asdict(region) for region in self.regions[row]],
            "latents": [{"index": i, "kl": float(latents[i])} for i in strongest if latents is not None],
            "draws": self.draws,
        }
        return {name: plain(value) for name, value in values.items()}

    def _check(self, row: int, count: int) -> None:
        arguments.whole_number("row", row, low=-len(self.scores), high=len(self.scores) - 1)
        arguments.whole_number("count", count, low=0, high=sys.maxsize)

    def _repr_html_(self) -> str:
        """Scores, strongest elements and maps for a notebook."""
        from .html import anatomy_page

        return anatomy_page(self)


def anatomy(manifest: Manifest, scores: Scores, posterior: Posterior | None) -> Anatomy:
    """Take scores with a map apart; ``posterior`` of the same rows where the model has a KL."""
    features, times = element_shares(scores.map, manifest.input)
    latents = None if posterior is None or posterior.logvar is None else latent_shares(posterior, manifest.latent)
    places_above = None
    peak = scores.heads.get("peak")
    if peak is not None and peak.threshold is not None and manifest.input.layout in ("nchw", "nhwc", "time_features"):
        from ..statistics.regions import regions  # not at the top: whoever explains nothing pays nothing at start

        places = scores.map if manifest.input.layout == "time_features" else features
        places_above = tuple(regions(row, peak.threshold) for row in places)
    return Anatomy(scores, features, times, latents, places_above, manifest.input.names, manifest.score.draws)


@np.errstate(over="ignore", invalid="ignore")
def element_shares(maps: F32, spec: InputSpec) -> tuple[F32, F32 | None]:
    """Maps (n, *input_shape) to shares per feature or pixel, and per time step of windows."""
    if spec.layout == "time_features":
        return maps.sum(1), maps.sum(2)
    if spec.layout in ("nchw", "nhwc"):
        return maps.sum(1 if spec.layout == "nchw" else 3), None
    return maps, None


@np.errstate(over="ignore", invalid="ignore")
def latent_shares(posterior: Posterior, spec: LatentSpec) -> F32:
    """KL(N(mean_j, exp logvar_j) || N(0, 1)) per latent in nats, in the units of the model (n, *latent_shape)."""
    assert posterior.logvar is not None  # the caller has looked
    mean = posterior.mean / np.float32(spec.scale) + np.float32(spec.offset)
    logvar = posterior.logvar - np.float32(2 * np.log(spec.scale))
    return np.asarray(0.5 * (np.square(mean) + np.exp(logvar) - 1 - logvar), dtype=np.float32)


def top_shares(shares: NDArray[Any], names: tuple[str, ...], count: int) -> tuple[tuple[str, float], ...]:
    """The largest of one row's shares (features,) or (height, width): (name, part of the sum of the positive ones)."""
    flat = np.maximum(shares.reshape(-1).astype(np.float64), 0.0)
    total = float(flat.sum())
    if not total > 0:  # also NaN: the row was not scored
        return ()
    order = np.argsort(-flat, kind="stable")[:count]
    return tuple((_name(int(i), shares.shape, names), float(flat[i]) / total) for i in order if flat[i] > 0)


def _name(index: int, shape: tuple[int, ...], names: tuple[str, ...]) -> str:
    if len(names) == int(np.prod(shape)):
        return names[index]
    return ",".join(str(int(i)) for i in np.unravel_index(index, shape))
