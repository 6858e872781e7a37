"""Scores, decisions and what guards them, from the outputs of an artefact: between parity and the bundle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.format.figures import Verdict
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.specs import InputSpec, Signature
from vae_edge_runtime.graph_session import rows_within
from vae_edge_runtime.scoring.calibrate import Calibrated
from vae_edge_runtime.scoring.heads import head_scores, outputs_for, posterior_noise
from vae_edge_runtime.scoring.tiling import is_whole, picture_outputs

from ..config import ExportConfig
from ..effort import is_costly, rows_affordable
from ..graphs.build import BYTES_AT_ONCE, BuiltGraphs
from ..rows import ExportRows, rows_of
from .head_choice import head_advice, pasted_rows
from .parity import Reference, run_backend
from .traps import ROWS, spring_traps
from .verdict import check_verdict

Array = NDArray[Any]
RunTorch = Callable[[str, dict[str, Array]], dict[str, Array]]

_KINDS = 12
"""Copies in float64 of the normal rows that are alive while unnatural ones are made of them."""
_FEWEST = 16


def score_outputs(
    backend: Backend, built: BuiltGraphs, feeds: dict[str, Array], row: InputSpec | None = None
) -> dict[str, Array]:
    """Everything that heads are computed from, by name; of whole pictures where ``row`` is a tile of theirs."""
    rows = built.rows_at_once("score")
    if row is not None and is_whole(feeds["x"], row):

        def of_tiles(tiles: Array, wanted: Sequence[str]) -> list[Array]:
            outputs = run_backend(backend, "score", built.signatures["score"], {"x": tiles}, rows=rows)
            return [outputs[name] for name in wanted]

        return picture_outputs(feeds["x"], row, built.score, outputs_for(built.score, built.score.simple), of_tiles)
    outputs = run_backend(backend, "score", _without_map(built.signatures["score"]), feeds, rows=rows)
    if "sampled" in built.signatures:
        rows = built.rows_at_once("sampled")
        outputs |= run_backend(backend, "sampled", built.signatures["sampled"], with_noise(built, feeds), rows=rows)
    return outputs


def _without_map(signature: Signature) -> Signature:
    """No head is computed from the map outside the graph, and it is as large as the rows."""
    return signature._replace(outputs=tuple(t for t in signature.outputs if t.name != "map"))


def with_noise(built: BuiltGraphs, feeds: dict[str, Array]) -> dict[str, Array]:
    """Feeds of the graph ``sampled``."""
    return feeds | {"noise": posterior_noise(built.score, built.latent, len(feeds["x"]))}


def check_decisions(
    backend: Backend,
    reference: Reference,
    built: BuiltGraphs,
    calibrated: Calibrated,
    rows: ExportRows,
    config: ExportConfig,
) -> Verdict:
    """The gate on every head but ensembles, whose parts pass it; the verdict of the default one."""
    heads = simple_heads(built)
    feeds, labels = rows.judged
    by_torch, by_artefact = (
        torch_outputs(reference, built, feeds, rows.row),
        score_outputs(backend, built, feeds, rows.row),
    )
    torch_scores, scores = (
        head_scores(built.score, heads, outputs, calibrated.fitted) for outputs in (by_torch, by_artefact)
    )

    @functools.cache
    def exact_scores() -> dict[str, Array]:
        outputs = torch_outputs(reference, built, feeds, rows.row, run=reference.run)
        return head_scores(built.score, heads, outputs, calibrated.fitted)

    verdicts = [
        check_verdict(
            scores[head], torch_scores[head], calibrated.by_head[head].threshold, labels, config,
            what="the artefact" if head == heads[0] else f"head '{head}' of the artefact",
            exact=lambda head=head: exact_scores()[head],  # type: ignore[misc]
        )
        for head in heads
    ]  # fmt: skip
    return verdicts[0]


def torch_outputs(
    reference: Reference,
    built: BuiltGraphs,
    feeds: dict[str, Array],
    row: InputSpec | None = None,
    *,
    run: RunTorch | None = None,
) -> dict[str, Array]:
    """What ``score_outputs`` gives, from PyTorch: in float32, or by ``run`` of the reference."""
    if row is not None and is_whole(feeds["x"], row):

        def of_tiles(tiles: Array, wanted: Sequence[str]) -> list[Array]:
            outputs = (run or reference.run_float32)("score", {"x": tiles})
            return [outputs[name] for name in wanted]

        return picture_outputs(feeds["x"], row, built.score, outputs_for(built.score, built.score.simple), of_tiles)
    outputs = run("score", feeds) if run else reference.run_float32("score", feeds, leave_out=("map",))
    if "sampled" in built.signatures:
        outputs |= (run or reference.run_float32)("sampled", with_noise(built, feeds))
    return outputs


def simple_heads(built: BuiltGraphs) -> list[str]:
    """Every head but ensembles."""
    return list(built.score.simple)


def find_traps(
    backend: Backend, built: BuiltGraphs, calibrated: Calibrated, rows: ExportRows
) -> dict[str, dict[str, float]]:
    """What every head makes of rows that are nothing like normal ones."""
    few = rows_within(BYTES_AT_ONCE, _KINDS * 8 * int(np.prod(rows.row.shape)), most=ROWS)
    normal = rows_of(
        rows.calibration if rows.labels is not None else rows.held_out, slice(_few(built, max(few, _FEWEST)))
    )

    def score(x: Array) -> dict[str, Array]:
        outputs = score_outputs(backend, built, normal | {"x": x})
        return head_scores(built.score, built.score.heads, outputs, calibrated.fitted)

    return spring_traps(normal["x"], rows.row, score, whole=LIKELIHOODS[built.score.likelihood].values == "classes")


def _few(built: BuiltGraphs, most: int) -> int:
    return rows_affordable(built.multiplications, most=most)


def advise_head(
    backend: Backend,
    built: BuiltGraphs,
    calibrated: Calibrated,
    rows: ExportRows,
    traps: dict[str, dict[str, float]],
) -> tuple[str, ...]:
    """Which head to decide by: from labelled rows, else for pictures from pasted defects; else nothing."""
    feeds, labels = rows.judged
    if labels is None:
        if rows.row.layout not in ("nchw", "nhwc"):
            return ()
        normal = rows_of(rows.held_out, slice(_few(built, ROWS)))
        if is_costly(built.multiplications) and len(normal["x"]) < _FEWEST:
            return ()  # of a handful of rows it would be chance which head comes first
        spoilt = normal | {"x": pasted_rows(normal["x"], rows.row)}
        feeds = {name: np.concatenate([normal[name], spoilt[name]]) for name in normal}
    outputs = score_outputs(backend, built, feeds, rows.row)
    scores = head_scores(built.score, built.score.heads, outputs, calibrated.fitted)
    return head_advice(built.score.default_head, scores, labels, traps)
