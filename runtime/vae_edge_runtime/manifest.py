"""The manifest of a bundle, as frozen typed objects.

``Manifest.from_json`` accepts exactly what these classes say and nothing else, so code that
holds a ``Manifest`` never checks it again. ``docs/manifest.schema.json`` is generated from
the same classes (``python -m vae_edge_runtime schema``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from . import archive, strict_json
from .errors import BundleInvalid, BundleTooNew

SCHEMA_VERSION = 1
MEMBER = archive.FIRST

GRAPHS = ("encode", "decode", "score")
Layout = Literal["nchw", "nhwc", "features", "time_features", "any"]
Likelihood = Literal["mse", "bernoulli", "gaussian"]

ELEMENT_SIZE_BYTES = {"float32": 4, "uint8": 1, "int64": 8}

_HEX64 = re.compile(r"[0-9a-f]{64}")
_MAX_ELEMENTS = 1 << 31


def _check(good: bool, problem: str) -> None:
    if not good:
        raise BundleInvalid(problem)


def _check_shape(shape: tuple[int, ...], what: str) -> None:
    _check(len(shape) <= 5 and all(0 < n < _MAX_ELEMENTS for n in shape), f"{what} {shape} is not a shape")
    _check(element_count(shape) < _MAX_ELEMENTS, f"{what} {shape} holds too many elements")


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of an array of this shape."""
    count = 1
    for n in shape:
        count *= n
    return count


@dataclass(frozen=True)
class ModelCard:
    """Who made the model, under which terms, and how good its maker says it is."""

    name: str
    version: str
    licence: str
    source: str
    description: str
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        _check(bool(self.name.strip()), "the name is empty")


@dataclass(frozen=True)
class InputSpec:
    """What one raw row is, before any preprocessing.

    Attributes:
        shape: of one row, without the batch axis, in ``layout``.
        dtype: of the array passed in; ``uint8`` or ``float32``.
        layout: ``nchw`` or ``nhwc`` for images (then 3 axes), ``features`` for one vector
            (1 axis), ``time_features`` for a window of rows (2 axes: time, feature).
        low, high: smallest and largest value seen at calibration, in data units.
        names: of the features (last axis) where they have any, else empty.
    """

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    layout: Layout
    low: float
    high: float
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_shape(self.shape, "shape")
        axes = {"nchw": 3, "nhwc": 3, "features": 1, "time_features": 2}.get(self.layout, len(self.shape))
        _check(len(self.shape) == axes, f"layout {self.layout} needs {axes} axes, the shape is {self.shape}")
        _check(self.low <= self.high, f"low {self.low} is above high {self.high}")
        _check(len(self.names) in (0, self.shape[-1]), f"{len(self.names)} names for {self.shape[-1]} features")


@dataclass(frozen=True)
class Preprocessing:
    """x_model = (x - offset) / scale, done inside the graphs, after the layout is made NCHW.

    ``offset`` and ``scale`` hold one value for everything or one per channel (per feature).
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        _check(len(self.offset) == len(self.scale) >= 1, "offset and scale differ in length")
        _check(all(s > 0 for s in self.scale), "a scale is not positive")


@dataclass(frozen=True)
class LatentSpec:
    """Shape of one latent, and the prior it is drawn from."""

    shape: tuple[int, ...]
    kind: Literal["gaussian"]
    prior: Literal["standard_normal"]

    def __post_init__(self) -> None:
        _check_shape(self.shape, "shape")


@dataclass(frozen=True)
class ScoreSpec:
    """How a row becomes one number: the formulas are in ``docs/concepts.md``.

    score = reconstruction_weight * reconstruction + kl_weight * kl, where ``reconstruction`` is
    -log p(x | z = posterior mean) up to the stated constant, in nats, summed over elements.

    Attributes:
        likelihood: ``mse``: sum of squared errors; ``bernoulli``: binary cross-entropy on x in
            [0, 1]; ``gaussian``: Gaussian negative log likelihood.
        variance: of ``gaussian``: the fixed one, or None where the decoder gives its own.
    """

    likelihood: Likelihood
    variance: float | None
    reconstruction_weight: float
    kl_weight: float

    def __post_init__(self) -> None:
        _check(self.variance is None or self.variance > 0, "variance is not positive")
        _check(self.reconstruction_weight >= 0 and self.kl_weight >= 0, "a weight is negative")
        _check(self.reconstruction_weight + self.kl_weight > 0, "both weights are 0")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; the batch axis comes first and is not in ``shape``."""

    name: str
    dtype: Literal["float32", "uint8", "int64"]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_shape(self.shape, f"{self.name}: shape")


@dataclass(frozen=True)
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
        _check(len(set(self.parts)) == len(self.parts) >= 1, "parts are missing or repeated")
        _check(bool(_HEX64.fullmatch(self.sha256)), "sha256 is not 64 hex digits")
        _check(0 < self.size_bytes < 1 << 31, "size_bytes is not below 2 GiB")
        for tensors in (self.inputs, self.outputs):
            _check(0 < len(tensors) == len({t.name for t in tensors}), "tensors are missing or repeated")

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``."""
        return next(t for t in self.outputs if t.name == name)


@dataclass(frozen=True)
class Parity:
    """Largest difference of one output from PyTorch's, over all rows tried.

    ``max_relative`` is relative to max(abs(reference), rms of the reference output).
    """

    max_absolute: float
    max_relative: float
    tolerance_relative: float
    reference: Literal["float64", "float32"]
    rows: int


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Calibration:
    """What turns a score into a decision, from held-out normal rows and this very variant.

    Attributes:
        n: calibration rows. false_positive_rate: the rate ``threshold`` stands for.
        threshold: a row is an anomaly where score > threshold.
        points: entries of the sketch in ``member``: float32 scores, ascending, then as many
            uint32: how many of the n scores lie strictly above each.
    """

    n: int
    false_positive_rate: float
    threshold: float
    points: int
    member: str

    def __post_init__(self) -> None:
        _check(0 < self.points <= self.n < 1 << 32, "points and n disagree")
        _check(0 < self.false_positive_rate < 1, "false_positive_rate is not inside (0, 1)")


@dataclass(frozen=True)
class Variant:
    """The graphs at one precision, with their own figures."""

    precision: Literal["fp32", "fp16", "int8"]
    graphs: dict[str, GraphSpec]
    parity: dict[str, Parity]
    verdict: Verdict | None
    calibration: Calibration | None

    def __post_init__(self) -> None:
        _check(set(self.graphs) == set(GRAPHS), f"graphs are {sorted(self.graphs)}, not {sorted(GRAPHS)}")


@dataclass(frozen=True)
class Golden:
    """Inputs with expected outputs, so that any device can prove itself.

    Attributes:
        rows: number of rows in ``input``. input: member with the raw rows.
        expected: per variant, per "graph.output": the member with the expected rows. ``decode``
            is fed the expected ``encode.mean``.
        tolerance_relative: per variant, as in ``Parity``.
    """

    rows: int
    input: str
    expected: dict[str, dict[str, str]]
    tolerance_relative: dict[str, float]


@dataclass(frozen=True)
class Requirements:
    """What the device must offer."""

    runtime_schema: int
    opset: int
    ir_version: int
    onnxruntime: str


@dataclass(frozen=True)
class MemberSpec:
    """Size and hash of one entry of the bundle."""

    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _check(0 <= self.size_bytes < 1 << 31, "size_bytes is not below 2 GiB")
        _check(bool(_HEX64.fullmatch(self.sha256)), "sha256 is not 64 hex digits")


@dataclass(frozen=True)
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
    preprocessing: Preprocessing
    latent: LatentSpec
    output: TensorSpec
    score: ScoreSpec
    variants: dict[str, Variant]
    golden: Golden
    requires: Requirements
    members: dict[str, MemberSpec]

    def __post_init__(self) -> None:
        _check(self.release >= 1, "release is below 1")
        _check(bool(re.fullmatch(r"[0-9a-f]{32}", self.pair_id)), "pair_id is not 32 hex digits")
        _check(bool(self.variants), "there is no variant")
        for name in self.members:
            _check(archive.is_member_name(name) and name != MEMBER, f"member name {name!r:.80} is not valid")
        used = set(self.referenced())
        for problem, names in (
            ("is used and not listed", used - self.members.keys()),
            ("is listed and not used", self.members.keys() - used),
        ):
            _check(not names, f"member {min(names, default='')!r} {problem}")
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        self._check_golden()

    def referenced(self) -> list[str]:
        """Every member name the manifest points at."""
        found = [part for v in self.variants.values() for g in v.graphs.values() for part in g.parts]
        found += [v.calibration.member for v in self.variants.values() if v.calibration]
        found += [self.golden.input, *(m for by_output in self.golden.expected.values() for m in by_output.values())]
        return found

    def _check_variant(self, name: str, variant: Variant) -> None:
        latent, row = self.latent.shape, self.input.shape
        expected = {
            "encode": ([("x", self.input.dtype, row)], [("mean", "float32", latent), ("logvar", "float32", latent)]),
            "decode": ([("z", "float32", latent)], [("x_hat", self.output.dtype, self.output.shape)]),
            "score": (
                [("x", self.input.dtype, row)],
                [*((name, "float32", ()) for name in ("score", "reconstruction", "kl")), ("map", "float32", row)],
            ),
        }  # fmt: skip
        for graph, (inputs, outputs) in expected.items():
            spec = variant.graphs[graph]
            for side, tensors, wanted in (("input", spec.inputs, inputs), ("output", spec.outputs, outputs)):
                have = [(t.name, t.dtype, t.shape) for t in tensors]
                _check(have == wanted, f"variant {name}: {graph} {side}s are {have}, the model's are {wanted}")
            size = sum(self.members[part].size_bytes for part in spec.parts)
            _check(size == spec.size_bytes, f"variant {name}: parts of {graph} add up to {size}, not {spec.size_bytes}")
        calibration = variant.calibration
        if calibration:
            size, wanted = self.members[calibration.member].size_bytes, 8 * calibration.points
            _check(size == wanted, f"{calibration.member} holds {size} bytes, not {wanted}")

    def _check_golden(self) -> None:
        golden = self.golden
        _check(golden.rows >= 1, "there are no golden rows")
        for named in (golden.expected, golden.tolerance_relative):
            _check(named.keys() == self.variants.keys(), "golden vectors and variants differ")
        shapes: list[tuple[str, str, tuple[int, ...]]] = [(golden.input, self.input.dtype, self.input.shape)]
        for variant, members in golden.expected.items():
            _check("encode.mean" in members, f"golden rows of {variant} lack encode.mean, which decode is fed")
            for output, member in members.items():
                graph, _, name = output.partition(".")
                known = {(g, t.name): t for g, s in self.variants[variant].graphs.items() for t in s.outputs}
                _check((graph, name) in known, f"golden output {output!r} does not exist")
                tensor = known[graph, name]
                shapes.append((member, tensor.dtype, tensor.shape))
        for member, dtype, shape in shapes:
            wanted = golden.rows * ELEMENT_SIZE_BYTES[dtype] * element_count(shape)
            have = self.members[member].size_bytes
            _check(have == wanted, f"{member} holds {have} bytes, not {wanted}")

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """Parse and check a manifest.

        Raises:
            BundleTooNew: its schema version is above this runtime's.
            BundleInvalid: anything else; the message names the key.
        """
        plain = strict_json.parse(raw, member=MEMBER)
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if type(version) is int and version > SCHEMA_VERSION:
            raise BundleTooNew(
                f"schema version {version}, this runtime reads up to {SCHEMA_VERSION}: update vae-edge on this device",
                member=MEMBER,
            )
        manifest = strict_json.build(cls, plain, member=MEMBER)
        if manifest.schema_version != SCHEMA_VERSION:
            raise BundleInvalid(f"schema version {version} never existed", member=MEMBER)
        return manifest

    def to_json(self) -> bytes:
        """The one canonical text of this manifest."""
        return strict_json.dump(self)
