"""The proof of a bundle for generation: its outputs against PyTorch, and rows drawn from its prior looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.figures import Parity, SampleFigures
from vae_edge_runtime.format.specs import InputSpec, PriorSpec
from vae_edge_runtime.sampling.prior import draw

from ..adapters import Prior
from ..bundling.priors import BundlePrior, PriorChoice, choose_prior
from ..checks.fit import r_squared
from ..checks.parity import check_parity, compare_outputs, refuse_missed
from ..checks.probes import FEW_PROBES, ProbeLatents, probes
from ..checks.reference import Reference, run_backend
from ..checks.samples import DRAWN, measure_samples, refuse_useless
from ..checks.size_parity import held_to
from ..config import ExportConfig
from ..effort import in_words, is_costly, rows_affordable
from ..graphs.build import BuiltGraphs
from ..rows import ExportRows, rows_of
from ..support import Support

Array = NDArray[Any]

PARITY_ROWS = 16
_FEWEST_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Proof:
    """What the comparison with PyTorch gave.

    Attributes:
        rows: what a row is, with the range that was seen, and rows of it. latents: that were decoded.
    """

    rows: ExportRows
    latents: Array
    prior: BundlePrior
    parity: dict[str, Parity]
    figures: SampleFigures | None
    evidence: tuple[str, ...]
    notes: tuple[str, ...]


def prove(
    backend: Backend,
    reference: Reference,
    built: BuiltGraphs,
    shown: ExportRows,
    given: ExportRows | None,
    prior: PriorChoice,
    config: ExportConfig,
) -> Proof:
    """Every output of every graph against PyTorch, and samples looked at.

    Args:
        shown: what a row is, and rows that the model was adapted with. given: the user's rows.
    """
    signature = built.signatures["decode"]
    z = signature.inputs[0].name
    evidence: list[str] = []
    chosen = _prior(built, reference, given, prior, evidence)
    latent = dataclasses.replace(built.latent, prior=chosen.spec)
    samples = figures = None
    forecast = "encode" in built.modules and signature.outputs[0].shape != shown.row.shape
    if forecast:
        there, here = signature.outputs[0].shape, shown.row.shape
        evidence.append(f"decode gives {there} for rows of {here}: decoded rows are compared with no targets")
    conditions = shown.calibration.get("condition")
    costly, compared_rows = is_costly(built.multiplications), rows_affordable(built.multiplications, most=PARITY_ROWS)
    if chosen.spec.kind != "none":
        count = rows_affordable(built.multiplications, most=DRAWN, least=_FEWEST_SAMPLES)
        drawn = draw(latent, chosen.member or b"", count, seed=0, temperature=1.0)
        fed = {z: drawn, **beside_latents(conditions, count)}
        samples = run_backend(backend, "decode", signature, fed, rows=built.rows_at_once("decode"))["x_hat"]
        refuse_useless(samples, allowed=config.allow_poor_fit)
        figures = measure_samples(samples, None if given is None or forecast else given.calibration["x"])
        drawn = drawn[: 1 if costly and "encode" in built.modules else compared_rows]
    else:
        encoded = reference.run("encode", rows_of(shown.calibration, slice(compared_rows)))
        drawn = next(iter(encoded.values()))
        drawn = drawn if drawn.dtype == np.int64 else drawn.astype(np.float32)
    if samples is not None and given is None and not forecast:
        shown = _rows_of_samples(shown, samples, evidence)
    if "encode" not in built.modules:
        extremes = np.concatenate([drawn, 3 * drawn[:2], np.zeros_like(drawn[:1])])
        by_graph = {"decode": {z: extremes, **beside_latents(conditions, len(extremes))}}
        parity, problems, notes = compare_outputs(backend, reference, by_graph, rtol=config.parity_rtol)
        refuse_missed(parity, problems)
        return Proof(shown, drawn, chosen, parity, figures, tuple(evidence), tuple(notes))
    feeds = rows_of(shown.calibration, slice(compared_rows))
    # Of a costly model the one latent that was drawn is enough, and black and far too large rows are.
    latents = ProbeLatents.of(reference, "deterministic" if costly else built.vae.kind, feeds)
    made_up = probes(shown.row, Support.of(shown.calibration["x"], shown.row.layout))
    if costly:
        made_up = {name: row for name, row in made_up.items() if name in FEW_PROBES}
        doubled = not reference.single_beyond
        evidence.append(in_words(built.multiplications, len(feeds["x"]), scored=False, doubled=doubled))
        evidence += filter(None, [held_to(built, reference)])
    compared = check_parity(
        backend, reference, feeds, made_up,
        lambda encoded: np.concatenate([latents(encoded), drawn]), noise=None, rtol=config.parity_rtol,
    )  # fmt: skip
    if samples is not None and given is None and not forecast:
        evidence.append(_round_trip(reference, built, feeds))
    return Proof(shown, drawn, chosen, compared.figures, figures, tuple(evidence), (*compared.notes, *latents.notes))


def _prior(
    built: BuiltGraphs, reference: Reference, given: ExportRows | None, wish: PriorChoice, evidence: list[str]
) -> BundlePrior:
    """The prior as ``export`` chooses it; a decoder alone is drawn from N(0, I); nothing is fitted without rows."""
    own, asked = built.vae.prior, isinstance(wish, str) and wish == "fitted"  # an array is equal to no word
    if "encode" not in built.modules:
        if asked:
            raise OptionError("a prior is fitted to codes of rows, and a decoder alone has no encoder: pass a Prior")
        if wish is None and own is None:
            wish = Prior("standard_normal", "N(0, I), assumed: a decoder alone does not say its prior")
            evidence.append("samples are drawn from N(0, I): where the decoder was trained on another, pass prior=")
        return choose_prior(built.vae, wish, lambda: np.zeros((1, *built.latent.shape), np.float32))
    fitted = asked or (wish is None and own is None and built.vae.kind != "gaussian")
    if fitted and given is None:
        if asked:
            raise OptionError("a prior is fitted to codes of rows: pass rows")
        spec = PriorSpec("none", "it was exported without rows that a prior could be fitted to", 0, None)
        evidence.append(f"cannot be sampled: {spec.source}")
        return BundlePrior(spec, None)
    rows = given or ExportRows(_NOTHING, None, {}, {}, None)
    codes = np.zeros((1, *built.latent.shape), np.int64 if built.vae.kind == "codes" else np.float32)
    if fitted or built.vae.kind == "codes":
        codes = next(iter(reference.run_float32("encode", rows.calibration).values())) if given else codes
    return choose_prior(built.vae, wish, lambda: codes)


_NOTHING = InputSpec((1,), "float32", "any", 0.0, 0.0, ())


def _rows_of_samples(shown: ExportRows, samples: Array, evidence: list[str]) -> ExportRows:
    """What a row is with the range of the samples, and samples in place of made-up rows."""
    rows = samples[: max(PARITY_ROWS, len(shown.calibration.get("condition", ())))].astype(shown.row.dtype)
    row = dataclasses.replace(shown.row, low=float(rows.min()), high=float(rows.max()))
    evidence.append("no rows were given: range and encoder were looked at on rows that the decoder makes")
    beside = beside_latents(shown.calibration.get("condition"), len(rows))
    return dataclasses.replace(shown, row=row, calibration={"x": rows, **beside})


def _round_trip(reference: Reference, built: BuiltGraphs, feeds: Mapping[str, Array]) -> str:
    """Whether encoder and decoder belong together, in words: samples encoded and decoded again."""
    codes = next(iter(reference.run_float32("encode", feeds).values()))
    beside = {name: x for name, x in feeds.items() if name != "x"}
    z = built.signatures["decode"].inputs[0].name
    again = reference.run_float32("decode", {z: codes, **beside})["x_hat"]
    r2 = r_squared(feeds["x"], again)
    return f"rebuilds its own samples with R² {'-' if r2 is None else f'{r2:.3g}'}"


def beside_latents(conditions: Array | None, count: int) -> dict[str, Array]:
    """As many conditions as latents, those at hand in turn."""
    return {} if conditions is None else {"condition": np.resize(conditions, (count, *conditions.shape[1:]))}
