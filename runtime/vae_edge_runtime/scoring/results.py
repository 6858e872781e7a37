"""What a session gives back: plain arrays with names, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import arguments
from ..errors import CalibrationError, OptionError, PairMismatch
from ..format.specs import element_count
from ..record import record
from ..sampling.noise import standard_normal
from ..statistics.conformal import ScoreSketch
from ..text import counted
from .inputs import Status

F32 = NDArray[np.float32]


@record(frozen=True)
class SessionInfo:
    """What really runs.

    Attributes:
        degraded: True where something other than the wish runs; ``degraded_reason`` says what.
        threads, spin: asked for within one run; None where the engine chooses.
        isolated: the engine runs in a process of its own.
        tuned: why ``vae-edge tune`` chose this; None where it did not.
    """

    path: str
    bundle_id: str
    backend: str
    engine_version: str
    provider: str
    device: str
    variant: str
    degraded: bool
    degraded_reason: str | None
    threads: int | None
    tuned: str | None = None
    spin: bool | None = None
    isolated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.backend} {self.engine_version} · {self.provider} · {self.variant}"
        text += f" · tuned: {self.tuned}" if self.tuned else ""
        text += " · in a process of its own" if self.isolated else ""
        return f"{text} · DEGRADED: {self.degraded_reason}" if self.degraded else text


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores:
    """Scores of n rows by one head; NaN where a row was not scored.

    Attributes:
        score: (n,) float32, larger is less normal; the unit is the head's own.
        threshold: the one ``is_anomaly`` uses; None where the bundle carries no calibration.
        warning: why threshold and p-values do not hold for these rows; None where they do.
    """

    score: F32
    threshold: float | None
    _sketch: ScoreSketch | None
    warning: str | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        return f"<HeadScores of {counted(len(self.score), 'row')}: {self._decisions()}>"

    def _decisions(self) -> str:
        """Threshold and number of anomalies, for one line of text."""
        if self.threshold is None:
            return "no threshold"
        return (
            f"threshold {self.threshold:.6g}, {counted(int(np.count_nonzero(self.is_anomaly)), 'anomaly', 'anomalies')}"
        )

    @property
    def calibrated(self) -> bool:
        """Whether there are p-values."""
        return self._sketch is not None

    @property
    def is_anomaly(self) -> NDArray[np.bool_]:
        """(n,) bool: score > threshold; False where a row was not scored.

        Raises:
            CalibrationError: the bundle has no calibration and no threshold was passed.
        """
        if self.threshold is None:
            raise CalibrationError("this bundle carries no calibration: pass threshold=...")
        above: NDArray[np.bool_] = self.score > np.float64(self.threshold)  # a comparison with NaN is False
        return above

    @cached_property
    def p_value(self) -> NDArray[np.float64]:
        """(n,) float64: split-conformal p-value against the calibration rows; NaN if not scored.

        Raises:
            CalibrationError: the bundle has no calibration.
        """
        if self._sketch is None:
            raise CalibrationError("this bundle carries no calibration, so there are no p-values")
        return self._sketch.p_values(self.score)

    def discoveries(self, false_discovery_rate: float) -> NDArray[np.bool_]:
        """(n,) bool: rows to call anomalies together, so that of those called at most this share is normal.

        Benjamini & Hochberg 1995, on conformal p-values (Bates et al. 2023): for rows judged as one
        batch, where ``is_anomaly`` judges each for itself.

        Raises:
            CalibrationError: the bundle has no calibration. OptionError: the rate is not inside (0, 1).
        """
        from ..statistics.multiplicity import benjamini_hochberg  # not at the top: few callers judge batches

        return benjamini_hochberg(self.p_value, arguments.number("false_discovery_rate", false_discovery_rate))

    def to_dict(self) -> dict[str, Any]:
        """Columns of plain values, for JSON; None where a row was not scored, or the bundle has no calibration."""
        from .plain import head_columns  # not at the top: a device that writes no JSON does not pay for it

        return head_columns(self, np.isfinite(self.score))


@dataclass(frozen=True, eq=False, repr=False)
class Scores(HeadScores):
    """Scores of n rows; a row whose ``status`` is not 0 holds NaN and is no anomaly.

    Attributes:
        score: (n,) float32, never clamped: that of the head that decides, ``VAE.heads[0]``.
            For ``elbo`` the weighted sum of the next two, in nats.
        reconstruction: (n,) float32, -log p(x | z = posterior mean) up to a constant, nats.
        kl: (n,) float32, KL(q(z|x) || N(0, I)), nats; None where the model has none.
        status: (n,) uint8, values of ``Status``.
        heads: those that were asked for, the default one among them, by name.
    """

    reconstruction: F32
    kl: F32 | None
    status: NDArray[np.uint8]
    heads: Mapping[str, HeadScores]
    _map: F32 | None

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        counts = {status.name.lower(): int(np.count_nonzero(self.status == status)) for status in Status}
        statuses = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        text = f"<Scores of {counted(len(self), 'row')} by {', '.join(self.heads)}: {self._decisions()}"
        return f"{text}; {statuses}>" if statuses else f"{text}>"

    def decided_by(self, head: str, threshold: float | None = None) -> Scores:
        """The same rows decided by another head.

        Args:
            head: of those that were asked for.
            threshold: in the unit of the head, instead of the calibrated one.

        Raises:
            OptionError: the head was not asked for, or the threshold is no finite number.
        """
        if threshold is not None:
            threshold = arguments.number("threshold", threshold, note=", in the unit of the score")
        if arguments.text("head", head) not in self.heads:
            raise OptionError(f"head {head!r} was not asked for: call score(x, heads={head!r})")
        own = self.heads[head]
        used = own.threshold if threshold is None else threshold
        others = {name: scores for name, scores in self.heads.items() if name != head}
        warning = own.warning if threshold is None else None
        heads = {head: HeadScores(own.score, used, own._sketch, warning=warning), **others}
        return replace(self, score=own.score, threshold=used, _sketch=own._sketch, warning=warning, heads=heads)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(n,) bool: which rows were scored."""
        return np.equal(self.status, Status.OK)

    @property
    def map(self) -> F32:
        """(n, *input_shape) float32: share of each element in ``reconstruction``; they add up to it, unless
        the bundle smooths them (``manifest.score.map_sigma``).

        Raises:
            OptionError: maps were not asked for.
        """
        if self._map is None:
            raise OptionError("maps were not asked for: call score(x, maps=True)")
        return self._map

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Columns of plain values, for JSON: a list of n values each, statuses by name, None instead of NaN.

        Args:
            maps: also the map, n nested lists.

        Raises:
            OptionError: maps were not asked for when the rows were scored.

        Example:
            >>> json.dumps(vae.score(x).to_dict(), allow_nan=False)  # doctest: +SKIP
        """
        from .plain import scores_columns

        return scores_columns(self, maps=arguments.flag("maps", maps))

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        from .html import scores_page

        return scores_page(self)


@record(frozen=True, eq=False)
class Posterior:
    """q(z|x) of n rows: a diagonal Gaussian, or one point where the model has no more to say.

    Attributes:
        mean: (n, *latent_shape) float32; the code itself of a deterministic model, the quantised
            ``z_q`` (n, *embedding_shape) of a VQ model. NaN where ``status`` is not 0.
        logvar: (n, *latent_shape) float32, NaN likewise; None where there is no posterior.
        indices: (n, *latent_shape) int64 of a VQ model, -1 where ``status`` is not 0; else None.
        status: (n,) uint8, values of ``Status``.
        pair_id: of the bundle that encoded; ``VAE.decode`` refuses a posterior of another model.
        groups: shapes of the latents of a hierarchical model, which ``mean`` holds one after the other.
    """

    mean: F32
    logvar: F32 | None
    indices: NDArray[np.int64] | None
    status: NDArray[np.uint8]
    pair_id: str
    groups: tuple[tuple[int, ...], ...] = ()

    def codes_for(self, pair_id: str) -> NDArray[Any]:
        """What a decoder takes: the means, or the indices of a VQ model.

        Args:
            pair_id: of the decoder.

        Raises:
            PairMismatch: the decoder belongs to another encoder.
        """
        if self.pair_id != arguments.text("pair_id", pair_id):
            raise PairMismatch(
                f"this posterior was encoded by model {self.pair_id}, this decoder belongs to {pair_id}: decode it "
                "with the bundle that encoded it"
            )
        return self.mean if self.indices is None else self.indices

    @property
    @np.errstate(over="ignore")
    def std(self) -> F32:
        """(n, *latent_shape) float32: exp(logvar / 2).

        Raises:
            OptionError: the model has no posterior.
        """
        if self.logvar is None:
            raise OptionError("this model's code has no spread: it is deterministic (an autoencoder or a VQ model)")
        return np.asarray(np.exp(np.float32(0.5) * self.logvar), dtype=np.float32)

    @property
    def means(self) -> tuple[F32, ...]:
        """``mean`` per latent of a hierarchical model, (n, *group) each; (mean,) of any other."""
        if not self.groups:
            return (self.mean,)
        ends = np.cumsum([element_count(group) for group in self.groups])
        parts = np.split(self.mean, ends[:-1], axis=1)
        return tuple(part.reshape(len(part), *group) for part, group in zip(parts, self.groups, strict=True))

    @np.errstate(over="ignore", invalid="ignore")
    def sample(self, *, seed: int, temperature: float = 1.0) -> F32:
        """One latent per row, (n, *latent_shape) float32: mean + temperature * std * noise(seed)."""
        temperature = arguments.number("temperature", temperature)
        noise = standard_normal(self.mean.size, seed=seed).reshape(self.mean.shape)
        return np.asarray(self.mean + np.float32(temperature) * self.std * noise, dtype=np.float32)
