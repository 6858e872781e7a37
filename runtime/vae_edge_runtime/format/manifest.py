"""The manifest of a bundle, as frozen typed objects.

``Manifest.from_json`` accepts exactly what these classes say and nothing else, so code that
holds a ``Manifest`` never checks it again. ``docs/manifest.schema.json`` is generated from
the same classes (``python -m vae_edge_runtime schema``).
"""

from __future__ import annotations

import re
from typing import Any, Literal

from ..errors import BundleError
from ..record import record
from ..statistics.mahalanobis import statistics_bytes
from ..statistics.tail import TailFit
from . import archive, strict_json
from .heads import HEADS
from .limits import MAX_PARTS, MAX_VARIANTS
from .specs import (
    ELEMENT_SIZE_BYTES,
    ConditionSpec,
    InputSpec,
    LatentSpec,
    ModelCard,
    Preprocessing,
    Requirements,
    ScoreSpec,
    TensorSpec,
    check,
    element_count,
    signatures,
)
from .stream_rules import StreamSpec

SCHEMA_VERSION = 1
MEMBER = archive.FIRST

_HEX64 = re.compile(r"[0-9a-f]{64}")


@record(frozen=True)
class GraphSpec:
    """One ONNX file of a variant, stored as parts which joined in order *are* that file.

    Attributes:
        parts: member names; the first is the skeleton, the others hold weights.
        size_bytes, sha256: of the joined file.
    """

    parts: tuple[str, ...]
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        check(len(set(self.parts)) == len(self.parts) >= 1, "parts are missing or repeated")
        check(bool(_HEX64.fullmatch(self.sha256)), "sha256 is not 64 hex digits")
        check(0 < self.size_bytes < 1 << 31, "size_bytes is not below 2 GiB")
        for tensors in (self.inputs, self.outputs):
            check(0 < len(tensors) == len({t.name for t in tensors}), "tensors are missing or repeated")

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``."""
        return next(t for t in self.outputs if t.name == name)


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
class Calibration:
    """What turns a score into a decision, from held-out normal rows and this very variant.

    Attributes:
        n: calibration rows. false_positive_rate: the rate ``threshold`` stands for.
        threshold: a row is an anomaly where score > threshold.
        source: of the threshold: ``conformal``, a quantile of the rows' scores; ``tail``, a generalised
            Pareto distribution fitted to their largest; ``model``, brought by the model, and the rate
            is then the one it has on the rows.
        tail: that fit, where the rows allow one, whatever the source.
        correlation_rows: so many rows in their order count as one, at least 1: scores that follow slow
            cycles are no independent draws.
        points: entries of the sketch in ``member``: float32 scores, ascending, then as many
            uint32: how many of the n scores lie strictly above each.
    """

    n: int
    false_positive_rate: float
    threshold: float
    points: int
    member: str
    source: Literal["conformal", "tail", "model"]
    tail: TailFit | None
    correlation_rows: float

    def __post_init__(self) -> None:
        check(1 <= self.correlation_rows <= self.n, "correlation_rows is not in [1, n]")
        check(self.tail is not None or self.source != "tail", "a threshold from a tail lacks the tail")
        check(0 < self.points <= self.n < 1 << 32, "points and n disagree")
        check(0 < self.false_positive_rate < 1, "false_positive_rate is not inside (0, 1)")


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
class Variant:
    """The graphs at one precision, with their own figures.

    Attributes:
        reduction, fidelity: of every variant but fp32.
        calibration: of the default head. channels: of each other head.
        latent_statistics: member for the head ``mahalanobis``: mean of the calibration codes, then a
            matrix that whitens them, float32.
        typical_score: for the head ``typicality``: mean score of the calibration rows.
        traps: per head, per kind of unnatural row: probability that one scores above a normal row.
    """

    precision: Literal["fp32", "fp16", "int8"]
    reduction: Reduction | None
    fidelity: Fidelity | None
    graphs: dict[str, GraphSpec]
    parity: dict[str, Parity]
    verdict: Verdict | None
    calibration: Calibration | None
    channels: dict[str, Calibration]
    latent_statistics: str | None
    typical_score: float | None
    traps: dict[str, dict[str, float]]

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Of all heads; empty where nothing was calibrated."""
        return (*((self.calibration,) if self.calibration else ()), *self.channels.values())


@record(frozen=True)
class Golden:
    """Inputs with expected outputs, so that any device can prove itself.

    Attributes:
        rows: number of rows in ``input``. input: member with the raw rows.
        expected: per variant, per "graph.output": the member with the expected rows. ``decode``
            is fed the expected first output of ``encode``.
        condition: member with the conditions of the rows, for a conditional model.
        tolerance_relative: per variant, per "graph.output", as in ``Parity``.
    """

    rows: int
    input: str
    condition: str | None
    expected: dict[str, dict[str, str]]
    tolerance_relative: dict[str, dict[str, float]]


@record(frozen=True)
class MemberSpec:
    """Size and hash of one entry of the bundle."""

    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check(0 <= self.size_bytes < 1 << 31, "size_bytes is not below 2 GiB")
        check(bool(_HEX64.fullmatch(self.sha256)), "sha256 is not 64 hex digits")


@record(frozen=True)
class ModelFit:
    """How well the model fits the normal rows that it was exported with.

    Attributes:
        rows: that were looked at.
        r2: 1 - sum of squared errors / sum of squares about the mean row; None where the rows are all the same.
        fed_low, fed_high: range of what the model was fed, in its own units.
        latents: of one row, or codes of the codebook. latents_in_use: those that vary over the rows.
        allowed_poor: r2 is not positive, and whoever exported the model allowed it.
    """

    rows: int
    r2: float | None
    fed_low: float
    fed_high: float
    latents: int
    latents_in_use: int
    allowed_poor: bool

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
        return f"{text}; a poor fit was allowed" if self.allowed_poor else text


@record(frozen=True)
class Manifest:
    """Everything a bundle says about itself.

    ``pair_id`` names the trained weights: SHA-256 over every initialiser of the fp32 graphs,
    first 32 hex digits.
    """

    format: Literal["vae-edge-bundle"]
    schema_version: int
    model: ModelCard
    release: int
    pair_id: str
    made_with: dict[str, str]
    input: InputSpec
    condition: ConditionSpec | None
    preprocessing: Preprocessing
    latent: LatentSpec
    output: TensorSpec
    score: ScoreSpec
    stream: StreamSpec | None
    fit: ModelFit | None
    variants: dict[str, Variant]
    golden: Golden
    requires: Requirements
    members: dict[str, MemberSpec]

    def __post_init__(self) -> None:
        check(self.release >= 1, "release is below 1")
        check(bool(re.fullmatch(r"[0-9a-f]{32}", self.pair_id)), "pair_id is not 32 hex digits")
        check("vae_edge" in self.made_with, "made_with does not say which vae_edge wrote the bundle")
        check(bool(self.variants), "there is no variant")
        check(len(self.variants) <= MAX_VARIANTS, f"{len(self.variants)} variants; the limit is {MAX_VARIANTS}")
        for name in self.members:
            check(archive.is_member_name(name) and name != MEMBER, f"member name {name!r:.80} is not valid")
        used = set(self.referenced())
        for problem, names in (
            ("is used and not listed", used - self.members.keys()),
            ("is listed and not used", self.members.keys() - used),
        ):
            check(not names, f"member {min(names, default='')!r} {problem}")
        check(self.score.kl_weight is None or self.latent.kind == "gaussian", "a KL needs a gaussian posterior")
        if self.latent.prior.member is not None:
            self._check_size(self.latent.prior.member, self.latent.prior_bytes)
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        self._check_golden()

    def _check_size(self, member: str, wanted: int) -> None:
        have = self.members[member].size_bytes
        check(have == wanted, f"{member} holds {have} bytes, not {wanted}")

    def referenced(self) -> list[str]:
        """Every member name the manifest points at."""
        names = [part for v in self.variants.values() for g in v.graphs.values() for part in g.parts]
        for variant in self.variants.values():
            names += [c.member for c in variant.calibrations]
            names += [variant.latent_statistics] if variant.latent_statistics else []
        names += [m for m in (self.latent.prior.member, self.golden.condition) if m is not None]
        names += [self.golden.input, *(m for by_output in self.golden.expected.values() for m in by_output.values())]
        return names

    def variant_bytes(self, name: str) -> int:
        """Bytes of the graphs and weights of one variant in the bundle."""
        parts = {part for graph in self.variants[name].graphs.values() for part in graph.parts}
        return sum(self.members[part].size_bytes for part in parts)

    def _check_variant(self, name: str, variant: Variant) -> None:
        wanted_graphs = signatures(self.input, self.condition, self.latent, self.output, self.score)
        have_graphs = sorted(variant.graphs)
        check(have_graphs == sorted(wanted_graphs), f"graphs are {have_graphs}, not {sorted(wanted_graphs)}")
        for graph, signature in wanted_graphs.items():
            spec = variant.graphs[graph]
            check(len(spec.parts) <= MAX_PARTS, f"variant {name}: {graph} has more than {MAX_PARTS} parts")
            for side, have, wanted in (
                ("input", spec.inputs, signature.inputs),
                ("output", spec.outputs, signature.outputs),
            ):
                check(have == wanted, f"variant {name}: {graph} {side}s are {have}, the model's are {wanted}")
            size = sum(self.members[part].size_bytes for part in spec.parts)
            check(size == spec.size_bytes, f"variant {name}: parts of {graph} add up to {size}, not {spec.size_bytes}")
        reduced = {variant.precision != "fp32", variant.reduction is not None, variant.fidelity is not None}
        check(len(reduced) == 1, f"variant {name}: precision, reduction and fidelity disagree")
        for calibration in variant.calibrations:
            self._check_size(calibration.member, 8 * calibration.points)
        heads = self.score.heads
        further = heads[1:] if variant.calibration else ()
        check(sorted(variant.channels) == sorted(further), f"variant {name}: channels and heads differ")
        check(set(variant.traps) <= set(heads), f"variant {name}: traps of what is no head")
        for row in HEADS.values():
            if row.statistic is not None:
                fitted = getattr(variant, row.statistic) is not None
                check((row.name in heads) == fitted, f"variant {name}: {row.name} and its statistics disagree")
        if variant.latent_statistics:
            self._check_size(variant.latent_statistics, statistics_bytes(element_count(self.latent.shape)))

    def _check_golden(self) -> None:
        golden = self.golden
        check(golden.rows >= 1, "there are no golden rows")
        for named in (golden.expected, golden.tolerance_relative):
            check(named.keys() == self.variants.keys(), "golden vectors and variants differ")
        check((golden.condition is None) == (self.condition is None), "golden rows and conditions disagree")
        shapes: list[tuple[str, str, tuple[int, ...]]] = [(golden.input, self.input.dtype, self.input.shape)]
        if golden.condition is not None and self.condition is not None:
            shapes.append((golden.condition, self.condition.dtype, self.condition.shape))
        for variant, members in golden.expected.items():
            fed = f"encode.{self.variants[variant].graphs['encode'].outputs[0].name}"
            check(fed in members, f"golden rows of {variant} lack {fed}, which decode is fed")
            tolerances = golden.tolerance_relative[variant].keys()
            check(tolerances == members.keys(), f"golden rows and tolerances of {variant} differ")
            for output, member in members.items():
                graph, _, name = output.partition(".")
                known = {(g, t.name): t for g, s in self.variants[variant].graphs.items() for t in s.outputs}
                check((graph, name) in known, f"golden output {output!r} does not exist")
                tensor = known[graph, name]
                shapes.append((member, tensor.dtype, tensor.shape))
        for member, dtype, shape in shapes:
            self._check_size(member, golden.rows * ELEMENT_SIZE_BYTES[dtype] * element_count(shape))

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """Parse and check a manifest, of this schema version or an older one.

        Raises:
            BundleTooNew: its schema version, or the one it asks for, is above this runtime's.
            BundleInvalid: anything else; the message names the key.
        """
        plain = strict_json.parse(raw, member=MEMBER)
        if not _is_current(plain):
            from .upgrade import brought_up_to_date  # not at the top: a bundle of this version needs no door

            try:
                plain = brought_up_to_date(plain, SCHEMA_VERSION)
            except BundleError as error:
                raise type(error)(error.problem, member=MEMBER) from None
        return strict_json.build(cls, plain, member=MEMBER)

    def to_json(self) -> bytes:
        """The one canonical text of this manifest."""
        return strict_json.dump(self)


def _is_current(plain: Any) -> bool:
    """Whether a parsed manifest is of this version and asks for no newer reader."""
    try:
        versions = plain["schema_version"], plain["requires"]["runtime_schema"]
        return {type(version) for version in versions} == {int} and versions[0] == SCHEMA_VERSION >= versions[1]
    except (KeyError, TypeError, IndexError):
        return False
