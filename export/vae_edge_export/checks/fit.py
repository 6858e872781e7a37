"""Whether the model fits the rows it is given: the one gate that looks at the model and not at its copy.

Parity and verdict hold the bundle to PyTorch. A model that was fed 0 to 255 and trained on 0 to 1, or whose weights
were never loaded, passes both. What such a model cannot do is rebuild normal rows better than their mean does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_edge_runtime.errors import AdaptError, FitFailed
from vae_edge_runtime.format.figures import ModelFit

from ..config import ExportConfig
from ..effort import rows_affordable
from ..graphs.build import BuiltGraphs
from ..graphs.modules import DataUnits
from ..halves.door import raised_by_the_model, reading
from ..preparations import Preparation, usual_preparations, what_runs
from ..rows import ExportRows, model_shape, rows_of
from .kept import KeptRows
from .reference import run_torch

Array = NDArray[Any]

ROWS = 512
_BYTES_AT_ONCE = 64 << 20
_FEWEST_ROWS = 16
_OTHER_REMEDIES = (
    "None of the usual scales mends it: check that the trained weights are loaded (--weights), that the rows are "
    "prepared as in training (--offset, --scale), and that the rows are of the model's kind."
)
_ACTIVE_VARIANCE = 0.01
"""A latent is in use where its posterior mean varies by more over rows (Burda et al., "Importance weighted
autoencoders", 2016, section 5.3)."""
_WORTH_NAMING = 0.05
"""A remedy is named where it brings R² above this."""


def check_fit(built: BuiltGraphs, rows: ExportRows, config: ExportConfig, singles: KeptRows | None = None) -> ModelFit:
    """Measure how well the model fits the normal rows, and refuse a model that does not.

    Args:
        built: the graphs in PyTorch. rows: of which up to ``ROWS`` normal ones are looked at.
        singles: where outputs are kept for the gates behind; None: they are not.

    Raises:
        AdaptError: the model raises on rows; the message names a preparation of them that it takes.
        FitFailed: R² is below ``config.least_r2``, or another preparation of the rows lifts it above 0;
            the message names that. Not raised where the user allowed a poor fit.
    """
    feeds = _some_rows(rows, built.multiplications)
    try:
        codes, x_hat = _reconstructed(built, feeds, singles)
    except AdaptError as error:  # the few rows that it was adapted with may be mild ones
        if raised_by_the_model(error) and (remedy := _what_it_takes(built, rows, feeds)):
            raise AdaptError(f"{error}. {remedy}") from error.__cause__
        raise
    r2 = r_squared(*_compared(feeds, x_hat, rows))
    scaled = DataUnits(config, model_shape(rows.row.shape, rows.row.layout)).to_model(_tensor(feeds["x"]))
    active = _codes_in_use(codes) if built.vae.kind == "codes" else _latents_in_use(codes)
    poor = r2 is not None and r2 <= 0
    fit = ModelFit(
        rows=len(feeds["x"]),
        r2=r2,
        fed_low=float(scaled.min()),
        fed_high=float(scaled.max()),
        latents=built.vae.codebook or int(np.prod(built.vae.latent_shape)),
        latents_in_use=active,
        poor=poor,
    )
    if poor and r2 is not None and not config.allow_poor_fit:
        plain = rows.condition is None or rows.condition.role == "condition"
        remedy = _likely_remedy(built, rows, built.config, feeds) if plain else ""
        if remedy or (config.least_r2 is not None and r2 < config.least_r2):
            raise FitFailed(
                f"the model rebuilds {fit.rows} normal rows worse than their mean row does (R² {r2:.3g}). "
                f"{remedy or _OTHER_REMEDIES} To export it all the same, allow a poor fit (--allow-poor-fit). "
                "Nothing was written",
                report=fit,
            )
    return fit


def _compared(feeds: Mapping[str, Array], x_hat: Array, rows: ExportRows) -> tuple[Array, Array]:
    """What decoded rows are compared with, and decoded rows: the targets of forecasts; nothing where values miss."""
    role = "condition" if rows.condition is None else rows.condition.role
    if role == "target":
        return feeds["condition"], x_hat
    if role == "mask":
        return feeds["x"], np.where(feeds["condition"] > 0, x_hat, feeds["x"])
    return feeds["x"], x_hat


def fit_warnings(fit: ModelFit) -> list[str]:
    """What to know of a model that rebuilds rows no better than their mean row does."""
    if not fit.poor:
        return []
    return [
        f"the model rebuilds normal rows no better than their mean row does (R² {fit.r2:.3g}): are its trained weights "
        "loaded, and are the rows prepared as in training?"
    ]


def r_squared(x: Array, x_hat: Array) -> float | None:
    """1 - sum of squared errors / sum of squares about the mean row; None where the rows are all the same.

    Args:
        x, x_hat: (n, *row_shape), one unit.
    """
    wanted, given = x.astype(np.float64), x_hat.astype(np.float64)
    spread = float(np.square(wanted - wanted.mean(axis=0)).sum())
    error = float(np.square(wanted - given).sum())
    return None if spread == 0 else 1.0 - error / spread if np.isfinite(error) else -float(np.finfo(np.float32).max)


def _some_rows(rows: ExportRows, multiplications: int) -> dict[str, Array]:
    """Normal rows spread over the calibration rows, so many that they fit into some memory, and take bearable time."""
    count = len(rows.calibration["x"])
    fitting = _BYTES_AT_ONCE // (8 * int(np.prod(rows.row.shape)))
    wanted = min(count, rows_affordable(multiplications, most=ROWS, least=4), max(_FEWEST_ROWS, fitting))
    chosen = np.unique(np.linspace(0, count - 1, wanted).astype(np.int64))
    return {name: array[chosen] for name, array in rows.calibration.items()}


def _reconstructed(
    built: BuiltGraphs, feeds: Mapping[str, Array], singles: KeptRows | None = None
) -> tuple[Array, Array]:
    """First output of ``encode``, and what ``decode`` makes of it in data units."""
    signatures, latent = built.signatures, built.signatures["decode"].inputs[0].name
    given = {name: x for name, x in feeds.items() if name != "x"}

    def run(graph: str, inputs: Mapping[str, Array]) -> Array:
        def compute(some: Mapping[str, Array]) -> dict[str, Array]:
            rows = built.rows_at_once(graph, most=_FEWEST_ROWS)
            return run_torch(
                built.modules[graph], signatures[graph], some,
                dtype=torch.float32, rows=rows, exact_norms=singles is not None,
            )  # fmt: skip

        outputs = compute(inputs) if singles is None else singles.run(graph, inputs, compute)
        return outputs[signatures[graph].outputs[0].name]

    codes = run("encode", feeds)
    return codes, run("decode", {latent: codes, **given})


def _pieces(feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    count = len(feeds["x"])
    for start in range(0, count, _FEWEST_ROWS):
        yield rows_of(feeds, slice(start, start + _FEWEST_ROWS))


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _latents_in_use(means: Array) -> int:
    return int((means.reshape(len(means), -1).var(axis=0) > _ACTIVE_VARIANCE).sum())


def _codes_in_use(indices: Array) -> int:
    return len(np.unique(indices))


@dataclasses.dataclass(frozen=True)
class _Remedy:
    """Another way to read the same rows and outputs, and the option that says so."""

    option: str
    way: Preparation
    link: Callable[[Tensor], Tensor]


def _likely_remedy(built: BuiltGraphs, rows: ExportRows, config: ExportConfig, feeds: Mapping[str, Array]) -> str:
    """What to change, from what the model does under the usual preparations of rows; empty where nothing helps."""
    tried: list[tuple[float, str]] = []
    for remedy in _remedies(rows, config, feeds):
        try:
            r2 = _r2_with(remedy, built, rows, feeds)
        except Exception:  # a model may refuse rows of another range; it is no remedy then
            continue
        if r2 is not None and np.isfinite(r2):
            tried.append((r2, remedy.option))
    best = max((r2 for r2, _ in tried), default=0.0)
    if best > _WORTH_NAMING:
        # The usual ones come first: 255 is meant where 254, the largest value seen, is a hair better.
        r2, option = next(pair for pair in tried if pair[0] > best - _WORTH_NAMING)
        return f"With {option} R² is {r2:.2f}: pass that."
    return ""


def _what_it_takes(built: BuiltGraphs, rows: ExportRows, feeds: Mapping[str, Array]) -> str:
    """In words, a usual preparation of the rows that the encoder does not raise on; empty where none helps."""
    condition = [_tensor(feeds["condition"])] if "condition" in feeds else []
    with torch.no_grad():
        return what_runs(feeds["x"], rows.row.layout, lambda x: built.vae.encode(built.vae.module, x, *condition))


def _remedies(rows: ExportRows, config: ExportConfig, feeds: Mapping[str, Array]) -> Iterator[_Remedy]:
    ways = [Preparation("", np.array(config.offset), np.array(config.scale))]
    ways += usual_preparations(feeds["x"], rows.row.layout)
    if tuple(config.scale) != (1.0,) or tuple(config.offset) != (0.0,):
        ways.append(Preparation("no --offset and no --scale", np.zeros(1), np.ones(1)))
    read, other = (_probability, _as_it_is) if config.logits else (_as_it_is, _probability)
    said = "no --logits" if config.logits else "--likelihood bernoulli --logits"
    for way in ways:
        if way.option:
            yield _Remedy(way.option, way, read)
        yield _Remedy(" ".join(filter(None, (way.option, said))), way, other)


def _as_it_is(x_hat: Tensor) -> Tensor:
    return x_hat


def _probability(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits)


def _r2_with(remedy: _Remedy, built: BuiltGraphs, rows: ExportRows, feeds: Mapping[str, Array]) -> float | None:
    """R² in model units, where the rows are prepared by the remedy."""
    vae = built.vae
    wanted, rebuilt = [], []
    # The model may have no answer for rows prepared in another way: an index of an embedding, a logarithm.
    with suppress(AdaptError), torch.no_grad(), reading("running the model in PyTorch"):
        for piece in _pieces(feeds):
            x = remedy.way.prepared(_tensor(piece["x"]), rows.row.layout)
            condition = [_tensor(piece["condition"])] if "condition" in piece else []
            code = vae.encode(vae.module, x, *condition)[0]
            rebuilt.append(remedy.link(vae.decode(vae.module, code, *condition)[0]).numpy())
            wanted.append(x.numpy())
    if len(wanted) != len(list(_pieces(feeds))):
        return None
    fed, x_hat = np.concatenate(wanted), np.concatenate(rebuilt)
    return r_squared(fed, x_hat) if fed.shape == x_hat.shape else None
