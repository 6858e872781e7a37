"""What an export measured of a model, of its variants and its ways to compress rows: typed objects of the manifest."""

from __future__ import annotations

from typing import Literal

from ..record import record
from .specs import check


@record(frozen=True)
class Parity:
    """Largest difference of one output from PyTorch's, over all rows tried.

    ``max_relative`` is relative to max(abs(reference), rms of the reference output). fp16 and int8
    have no ``tolerance_relative``: their gate is ``Fidelity``.
    """

    max_absolute: float
    max_relative: float
    tolerance_relative: float | None
    reference: Literal["float64", "float32"]
    rows: int


@record(frozen=True)
class Verdict:
    """Final scores and decisions of the artefact against PyTorch's on held-out rows.

    ``auroc`` and ``auroc_torch`` are None where no labels were given.
    """

    rows: int
    score_error_max: float
    score_error_p99: float
    rank_correlation: float
    flipped: int
    auroc: float | None
    auroc_torch: float | None


@record(frozen=True)
class Reduction:
    """What of the network a variant computes in fewer bits.

    Attributes:
        scheme: in words, such as ``encoder int8, decoder fp16``.
        activations: what int8 layers read: ``int8`` (TensorRT takes no other), ``uint8``, or none are quantised.
        ranges: how their ranges were taken from calibration rows.
        layers: in fewer bits, of ``layers_total``. kept: the others (and, of fp16, any node left in
            float32) to the reason.
        weight_bytes: of those layers' weights. weight_bytes_fp32: of the same weights in fp32.
    """

    scheme: str
    activations: Literal["none", "int8", "uint8"]
    ranges: Literal["none", "minmax", "entropy", "percentile"]
    layers: int
    layers_total: int
    kept: dict[str, str]
    weight_bytes: int
    weight_bytes_fp32: int

    def __post_init__(self) -> None:
        check(0 <= self.layers <= self.layers_total, "more layers reduced than there are")
        check((self.activations == "none") == (self.ranges == "none"), "activations and ranges disagree")


@record(frozen=True)
class Fidelity:
    """How a variant compares with the fp32 variant, on held-out rows, by the default head.

    fp16 is measured with every result rounded as a GPU stores it; a CPU rounds less.

    Attributes:
        rows: held-out rows.
        rank_correlation: of the scores (Spearman).
        decision_agreement: share of equal decisions, each at its own threshold.
        auroc_change: absolute. auroc_on: anomalies ``labelled`` by the user, or ``synthetic`` ones (all
            kinds of ``Variant.traps`` together).
        reconstruction_psnr_db: of decoded posterior means; peak: the range of the rows; 200 where equal.
        reconstruction_ssim: of images; None of others.
        latent_error: rms difference of the posterior mean over its rms; of codes the share that differ.
    """

    rows: int
    rank_correlation: float
    decision_agreement: float
    auroc_change: float
    auroc_on: Literal["labelled", "synthetic"]
    reconstruction_psnr_db: float
    reconstruction_ssim: float | None
    latent_error: float


@record(frozen=True)
class ModelFit:
    """How well the model fits the normal rows that it was exported with.

    Attributes:
        rows: that were looked at.
        r2: 1 - sum of squared errors / sum of squares about the mean row; None where the rows are all the same.
        fed_low, fed_high: range of what the model was fed, in its own units.
        latents: of one row, or codes of the codebook. latents_in_use: those that vary over the rows.
        poor: r2 is not positive: the model rebuilds rows no better than their mean row does.
    """

    rows: int
    r2: float | None
    fed_low: float
    fed_high: float
    latents: int
    latents_in_use: int
    poor: bool

    def __post_init__(self) -> None:
        check(self.rows >= 1, "fit: rows is below 1")
        check(self.r2 is None or self.r2 <= 1, "fit: r2 is above 1")
        check(self.fed_low <= self.fed_high, "fit: fed_low is above fed_high")
        check(0 <= self.latents_in_use <= self.latents, "fit: latents_in_use is out of range")

    def __str__(self) -> str:
        r2 = "no R² (the rows are all the same)" if self.r2 is None else f"R² {self.r2:.3g} against their mean row"
        text = (
            f"fit on {self.rows} normal rows: {r2}; the model was fed {self.fed_low:.4g} to {self.fed_high:.4g}; "
            f"{self.latents_in_use} of {self.latents} latents in use"
        )
        return f"{text}; no better than the mean row" if self.poor else text


@record(frozen=True)
class SizeCheck:
    """``encode`` and ``decode`` at one height and width of rows, compared with PyTorch, and their golden vectors there.

    Attributes:
        height, width: of a row, in pixels.
        rows: of the self-test; a conditional model is fed the conditions of the first rows of ``Golden``.
        input: member with the raw rows.
        parity: per variant, per "graph.output"; likewise the members ``expected`` and ``tolerance_relative``.
    """

    height: int
    width: int
    rows: int
    input: str
    parity: dict[str, dict[str, Parity]]
    expected: dict[str, dict[str, str]]
    tolerance_relative: dict[str, dict[str, float]]

    def __post_init__(self) -> None:
        check(min(self.height, self.width, self.rows) >= 1, "a height, a width or the rows of a size are below 1")


@record(frozen=True)
class FreeSize:
    """``encode`` and ``decode`` take rows of other heights and widths than ``InputSpec.shape`` has; ``score`` does not.

    Attributes:
        multiple: pixels that height and width are multiples of.
        smallest: height and width from which on the model runs, in pixels.
        checks: sizes beside that of ``InputSpec.shape`` that were compared with PyTorch.
    """

    multiple: tuple[int, ...]
    smallest: tuple[int, ...]
    checks: tuple[SizeCheck, ...]

    def __post_init__(self) -> None:
        check(len(self.multiple) == len(self.smallest) == 2, "multiple and smallest are not a height and a width each")
        check(min(*self.multiple, *self.smallest) >= 1, "multiple or smallest is below 1")
        sizes = [(each.height, each.width) for each in self.checks]
        check(0 < len(sizes) == len(set(sizes)) <= MAX_SIZES, "sizes are missing, repeated or too many")
        check(all(self.problem(size) is None for size in sizes), "a size that was compared does not fit")

    def problem(self, size: tuple[int, ...]) -> str | None:
        """What is wrong with a height and width, in words; None where they fit."""
        (height, width), (tall, wide) = self.multiple, self.smallest
        if size[0] % height or size[1] % width:
            each = f"{height}" if height == width else f"{height} and {width}"
            return f"height and width are multiples of {each}"
        if size[0] < tall or size[1] < wide:
            return f"the smallest is {tall}x{wide} (height x width)"
        return None


MAX_SIZES = 8
"""Of ``FreeSize.checks``: a graph is looked through once for each."""


@record(frozen=True)
class SampleFigures:
    """What rows drawn from the prior look like, measured with the exported decoder.

    Attributes:
        rows: that were drawn.
        low, high: smallest and largest value, in data units.
        spread: standard deviation of an element over the samples, root mean square over elements, in data units.
        rows_spread: the same of the rows the export was given; None where it was given none.
    """

    rows: int
    low: float
    high: float
    spread: float
    rows_spread: float | None

    def __post_init__(self) -> None:
        check(self.rows >= 1, "samples: rows is below 1")
        check(self.low <= self.high, "samples: low is above high")
        check(self.spread >= 0 and (self.rows_spread or 0.0) >= 0, "samples: a spread is negative")

    def __str__(self) -> str:
        rows = "" if self.rows_spread is None else f", {self.rows_spread:.3g} of the rows given"
        return f"{self.rows} samples from {self.low:.4g} to {self.high:.4g}, spread {self.spread:.3g}{rows}"


CompressionKind = Literal["latents", "bounded", "exact"]
MAX_MODES = 16
"""A packet names its mode in four bits."""


@record(frozen=True)
class CompressionMode:
    """One way to compress rows, with its tables and what it measured on held-out calibration rows.

    Attributes:
        name: ``latents``, ``exact``, or the bound as it was asked for: ``0.1`` (of each spread), ``2u`` (data units).
        kind: ``latents`` promise nothing of single values; ``bounded`` keep each within ``bound``; ``exact`` are equal.
        predictor: ``vae``: what is left of the decoded latents is coded; ``near``: no network takes part.
        bound: largest error per feature in data units; empty where the kind is not ``bounded``.
        member: holds the tables.
        rows: that were measured. row_bytes: mean size of one row sent alone. latent_bytes: of them latents.
        largest_error: of ``bounded`` relative to the bound, else in spreads.
        flipped: decisions of the default head that differ where decompressed rows are scored again, of all
            calibration rows; None where the bundle decides nothing.
    """

    name: str
    kind: CompressionKind
    predictor: Literal["vae", "near"]
    bound: tuple[float, ...]
    member: str
    rows: int
    row_bytes: float
    latent_bytes: float
    largest_error: float
    flipped: int | None

    def __post_init__(self) -> None:
        check(bool(self.name.strip()), "a mode has no name")
        check(self.rows >= 1, f"mode {self.name}: rows is below 1")
        check(self.row_bytes > 0 <= self.latent_bytes, f"mode {self.name}: sizes are out of range")
        check((self.kind == "bounded") == bool(self.bound), f"mode {self.name}: kind and bound disagree")
        check(all(bound > 0 for bound in self.bound), f"mode {self.name}: a bound is not positive")
        check(self.kind != "latents" or self.predictor == "vae", "latents need the network")
        check(self.flipped is None or self.flipped >= 0, f"mode {self.name}: flipped is negative")


@record(frozen=True)
class Compression:
    """How rows of this model are compressed; ``docs/compression.md`` has the formats.

    Attributes:
        spread: standard deviation per feature (last axis of a table or window; one value for pictures), data units.
        margin: what two fp32 decoders may differ by, per feature, data units.
        modes: at most 16; the first is ``latents``.
    """

    spread: tuple[float, ...]
    margin: tuple[float, ...]
    modes: tuple[CompressionMode, ...]

    def __post_init__(self) -> None:
        names = [mode.name for mode in self.modes]
        check(1 <= len(names) == len(set(names)) <= MAX_MODES, "modes are missing, repeated or too many")
        check(self.modes[0].kind == "latents", "the first mode is not latents")
        check(len(self.spread) == len(self.margin) >= 1, "spread and margin differ in length")
        check(all(value > 0 for value in (*self.spread, *self.margin)), "a spread or a margin is not positive")
        fitting = all(len(mode.bound) in (0, len(self.spread)) for mode in self.modes)
        check(fitting, "a bound does not fit the features")

    def mode(self, name: str) -> CompressionMode | None:
        """The mode called ``name``, if there is one."""
        return next((mode for mode in self.modes if mode.name == name), None)
