"""Prove a bundle on this device: every byte, and the golden vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format.bundle import Bundle
from .format.figures import SizeCheck
from .format.manifest import Golden
from .format.specs import GRAPHS, TensorSpec
from .record import record
from .scoring.heads import posterior_noise
from .scoring.results import SessionInfo
from .session import VAE, load


@np.errstate(all="ignore")  # golden numbers of a stranger may be anything, NaNs that signal among them
def max_errors(actual: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float]:
    """Largest absolute and relative difference of two arrays of one shape.

    Relative to max(abs(reference), rms of the reference), so that an element near zero in an
    output of size 100 is not asked for more digits than float32 has. NaN against a number
    counts as infinite. Between uint8 values a difference of 1 counts as none: it is how a float
    that lies between two of them was rounded. Indices (int64) are names, not sizes: any other
    one is a difference of 1, relative to 1.
    """
    if reference.dtype == np.int64:
        other = float((actual != reference).any())
        return other, other
    rounding = 1.0 if reference.dtype == np.uint8 else 0.0
    actual, reference = actual.astype(np.float64), reference.astype(np.float64)
    if reference.size == 0:
        return 0.0, 0.0
    difference = np.maximum(np.abs(actual - reference) - rounding, 0.0)
    difference[~np.isfinite(difference)] = np.inf
    size = np.maximum(np.abs(reference), np.sqrt(np.mean(np.square(reference))))
    relative = np.divide(difference, size, out=np.where(difference > 0, np.inf, 0.0), where=size > 0)
    return float(difference.max()), float(relative.max())


@record(frozen=True)
class GoldenCheck:
    """One output of one graph, run here and compared with the exporter's.

    Attributes:
        variant: precision of the graph.
        graph: ``encode``, ``decode``, ``score`` or ``sampled``; ``picture``: ``score`` over the tiles of a picture.
        output: its name.
        max_absolute: largest difference, in the unit of the output.
        max_relative: largest difference relative to the size of the output; see ``max_errors``.
        tolerance_relative: what the manifest allows.
        size: HEIGHTxWIDTH of the rows, where they are of another size than ``manifest.input``; else None.
    """

    variant: str
    graph: str
    output: str
    max_absolute: float
    max_relative: float
    tolerance_relative: float
    size: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the relative difference is within the tolerance."""
        return self.max_relative <= self.tolerance_relative


@record(frozen=True)
class Verification:
    """Outcome of ``verify``: structure and hashes were fine, or it would have raised.

    Attributes:
        members: entries of the file, each with the right SHA-256.
        size_bytes: of the file.
        rows: golden rows that every graph was run on.
        info: what ran them, for the last variant.
        checks: one per output of each graph of each variant.
    """

    members: int
    size_bytes: int
    rows: int
    info: SessionInfo
    checks: tuple[GoldenCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every golden output is within its tolerance."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; an infinite difference becomes None."""

        def finite(value: float) -> float | None:
            return value if np.isfinite(value) else None

        return {
            "ok": self.ok,
            "members": self.members,
            "size_bytes": self.size_bytes,
            "rows": self.rows,
            "info": self.info.to_dict(),
            "checks": [
                asdict(c)
                | {"max_absolute": finite(c.max_absolute), "max_relative": finite(c.max_relative), "passed": c.passed}
                for c in self.checks
            ],
        }


def verify(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    allow_fallback: bool = False,
    threads: int | None = None,
    isolate: bool = False,
    deadline_s: float | None = None,
    memory_bytes: int | None = None,
) -> Verification:
    """Check structure, every hash, every graph, and run the golden vectors of every variant.

    Args:
        path: the ``.vaeb`` file.
        device: that runs the golden vectors, as in ``load``.
        allow_fallback: run on the CPU, visibly degraded, where the device is not to be had.
        threads: within one run, 1 to 1024; None leaves it to the engine.
        isolate: run the engine in a process of its own, as in ``load``.
        deadline_s: as in ``load``.
        memory_bytes: as in ``load``.

    Raises:
        BundleError, GraphRefused: the file is refused; nothing of it was run.
        ProviderUnavailable, MissingDependency, BackendError: it could not be run here.
        OptionError: an option is not a valid value.

    Example:
        >>> verification = verify("pump.vaeb")
        >>> verification.ok, verification.rows
        (True, 2)
    """
    with Bundle.open(path) as bundle:
        bundle.verify_members()
        variants = sorted(bundle.manifest.variants)
    checks: list[GoldenCheck] = []
    for name in variants:
        with load(
            path, device=device, variant=name, allow_fallback=allow_fallback, threads=threads, isolate=isolate,
            deadline_s=deadline_s, memory_bytes=memory_bytes,
        ) as vae:  # fmt: skip
            checks += _golden_checks(vae, name)
            vae.check_prior()
            vae.check_calibration()
            info = vae.info
    return Verification(
        members=len(bundle.manifest.members) + 1,
        size_bytes=bundle.size_bytes,
        rows=bundle.manifest.golden.rows,
        info=info,
        checks=tuple(checks),
    )


def _golden_checks(vae: VAE, variant: str) -> list[GoldenCheck]:
    manifest = vae.manifest
    graphs = tuple(name for name in GRAPHS if name in manifest.variants[variant].graphs)
    checks = _run_golden(vae, variant, graphs, manifest.golden, None)
    if manifest.free_size is not None:
        from .format.sizes import FREE_GRAPHS  # not at the top: few bundles are of free size

        for at_size in manifest.free_size.checks:
            checks += _run_golden(vae, variant, FREE_GRAPHS, at_size, (at_size.height, at_size.width))
    return checks


def _run_golden(
    vae: VAE, variant: str, graphs: Sequence[str], golden: Golden | SizeCheck, size: tuple[int, int] | None
) -> list[GoldenCheck]:
    """Run graphs on golden rows, which may be of another height and width than ``manifest.input``."""
    manifest, specs = vae.manifest, vae.manifest.variants[variant].graphs
    dimensions: dict[str, int] = {}
    if size is not None:
        from .format.sizes import dimensions_at

        dimensions = dimensions_at(size, manifest.input, manifest.latent.shape)

    expected = {}
    for key, member in golden.expected[variant].items():
        graph, _, output = key.partition(".")
        expected[graph, output] = _stored(vae, member, specs[graph].output(output), golden.rows, dimensions)
    feeds = _golden_feeds(vae, variant, golden, dimensions)
    checks = []
    for graph in graphs:
        names = [t.name for t in specs[graph].outputs if (graph, t.name) in expected]
        outputs = vae.run_graph(graph, {t.name: feeds[t.name] for t in specs[graph].inputs}, names)
        for name, array in zip(names, outputs, strict=True):
            absolute, relative = max_errors(array, expected[graph, name])
            allowed = golden.tolerance_relative[variant][f"{graph}.{name}"]
            at = None if size is None else f"{size[0]}x{size[1]}"
            checks.append(GoldenCheck(variant, graph, name, absolute, relative, allowed, at))
    return checks if size is not None else checks + _picture_checks(vae, variant, feeds.get("x"))


def _picture_checks(vae: VAE, variant: str, rows: NDArray[Any] | None) -> list[GoldenCheck]:
    """Of a bundle of tiles: what this runtime makes of a whole picture."""
    manifest, golden = vae.manifest, vae.manifest.golden
    if not golden.picture or rows is None:
        return []
    from .scoring.tiling import golden_picture, picture_outputs  # not at the top: few bundles are of tiles

    outputs = picture_outputs(
        golden_picture(rows, manifest.input), manifest.input, manifest.score, tuple(golden.picture),
        lambda tiles, names: vae.run_graph("score", {"x": tiles}, list(names)),
    )  # fmt: skip
    tolerances = golden.tolerance_relative[variant]
    return [
        GoldenCheck(
            variant, "picture", name, *max_errors(outputs[name], np.array([wanted])), tolerances[f"score.{name}"]
        )
        for name, wanted in golden.picture.items()
    ]


def golden_feeds(vae: VAE, variant: str) -> dict[str, NDArray[Any]]:
    """What the self-test feeds the graphs of one variant, (rows, *shape) by name of the input.

    Args:
        vae: an open session. variant: a precision in its bundle.

    Example:
        >>> sorted(golden_feeds(vae, "fp32"))
        ['x', 'z']
    """
    return _golden_feeds(vae, variant, vae.manifest.golden, {})


def _golden_feeds(
    vae: VAE, variant: str, golden: Golden | SizeCheck, dimensions: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    manifest, graphs = vae.manifest, vae.manifest.variants[variant].graphs
    first = next(iter(manifest.signatures.values())).inputs[0]
    feeds = {first.name: _stored(vae, golden.input, first, golden.rows, dimensions)}
    if "encode" in graphs:
        code = graphs["encode"].outputs[0]
        member = golden.expected[variant][f"encode.{code.name}"]
        feeds[graphs["decode"].inputs[0].name] = _stored(vae, member, code, golden.rows, dimensions)
    if manifest.golden.condition is not None and manifest.condition is not None:
        beside = TensorSpec("condition", manifest.condition.dtype, manifest.condition.shape)
        feeds["condition"] = _stored(vae, manifest.golden.condition, beside, manifest.golden.rows, {})[: golden.rows]
    if "sampled" in graphs:
        feeds["noise"] = posterior_noise(manifest.score, manifest.latent, golden.rows)
    return feeds


def _stored(vae: VAE, member: str, tensor: TensorSpec, rows: int, dimensions: Mapping[str, int]) -> NDArray[Any]:
    """An array of the bundle, of another height and width where ``dimensions`` says so."""
    shape = tensor.shape
    if dimensions:
        from .format.sizes import shape_at  # not at the top: few bundles are of free size

        shape = shape_at(tensor, vae.manifest.input.layout, dimensions)
    array = np.frombuffer(vae.read_member(member), dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    return array.astype(tensor.dtype).reshape(rows, *shape)
