"""What a user may say about an export, and what an export says back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from vae_edge_runtime import arguments
from vae_edge_runtime.arguments.by_annotation import check_fields
from vae_edge_runtime.compression_tables import parse_modes
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import Compression, ModelFit, Parity, Verdict
from vae_edge_runtime.format.heads import HEADS, HeadName, defaults
from vae_edge_runtime.format.likelihoods import LIKELIHOODS, LikelihoodName
from vae_edge_runtime.format.manifest import Calibration, Variant
from vae_edge_runtime.format.specs import Fit, Layout
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.format.strict_json import not_text
from vae_edge_runtime.scoring.calibrate import Method
from vae_edge_runtime.scoring.plain import plain

from .gates import DEFAULT_GATES, Gate

Precision = Literal["fp32", "fp16", "int8", "int8-cpu"]

_FREE_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
"""Variants of free height and width."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of an export; every one has a default.

    Attributes:
        name, version, licence, source, description, metrics: the model card.
        release: counts up with every bundle that replaces another.
        likelihood: what the decoder's output means: ``mse``, ``bernoulli`` (probabilities of
            values in [0, 1]), ``gaussian``, ``laplace``, ``beta`` ((alpha, beta) of values in [0, 1]),
            ``categorical`` (logits (n, classes, *row_shape) of whole numbers from 0).
        variance: of ``gaussian``; None: the decoder gives (mean, logvar).
        logits: of ``bernoulli``: the decoder gives logits, and ``decode`` turns them into
            probabilities. Better than probabilities, which have no digits left near 0 and 1.
        reconstruction_weight, kl_weight: of the score; 1 and 1 is the negative ELBO. kl_weight None:
            1 where the model has a KL in closed form, else there is none.
        transform: ``sqrt``: the score is the root of that sum, a distance where it is one of squares.
        heads: what the bundle can score by, the default one first (``docs/anomaly-scores.md`` has them
            all); empty: ``elbo`` where the model has a KL that counts, else ``reconstruction``; for pictures
            with ``top`` and ``peak`` beside it.
        top_share: of the elements of the map whose mean is the head ``top``.
        draws: of the posterior, for the heads ``reconstruction_probability`` and ``iwae``.
        map_sigma: smooths the map, and with it the heads ``top`` and ``peak``; in pixels or steps.
        map_channels: of colour pictures: ``plain``: each channel's share; ``whitened``: residuals over the covariance
            that normal ones have, which shows a wrong colour. It moves the heads ``top`` and ``peak``.
        offset, scale: x_model = (x - offset) / scale; one value, or one per channel or feature.
        layout: of raw rows; images in ``nhwc`` are turned to NCHW inside the graph.
        names: of the features, for tables and windows.
        fit: how pictures of another size were brought to this one; readers of the bundle do the same.
        tile, overlap: pictures are larger than the model's rows, which are squares of ``tile`` pixels that overlap by
            ``overlap``; scores, maps and thresholds are of whole pictures.
        dynamic_size: ``encode`` and ``decode`` take pictures of other heights and widths than the rows have, too; what
            is calibrated (scores, thresholds, maps) keeps the size of the rows.
        size_multiple: pixels that height and width are multiples of then; None: found.
        output_dtype: of ``decode``: ``uint8`` rounds and saturates at 0 and 255.
        false_positive_rate: what the calibrated threshold stands for.
        threshold_method: ``conformal``, a quantile; or ``tail``, peaks over threshold, for rates that a
            quantile of so few rows cannot back.
        threshold: one the model brings along, instead of the calibrated one.
        parity_rtol: largest relative difference from PyTorch of any output on real rows.
        min_rank_correlation, max_flipped_fraction, max_auroc_change: the verdict gate.
        precisions: variants of the bundle. ``int8`` is what TensorRT takes; ``int8-cpu`` what onnxruntime runs fast.
        gates: what fp16 and int8 must keep of fp32, by variant; default: ``DEFAULT_GATES``.
        golden_rows: rows of the self-test in the bundle.
        least_r2: refuse a model whose R² on normal rows is below; None: only one that another preparation of the
            rows mends. The command line says -0.5.
        allow_poor_fit: refuse no model for its R².
        compress: ways to compress that the bundle offers, comma separated: bounds such as ``0.1`` (of the spread of
            each feature) or ``2u`` (data units), ``exact``, ``latents``; ``auto`` alone: the widest bound that flips no
            decision; None: none.
        alarm: from decisions to alarms in a stream; None: every anomaly is one.
        guard_margin: share of the range seen that a sensor may leave it by.
        stuck_rows: equal values in a row that are a stuck sensor, or a saturated one at the end of its range;
            0: not looked at; None: three times the longest run in the calibration windows.
        period_s: seconds between the rows of a stream, to find gaps; None: not looked at.
    """

    name: str = "vae"
    version: str = "1"
    licence: str = "unspecified"
    source: str = ""
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    release: int = 1
    likelihood: LikelihoodName = "mse"
    variance: float | None = None
    logits: bool = False
    reconstruction_weight: float = 1.0
    kl_weight: float | None = None
    transform: Literal["identity", "sqrt"] = "identity"
    heads: tuple[HeadName, ...] = ()
    top_share: float = 0.01
    draws: int = 8
    map_sigma: float = 0.0
    map_channels: Literal["plain", "whitened"] = "plain"
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    layout: Layout = "any"
    names: tuple[str, ...] = ()
    fit: Fit = "exact"
    tile: int | None = None
    overlap: int = 0
    dynamic_size: bool = False
    size_multiple: int | None = None
    output_dtype: Literal["float32", "uint8"] = "float32"
    false_positive_rate: float = 0.01
    threshold_method: Method = "conformal"
    threshold: float | None = None
    alarm: AlarmSpec | None = None
    guard_margin: float = 0.5
    stuck_rows: int | None = None
    period_s: float | None = None
    parity_rtol: float = 1e-4
    min_rank_correlation: float = 0.9999
    max_flipped_fraction: float = 0.0
    max_auroc_change: float = 0.0005
    precisions: tuple[Precision, ...] = ("fp32",)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    golden_rows: int = 4
    least_r2: float | None = None
    allow_poor_fit: bool = False
    compress: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_texts()
        self._check_tiles()
        self._check_size()
        likelihood = LIKELIHOODS[self.likelihood]
        if self.variance is not None and (not likelihood.takes_variance or self.variance <= 0):
            raise OptionError(f"variance is for likelihood={_those('takes_variance')}, and positive")
        if self.logits and not likelihood.takes_logits:
            raise OptionError(f"logits is for likelihood={_those('takes_logits')}")
        if self.compress is not None:
            parse_modes(self.compress)
        if min(self.scale, default=0) <= 0 or len(self.offset) != len(self.scale):
            raise OptionError(f"offset {self.offset} and scale {self.scale} need one length, and scale is positive")
        kl_weight = self.kl_weight or 0.0
        if min(self.reconstruction_weight, kl_weight) < 0 or self.reconstruction_weight + kl_weight == 0:
            raise OptionError("the weights of the score must not be negative, nor both 0")
        if self.reconstruction_weight == 0:
            # Measured on shifted data: KL alone ranks anomalies as more normal (AUROC 0.28).
            raise OptionError("a score of KL alone inverts under shift: give reconstruction_weight a positive value")
        self._check_heads()
        if self.transform == "sqrt" and not likelihood.is_square:
            raise OptionError(f"transform 'sqrt' is for likelihood {_those('is_square')}: the others can be negative")
        if self.guard_margin < 0 or (self.stuck_rows or 0) < 0 or (self.period_s is not None and self.period_s <= 0):
            raise OptionError("guard_margin and stuck_rows are not negative, and period_s is positive")
        known = get_args(Precision)
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            raise OptionError("precisions names no variant, or one twice")
        if wrong := [name for name in self.gates if name not in known]:
            raise OptionError(f"gates are of {wrong[0]!r}; valid are {', '.join(known)}")
        if self.release < 1 or self.golden_rows < 1:
            raise OptionError("release and golden_rows start at 1")

    def gate(self, variant: str) -> Gate:
        """What a reduced variant is held to; OptionError for fp32, which is held to PyTorch."""
        arguments.choice("variant", variant, tuple(DEFAULT_GATES))
        return self.gates.get(variant, DEFAULT_GATES[variant])

    def _check_tiles(self) -> None:
        if self.tile is None:
            if self.overlap:
                raise OptionError("overlap is of tiles: say how large a tile is, too")
            return
        if self.layout not in ("nchw", "nhwc") or self.fit != "exact":
            raise OptionError("tiles are of pictures, in layout 'nchw' or 'nhwc', that are not brought to a size")
        if not 0 <= self.overlap <= self.tile // 2:
            raise OptionError(f"overlap is {self.overlap}; it is from 0 to half of a tile, {self.tile // 2}")
        if self.precisions != ("fp32",):
            raise OptionError("a bundle of tiles has the variant fp32 alone")
        if wrong := [head for head in self.heads if HEADS[head].over_tiles is None]:
            known = ", ".join(head for head, row in HEADS.items() if row.over_tiles)
            raise OptionError(f"head '{wrong[0]}' has no rule for tiles; those that have: {known}")

    def _check_texts(self) -> None:
        """What the manifest says in words: its reader would refuse the rest, after all the work."""
        texts = {name: getattr(self, name) for name in ("name", "version", "licence", "source", "description")}
        texts |= {f"feature {i}": name for i, name in enumerate(self.names)}
        for what, text in texts.items():
            if bad := not_text(text):
                raise OptionError(f"{what} holds the character {bad!a}, which is not text: write it in other letters")
        if len(set(self.names)) < len(self.names):
            twice = Counter(self.names).most_common(1)[0][0]
            raise OptionError(f"names holds {twice!r} twice: a column of a table is found by its name")
        if not self.name.strip():
            raise OptionError("name is empty: say what the model is called")

    def _check_size(self) -> None:
        if not self.dynamic_size:
            if self.size_multiple is not None:
                raise OptionError("size_multiple is of a height and width that are free: say dynamic_size, too")
            return
        if self.size_multiple is not None and self.size_multiple < 1:
            raise OptionError(f"size_multiple is {self.size_multiple}; it is at least 1")
        if self.layout not in ("nchw", "nhwc") or self.tile is not None:
            raise OptionError("dynamic_size is of pictures, in layout 'nchw' or 'nhwc', that are not cut into tiles")
        if wrong := [name for name in self.precisions if name not in _FREE_PRECISIONS]:
            raise OptionError(
                f"dynamic_size has the variants {', '.join(_FREE_PRECISIONS)}; '{wrong[0]}' writes sizes into graphs"
            )

    def _check_heads(self) -> None:
        if len(set(self.heads)) != len(self.heads):
            raise OptionError(f"heads {', '.join(self.heads)}: one is named twice")
        if self.heads and not HEADS[self.heads[0]].may_be_default:
            raise OptionError(
                f"'{self.heads[0]}' cannot be the default head, which comes first: name one of "
                f"{', '.join(defaults())} before it"
            )
        combined = any(HEADS[head].computed == "p_values" for head in self.heads)
        if combined and len(self.ensemble_parts) < 2:
            raise OptionError("an ensemble combines at least two other heads (kl does not count): name them in heads")
        if self.transform == "sqrt" and self.heads and not HEADS[self.heads[0]].is_sum:
            raise OptionError(f"transform 'sqrt' is for a sum of squares, not for the head '{self.heads[0]}'")
        if not 0 < self.top_share <= 1 or self.draws < 1 or self.map_sigma < 0:
            raise OptionError("top_share is in (0, 1], draws is at least 1, and map_sigma is not negative")

    @property
    def ensemble_parts(self) -> tuple[HeadName, ...]:
        """The heads that ensembles combine; not ``kl``, which can call anomalies the most normal of all."""
        return tuple(head for head in self.heads if HEADS[head].may_be_part)


def _those(quality: str) -> str:
    """Likelihoods that have a quality, for messages."""
    return ", ".join(f"'{name}'" for name, likelihood in LIKELIHOODS.items() if getattr(likelihood, quality))


@dataclass(frozen=True)
class ExportReport:
    """What was measured; ``to_dict`` for JSON.

    Attributes:
        weight_bytes: of the weights the graphs of all variants need, each counted once a variant.
        stored_weight_bytes: of weights in the bundle; equal where each is stored once.
        default_variant: the one whose figures the properties give: the first asked for.
        fit: how well the model fits the normal rows.
        variants: figures per variant: parity per "graph.output", verdict, calibration of the default
            head, those of the others (``channels``), traps, and of fp16 and int8 what was reduced and how well.
        graph_bytes: per variant, of its graphs and weights in the bundle.
        compression: ways to compress that the bundle offers, with their figures; None: none.
        evidence: what was found in the model, and how.
        advice: which head to decide by, measured on labelled rows or, for pictures, on pasted defects.
        warnings: what to know before trusting the bundle.
        seconds: per stage.
    """

    path: Path
    size_bytes: int
    weight_bytes: int
    stored_weight_bytes: int
    bundle_id: str
    pair_id: str
    default_head: str
    default_variant: str
    fit: ModelFit
    variants: dict[str, Variant]
    graph_bytes: dict[str, int]
    compression: Compression | None
    evidence: tuple[str, ...]
    advice: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def parity(self) -> dict[str, Parity]:
        """Per "graph.output"."""
        return self.variants[self.default_variant].parity

    @property
    def verdict(self) -> Verdict:
        """Of the default head."""
        verdict = self.variants[self.default_variant].verdict
        assert verdict is not None  # an export always measures one
        return verdict

    @property
    def calibration(self) -> Calibration:
        """Of the default head."""
        calibration = self.variants[self.default_variant].calibration
        assert calibration is not None  # and calibrates
        return calibration

    @property
    def channels(self) -> dict[str, Calibration]:
        """Calibrations of the other heads."""
        return self.variants[self.default_variant].channels

    @property
    def traps(self) -> dict[str, dict[str, float]]:
        """Per head, per kind of unnatural row: probability that it scores above a normal row."""
        return self.variants[self.default_variant].traps

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the figures of the default variant stand at the top, too."""
        values = asdict(self)
        for figures in values["variants"].values():
            del figures["graphs"]
        first = values["variants"][self.default_variant]
        shown = ("parity", "verdict", "calibration", "channels", "traps")
        return {name: plain(value) for name, value in (values | {name: first[name] for name in shown}).items()}

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        from vae_edge_runtime.scoring.report_page import report_page  # not at the top: few exports run in a notebook

        return report_page(
            str(self.path), self.size_bytes, self.bundle_id, self.fit, self.variants, self.graph_bytes, self.warnings
        )
