"""What a model takes and gives, as frozen typed objects: rows, conditions, latents, scores; and what it asks for.

``signatures`` is the one place that says which inputs and outputs the graphs of a model have;
the exporter builds by it, and a manifest whose graphs differ is refused.
"""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

from ..errors import BundleInvalid
from ..record import record
from .heads import HEADS, Computed, HeadName
from .likelihoods import LikelihoodName

GRAPHS = ("encode", "decode", "score", "sampled")
"""``sampled`` is there where a head draws from the posterior."""
Layout = Literal["nchw", "nhwc", "features", "time_features", "any"]
Fit = Literal["exact", "stretch", "pad", "crop"]
LatentKind = Literal["gaussian", "deterministic", "codes"]
Role = Literal["condition", "mask", "target"]
GRAPHS_OF_ROLE = {"condition": GRAPHS, "mask": ("encode", "score", "sampled"), "target": ("score", "sampled")}
PriorKind = Literal["standard_normal", "gaussian_mixture", "categorical", "none"]

ELEMENT_SIZE_BYTES = {"float32": 4, "uint8": 1, "int64": 8}

_MAX_ELEMENTS = 1 << 31


def check(good: bool, problem: str) -> None:
    """Raise BundleInvalid with ``problem`` unless ``good``."""
    if not good:
        raise BundleInvalid(problem)


def _check_shape(shape: tuple[int, ...], what: str) -> None:
    check(len(shape) <= 5 and all(0 < n < _MAX_ELEMENTS for n in shape), f"{what} {shape} is not a shape")
    check(element_count(shape) < _MAX_ELEMENTS, f"{what} {shape} holds too many elements")


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of an array of this shape."""
    return math.prod(shape)


def version_numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, to compare: of ``1.23.0+cu12`` (1, 23); suffixes and last zeros do not count."""
    digits = re.match(r"\d{1,9}(\.\d{1,9})*", version, re.ASCII)
    numbers = [int(part) for part in digits.group().split(".")] if digits else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@record(frozen=True)
class ModelCard:
    """Who made the model, under which terms, and how good its maker says it is."""

    name: str
    version: str
    licence: str
    source: str
    description: str
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        check(bool(self.name.strip()), "the name is empty")


@record(frozen=True)
class CodeRange:
    """The codes that a column of rows may hold, where the model looks something up by them.

    Attributes:
        column: of the last axis, from 0; None: every element of a row is a code.
        low, high: smallest and largest code that has an entry, in data units.
    """

    column: int | None
    low: int
    high: int

    def __post_init__(self) -> None:
        check(self.low <= self.high, f"low {self.low} is above high {self.high}")


@record(frozen=True)
class InputSpec:
    """What one raw row is, before any preprocessing.

    Attributes:
        shape: of one row, without the batch axis, in ``layout``.
        dtype: of the array passed in; ``uint8`` or ``float32``.
        layout: ``nchw``, ``nhwc`` (images, 3 axes), ``features`` (1), ``time_features`` (windows: time, feature).
        low, high: smallest and largest value seen at calibration, in data units.
        names: of the features (last axis) where they have any, else empty.
        codes: columns that the model uses as indices. A row with another code gets a status on every engine:
            ONNX Runtime would fail the whole batch, others read a row of zeros or the last entry.
        fit: of pictures of another size: ``exact`` (none), ``stretch``, ``pad`` (black) or ``crop`` to the middle.
        overlap: pixels; rows are tiles of larger pictures, scored and calibrated as a whole. None: no tiles.
        calibrated_size: height and width of the pictures that thresholds are from; None: no tiles, or not known.
    """

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    layout: Layout
    low: float
    high: float
    names: tuple[str, ...]
    codes: tuple[CodeRange, ...] = ()
    fit: Fit = "exact"
    overlap: int | None = None
    calibrated_size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None:
            check(self.layout in ("nchw", "nhwc"), "tiles are of pictures")
            sides = self.shape[1:] if self.layout == "nchw" else self.shape[:2]
            check(0 <= self.overlap <= min(sides) // 2, "overlap is not between 0 and half of a tile")
            check(self.fit == "exact", "tiles and a fit exclude each other")
            whole = self.calibrated_size or sides[:2]
            check(len(whole) == 2 and whole[0] >= sides[0] and whole[1] >= sides[1], f"no tile fits into {whole}")
        check(self.calibrated_size is None or self.overlap is not None, "a calibrated size is of pictures in tiles")
        check(self.fit == "exact" or self.layout in ("nchw", "nhwc"), "a fit is for pictures")
        _check_shape(self.shape, "shape")
        axes = {"nchw": 3, "nhwc": 3, "features": 1, "time_features": 2}.get(self.layout, len(self.shape))
        check(len(self.shape) == axes, f"layout {self.layout} needs {axes} axes, the shape is {self.shape}")
        check(self.low <= self.high, f"low {self.low} is above high {self.high}")
        check(len(self.names) in (0, self.shape[-1]), f"{len(self.names)} names for {self.shape[-1]} features")
        columns = [codes.column for codes in self.codes]
        check(len(set(columns)) == len(columns), "two ranges of codes for one column")
        inside = all(0 <= (column or 0) < self.shape[-1] for column in columns)
        alone = None not in columns or len(columns) == 1
        check(inside and alone, f"codes are in the columns {columns}; a row has {self.shape[-1]}")


@record(frozen=True)
class ConditionSpec:
    """What a model takes beside each row: a label or a vector, a mask of the row, or the target of a forecast.

    Attributes:
        shape: of one of them; empty for a label. dtype: ``int64`` for labels, else ``float32``.
        low, high: smallest and largest value seen at calibration. A label outside is refused: it
            would index past a table or become an empty one-hot row. A vector may go beyond.
        role: ``mask``: 1 where a value of the row was observed, 0 where it is missing and not scored; ``target``: the
            row that the decoded one is scored against.
    """

    shape: tuple[int, ...]
    dtype: Literal["int64", "float32"]
    low: float
    high: float
    role: Role = "condition"

    def __post_init__(self) -> None:
        _check_shape(self.shape, "shape")
        check(self.low <= self.high, f"low {self.low} is above high {self.high}")
        check(self.role == "condition" or self.dtype == "float32", f"a {self.role} is float32")


@record(frozen=True)
class Preprocessing:
    """x_model = (x - offset) / scale, done inside the graphs, after the layout is made NCHW.

    ``offset`` and ``scale`` hold one value for everything or one per channel (per feature).
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        check(len(self.offset) == len(self.scale) >= 1, "offset and scale differ in length")
        check(all(s > 0 for s in self.scale), "a scale is not positive")


@record(frozen=True)
class PriorSpec:
    """Where ``sample`` draws latents from.

    Attributes:
        kind: ``standard_normal``; ``gaussian_mixture``: diagonal Gaussians; ``categorical``: a table
            of probabilities per position of the code grid; ``none``: the model cannot be sampled.
        source: in words: of the model, supplied, or fitted to calibration rows.
        components: Gaussians of a mixture, or rows of a categorical table (1: one for all positions).
        member: holds the numbers of a mixture or table.
    """

    kind: PriorKind
    source: str
    components: int
    member: str | None

    def __post_init__(self) -> None:
        stored = self.kind in ("gaussian_mixture", "categorical")
        check(stored == (self.member is not None) == (self.components > 0), f"a prior '{self.kind}' lacks its numbers")


@record(frozen=True)
class LatentSpec:
    """What lies between encoder and decoder.

    Attributes:
        shape: of one latent; of ``codes`` the grid of indices.
        kind: ``gaussian``: mean and logvar of q(z|x); ``deterministic``: one code; ``codes``: indices of a codebook.
        groups: shapes of the latents of a hierarchical model, one after the other in a flat ``shape``; else empty.
        offset, scale: latents of the bundle are (z_model - offset) * scale, done inside the graphs.
        codebook: number of codes; 0 unless ``codes``. embedding_shape: of ``z_q``, likewise.
    """

    shape: tuple[int, ...]
    kind: LatentKind
    prior: PriorSpec
    groups: tuple[tuple[int, ...], ...]
    offset: float
    scale: float
    codebook: int
    embedding_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_shape(self.shape, "shape")
        check(self.scale > 0, "scale is not positive")
        codes = self.kind == "codes"
        check(codes == (self.codebook > 0) == bool(self.embedding_shape), "codebook and kind disagree")
        check(self.prior.kind == "none" or codes == (self.prior.kind == "categorical"), "prior and kind disagree")
        _check_shape(self.embedding_shape, "embedding_shape")
        if self.prior.kind == "categorical":
            check(self.prior.components in (1, element_count(self.shape)), "the prior's table does not fit the grid")
        if self.groups:
            total = sum(element_count(group) for group in self.groups)
            check((total,) == self.shape, f"groups of {total} elements do not fit the latent {self.shape}")

    @property
    def prior_bytes(self) -> int:
        """Size of the prior's member; 0 without one."""
        values = {"categorical": self.codebook, "gaussian_mixture": 1 + 2 * element_count(self.shape)}
        return 4 * self.prior.components * values.get(self.prior.kind, 0)


@record(frozen=True)
class ScoreSpec:
    """How a row becomes a number, or several: the formulas are in ``docs/anomaly-scores.md``.

    Head ``elbo`` = reconstruction_weight * reconstruction + kl_weight * kl, where ``reconstruction``
    is -log p(x | z = posterior mean) up to the stated constant, in nats, summed over elements.

    Attributes:
        likelihood: ``mse``: sum of squared errors; ``bernoulli``: binary cross-entropy on x in
            [0, 1]; ``gaussian``, ``laplace``, ``beta``, ``categorical``: negative log likelihood.
        variance: of ``gaussian``: the fixed one, or None where the decoder gives its own.
        kl_weight: of KL(q(z|x) || N(0, I)), whatever ``sample`` draws from; None where the model has
            no KL in closed form, and there is no output ``kl`` then.
        transform: ``sqrt`` makes a sum of squares a Euclidean distance.
        heads: what the bundle can score by; the first is the default one, the output ``score``.
        top_share: of the elements of the map: those whose mean is the head ``top``.
        draws: of the posterior, for the heads of the graph ``sampled``; 0 without any.
        map_sigma: of the Gaussian that smooths the map, in pixels or steps; 0: not smoothed.
        parts: the heads that an ensemble combines.
        map_channels: ``whitened``: the map is of residuals over the covariance that normal ones have between channels,
            smoothed with their signs, and does not add up to ``reconstruction``.
        decides_by: the head whose threshold decides, where it is not the first of ``heads``.
    """

    likelihood: LikelihoodName
    variance: float | None
    reconstruction_weight: float
    kl_weight: float | None
    transform: Literal["identity", "sqrt"]
    heads: tuple[HeadName, ...]
    top_share: float
    draws: int
    map_sigma: float
    parts: tuple[HeadName, ...]
    decides_by: HeadName | None = None
    map_channels: Literal["plain", "whitened"] = "plain"

    def __post_init__(self) -> None:
        kl_weight = self.kl_weight or 0.0
        check(self.variance is None or self.variance > 0, "variance is not positive")
        check(self.reconstruction_weight >= 0 and kl_weight >= 0, "a weight is negative")
        check(self.reconstruction_weight + kl_weight > 0, "both weights are 0")
        check(0 < len(self.heads) == len(set(self.heads)), "heads are missing or repeated")
        for head in (*self.heads, *self.parts):
            check(head in HEADS, f"{head!r} is no head; valid are {', '.join(HEADS)}")
        check(HEADS[self.heads[0]].may_be_default, f"{self.heads[0]} cannot be the default head")
        check(0 < self.top_share <= 1 and self.map_sigma >= 0, "top_share or map_sigma is out of range")
        check((self.draws > 0) == bool(self.sampled), "draws and heads disagree")
        needs_kl = any(HEADS[head].needs_kl for head in self.heads)
        check(self.kl_weight is not None or not needs_kl, "a head needs a KL there is not")
        ensembles = self.computed("p_values")
        check(bool(ensembles) == (len(self.parts) > 1), "an ensemble lacks its parts")
        check(set(self.parts) <= set(self.heads) - set(ensembles), "an ensemble combines what is no head")
        if (decides := self.decides_by) is not None:
            check(decides in self.heads[1:], f"decides_by is {decides!r:.60}, which is none of the further heads")
            check(HEADS[decides].may_decide, f"the head {decides} must not decide")

    @property
    def default_head(self) -> str:
        """The head that decides: ``decides_by``, else the first, which the graph ``score`` gives as ``score``."""
        return self.decides_by or self.heads[0]

    def computed(self, *where: Computed) -> tuple[str, ...]:
        """The heads that are computed in one of these places (``Head.computed``), in the order of the bundle."""
        return tuple(head for head in self.heads if HEADS[head].computed in where)

    @property
    def fused(self) -> tuple[str, ...]:
        """Outputs of the graph ``score`` for the heads after the first that are not in it anyway."""
        return tuple(h for h in self.heads[1:] if HEADS[h].computed == "score" and not HEADS[h].is_term)

    @property
    def sampled(self) -> tuple[str, ...]:
        """Outputs of the graph ``sampled``."""
        return self.computed("sampled")

    @property
    def simple(self) -> tuple[str, ...]:
        """Every head but ensembles: those that are computed from a row alone."""
        return self.computed("score", "sampled", "statistics")

    @property
    def reads_codes(self) -> bool:
        """Whether a head reads the posterior means, the output ``mean`` of the graph ``score``."""
        return any(HEADS[head].reads_codes for head in self.heads)

    @property
    def unit(self) -> str:
        """Of the score, for messages."""
        return unit_of(self, self.default_head)


def unit_of(score: ScoreSpec, head: str) -> str:
    """The unit of one head, for messages."""
    if not HEADS[head].in_nats:
        return "(no unit)"
    return "root nats" if score.transform == "sqrt" and head == score.heads[0] else "nats"


@record(frozen=True)
class TensorSpec:
    """One input or output of a graph; the batch axis comes first and is not in ``shape``."""

    name: str
    dtype: Literal["float32", "uint8", "int64"]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_shape(self.shape, f"{self.name}: shape")


@record(frozen=True)
class Requirements:
    """What the device must offer; ``onnxruntime`` is the oldest version of it that runs the graphs."""

    runtime_schema: int
    opset: int
    ir_version: int
    onnxruntime: str

    def __post_init__(self) -> None:
        check(bool(re.fullmatch(r"\d{1,6}(\.\d{1,6}){1,3}", self.onnxruntime, re.ASCII)), "onnxruntime is no version")


class Signature(NamedTuple):
    """Inputs and outputs of one graph, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def signatures(
    row: InputSpec, condition: ConditionSpec | None, latent: LatentSpec, output: TensorSpec, score: ScoreSpec
) -> dict[str, Signature]:
    """The graphs of a model. The first output of ``encode`` is what ``decode`` takes first."""

    def f32(name: str, shape: tuple[int, ...] = ()) -> TensorSpec:
        return TensorSpec(name, "float32", shape)

    x = TensorSpec("x", row.dtype, row.shape)
    given = (TensorSpec("condition", condition.dtype, condition.shape),) if condition else ()
    beside = {graph: given if condition and graph in GRAPHS_OF_ROLE[condition.role] else () for graph in GRAPHS}
    encoded: tuple[TensorSpec, ...]
    if latent.kind == "codes":
        encoded = (TensorSpec("indices", "int64", latent.shape), f32("z_q", latent.embedding_shape))
        z = encoded[0]
    else:
        encoded = (f32("mean", latent.shape), f32("logvar", latent.shape))[: 2 if latent.kind == "gaussian" else 1]
        z = f32("z", latent.shape)
    parts = ("score", "reconstruction", *(() if score.kl_weight is None else ("kl",)), *score.fused)
    code = (f32("mean", latent.shape),) if score.reads_codes else ()
    signed = {
        "encode": Signature((x, *beside["encode"]), encoded),
        "decode": Signature((z, *beside["decode"]), (output,)),
        "score": Signature((x, *beside["score"]), (*map(f32, parts), f32("map", output.shape), *code)),
    }
    if score.sampled:
        noise = f32("noise", (score.draws, *latent.shape))
        signed["sampled"] = Signature((x, *beside["sampled"], noise), tuple(map(f32, score.sampled)))
    return signed
