"""The manifest of a bundle, as frozen typed objects.

``Manifest.from_json`` accepts exactly what these classes say and nothing else, so code that
holds a ``Manifest`` never checks it again. ``docs/manifest.schema.json`` is generated from
the same classes (``python -m vae_edge_runtime schema``).
"""

from __future__ import annotations

import re
from typing import Any, Literal

from .. import arguments
from ..errors import BundleError
from ..record import record
from ..statistics.mahalanobis import statistics_bytes
from ..statistics.tail import TailFit
from . import archive, strict_json
from .figures import Compression, Fidelity, FreeSize, ModelFit, Parity, Reduction, SampleFigures, SizeCheck, Verdict
from .heads import HEADS
from .limits import MAX_PARTS, MAX_VARIANTS
from .specs import (
    ELEMENT_SIZE_BYTES,
    GRAPHS,
    ConditionSpec,
    InputSpec,
    LatentSpec,
    ModelCard,
    Preprocessing,
    Requirements,
    ScoreSpec,
    Signature,
    TensorSpec,
    check,
    element_count,
    signatures,
)
from .stream_rules import StreamSpec

SCHEMA_VERSION = 2
MEMBER = archive.FIRST

Purpose = Literal["scoring", "generation", "decoder"]
GRAPHS_FOR: dict[str, tuple[str, ...]] = {
    "scoring": GRAPHS,
    "generation": ("encode", "decode"),
    "decoder": ("decode",),
}
"""By purpose of a bundle, the graphs that it may hold."""

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
        rows: number of rows in ``input``.
        input: member with the raw rows; of a bundle without ``encode``, with latents.
        expected: per variant, per "graph.output": the member with the expected rows. ``decode``
            is fed the expected first output of ``encode``, where there is one.
        condition: member with the conditions of the rows, for a conditional model.
        tolerance_relative: per variant, per "graph.output", as in ``Parity``.
        picture: of a bundle of tiles, what each output of ``score`` is for a whole picture: four of the rows laid
            side by side, without the last row and column of pixels (``tiling.golden_picture``).
    """

    rows: int
    input: str
    condition: str | None
    expected: dict[str, dict[str, str]]
    tolerance_relative: dict[str, dict[str, float]]
    picture: dict[str, float] | None = None


@record(frozen=True)
class MemberSpec:
    """Size and hash of one entry of the bundle."""

    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check(0 <= self.size_bytes < 1 << 31, "size_bytes is not below 2 GiB")
        check(bool(_HEX64.fullmatch(self.sha256)), "sha256 is not 64 hex digits")


@record(frozen=True)
class Manifest:
    """Everything a bundle says about itself.

    Attributes:
        pair_id: names the trained weights: SHA-256 over every initialiser of the fp32 graphs, first 32 hex digits.
        score: of a bundle that does not score, its ``likelihood`` alone has a meaning.
        free_size: rows of other heights and widths, where the graphs take any.
        purpose: what it was exported for: ``scoring``; ``generation``: no graph scores, and nothing is calibrated;
            ``decoder``: nor is there an encoder, and ``input`` says what a decoded row is.
        samples: what rows drawn from the prior look like, where that was measured.
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
    compression: Compression | None
    variants: dict[str, Variant]
    golden: Golden
    requires: Requirements
    members: dict[str, MemberSpec]
    free_size: FreeSize | None = None
    purpose: Purpose = "scoring"
    samples: SampleFigures | None = None

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
        if self.free_size is not None:
            self._check_free_size(self.free_size)
        check(self.compression is None or "fp32" in self.variants, "compression needs the variant fp32")
        calibrated = any(variant.calibrations or variant.verdict for variant in self.variants.values())
        unscored = not calibrated and self.stream is None and self.compression is None
        if (beside := self.condition) is not None and beside.role != "condition":
            row = self.input.shape if beside.role == "mask" else self.output.shape
            check(beside.shape == row, f"a {beside.role} has shape {beside.shape}, a row {row}")
        check(self.purpose == "scoring" or unscored, f"a bundle for {self.purpose} scores")

    @property
    def beside_latents(self) -> ConditionSpec | None:
        """What ``decode`` takes beside a latent."""
        return self.condition if self.condition is not None and self.condition.role == "condition" else None

    @property
    def signatures(self) -> dict[str, Signature]:
        """Inputs and outputs of the graphs that a bundle for this purpose holds."""
        signed = signatures(self.input, self.condition, self.latent, self.output, self.score)
        return {graph: signature for graph, signature in signed.items() if graph in GRAPHS_FOR[self.purpose]}

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
        names += [mode.member for mode in self.compression.modes] if self.compression else []
        all_golden: list[Golden | SizeCheck] = [self.golden, *(self.free_size.checks if self.free_size else ())]
        for golden in all_golden:
            names += [golden.input, *(m for by_output in golden.expected.values() for m in by_output.values())]
        return names

    def variant_bytes(self, name: str) -> int:
        """Bytes of the graphs and weights of one variant in the bundle; OptionError where there is no such variant."""
        arguments.choice("variant", name, tuple(self.variants))
        parts = {part for graph in self.variants[name].graphs.values() for part in graph.parts}
        return sum(self.members[part].size_bytes for part in parts)

    def _check_variant(self, name: str, variant: Variant) -> None:
        wanted_graphs = self.signatures
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
        signed = self.signatures
        fed_first = next(iter(signed.values())).inputs[0]
        shapes: list[tuple[str, str, tuple[int, ...]]] = [(golden.input, fed_first.dtype, fed_first.shape)]
        if golden.condition is not None and self.condition is not None:
            shapes.append((golden.condition, self.condition.dtype, self.condition.shape))
        for variant, members in golden.expected.items():
            if "encode" in signed:
                fed = f"encode.{signed['encode'].outputs[0].name}"
                check(fed in members, f"golden rows of {variant} lack {fed}, which decode is fed")
            tolerances = golden.tolerance_relative[variant].keys()
            check(tolerances == members.keys(), f"golden rows and tolerances of {variant} differ")
            for output, member in members.items():
                graph, _, name = output.partition(".")
                known = {(g, t.name): t for g, s in self.variants[variant].graphs.items() for t in s.outputs}
                check((graph, name) in known, f"golden output {output!r} does not exist")
                tensor = known[graph, name]
                shapes.append((member, tensor.dtype, tensor.shape))
        picture = golden.picture or {}
        check(not picture or self.input.overlap is not None, "a golden picture is of a bundle of tiles")
        for variant, tolerances_of in golden.tolerance_relative.items():
            lacking = [name for name in picture if f"score.{name}" not in tolerances_of]
            check(not lacking, f"the golden picture has an output {min(lacking, default='')!r} that {variant} lacks")
        for member, dtype, shape in shapes:
            self._check_size(member, golden.rows * ELEMENT_SIZE_BYTES[dtype] * element_count(shape))

    def _check_free_size(self, free: FreeSize) -> None:
        from .sizes import FREE_GRAPHS, dimensions_at, shape_at, wrong_shapes  # not at the top: few bundles have one

        problem = wrong_shapes(self)
        check(problem is None, f"free_size: {problem}")
        for each in free.checks:
            where = f"size {each.height}x{each.width}"
            dimensions = dimensions_at((each.height, each.width), self.input, self.latent.shape)
            row = TensorSpec("x", self.input.dtype, self.input.shape)
            check(each.rows <= self.golden.rows or self.condition is None, f"{where}: more rows than conditions")
            members: list[tuple[str, TensorSpec]] = [(each.input, row)]
            for variant, by_output in each.expected.items():
                check(variant in self.variants, f"{where}: there is no variant {variant!r:.60}")
                graphs = self.variants[variant].graphs
                known = {f"{graph}.{t.name}": t for graph in FREE_GRAPHS for t in graphs[graph].outputs}
                have = (
                    by_output.keys()
                    & each.tolerance_relative.get(variant, {}).keys()
                    & each.parity.get(variant, {}).keys()
                )
                check(
                    have == known.keys() == by_output.keys(), f"{where}: outputs of {variant} differ from the graphs'"
                )
                members += [(member, known[output]) for output, member in by_output.items()]
            for named in (each.expected, each.parity, each.tolerance_relative):
                check(named.keys() == self.variants.keys(), f"{where}: its figures and the variants differ")
            for member, tensor in members:
                count = element_count(shape_at(tensor, self.input.layout, dimensions))
                self._check_size(member, each.rows * ELEMENT_SIZE_BYTES[tensor.dtype] * count)

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
