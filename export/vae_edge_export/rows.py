"""Raw rows before a model sees them: what they must be, in training as in export, and who gets which."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_edge_runtime.errors import CalibrationError, InputError
from vae_edge_runtime.format.specs import ConditionSpec, InputSpec, Layout, Role
from vae_edge_runtime.sampling.noise import philox_words
from vae_edge_runtime.scoring.inputs import check_condition, check_rows, finite_rows
from vae_edge_runtime.scoring.tiling import check_pictures, cut_tiles, picture_size
from vae_edge_runtime.statistics.conformal import samples_needed
from vae_edge_runtime.storage.scratch import picked
from vae_edge_runtime.text import counted

from .config import ExportConfig

Feeds = Mapping[str, NDArray[Any]]

MOST_TILES = 512
"""Of the calibration pictures, that graphs are compared on; thresholds come from every tile of every picture."""
HELD_OUT_EVERY = 5
"""Without evaluation rows one of five calibration rows is held out for the verdict gate: a
threshold is a calibration score, so its own row would flip at the last bit."""


@dataclass(frozen=True, eq=False)
class ExportRows:
    """Rows of an export, by input name: ``x``, and ``condition`` for a conditional model.

    Attributes:
        row, condition: what one of each is.
        calibration, held_out: (n, *row_shape) each.
        labels: (n,) bool of the held-out rows, True for anomalies; None without evaluation rows.
        pictures: of a bundle of tiles, the whole pictures that scores are calibrated and judged on; the rows above
            are tiles of them.
    """

    row: InputSpec
    condition: ConditionSpec | None
    calibration: dict[str, NDArray[Any]]
    held_out: dict[str, NDArray[Any]]
    labels: NDArray[np.bool_] | None
    pictures: WholePictures | None = None

    @property
    def calibrating(self) -> dict[str, NDArray[Any]]:
        """What thresholds are taken from: rows, or whole pictures."""
        return self.calibration if self.pictures is None else self.pictures.calibration

    @property
    def judged(self) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
        """What decisions are compared on, and its labels."""
        return (self.held_out, self.labels) if self.pictures is None else (self.pictures.held_out, self.pictures.labels)


@dataclass(frozen=True, eq=False)
class WholePictures:
    """Pictures (n, ...) by input name, and labels of the held-out ones."""

    calibration: dict[str, NDArray[Any]]
    held_out: dict[str, NDArray[Any]]
    labels: NDArray[np.bool_] | None


def split_rows(
    calibration: NDArray[Any],
    condition: NDArray[Any] | None,
    evaluation: tuple[NDArray[Any], ...] | None,
    config: ExportConfig,
    role: Role = "condition",
) -> ExportRows:
    """Check the rows of an export and share them out; ``role``: of what stands beside them, as in ``ConditionSpec``.

    Raises:
        InputError: rows, labels or conditions that do not fit together. CalibrationError: too few.
    """
    check_raw_rows(calibration, "calibration")
    shape, dtype = calibration.shape[1:], str(calibration.dtype)
    rows = {"x": finite_rows_of(calibration, shape, dtype, "calibration")}
    beside = None if condition is None else condition_spec(condition, len(calibration), role)
    if beside is not None and condition is not None:
        rows["condition"] = check_rows(condition, shape=beside.shape, dtype=beside.dtype, what="condition")
    labels = None
    if evaluation is None:
        held = drawn_to_hold_out(len(calibration))
        rows, held_out = ({name: picked(x, part) for name, x in rows.items()} for part in (~held, held))
    else:
        held_out, labels = _evaluation(evaluation, shape, dtype, beside)
    needed = samples_needed(config.false_positive_rate) if config.threshold_method == "conformal" else 1
    if len(rows["x"]) < needed or not len(held_out["x"]):
        total = needed if evaluation is not None else -(-needed * HELD_OUT_EVERY // (HELD_OUT_EVERY - 1))
        raise CalibrationError(
            f"a false-positive rate of {config.false_positive_rate:g} needs at least {needed} normal calibration rows; "
            f"{len(rows['x'])} are left after holding out {len(held_out['x'])} for the verdict gate: "
            f"pass at least {counted(max(total, 2), 'row')}, or a larger false_positive_rate",
            needed=max(total, 2),
        )
    low, high = float(rows["x"].min()), float(rows["x"].max())
    if config.tile is not None:
        if beside is not None:
            raise InputError("a conditional model cannot have tiles")
        return _tiled(WholePictures(rows, held_out, labels), config, (dtype, low, high))
    row = InputSpec(shape, dtype, config.layout, low, high, config.names, fit=config.fit)  # type: ignore[arg-type]
    return ExportRows(row, beside, rows, held_out, labels)


def _tiled(pictures: WholePictures, config: ExportConfig, values: tuple[str, float, float]) -> ExportRows:
    """Tiles of the pictures as rows: what graphs are compared on.

    Raises:
        InputError: a picture is smaller than a tile.
    """
    x, tile = pictures.calibration["x"], config.tile or 0
    shape = (x.shape[1], tile, tile) if config.layout == "nchw" else (tile, tile, x.shape[3])
    row = InputSpec(shape, values[0], config.layout, *values[1:], config.names, fit=config.fit, overlap=config.overlap)  # type: ignore[arg-type]
    check_pictures(x, row, "calibration")
    row = dataclasses.replace(row, calibrated_size=picture_size(x.shape[1:], row))
    cut = [cut_tiles(check_pictures(part["x"], row, "calibration"), row, MOST_TILES)
           for part in (pictures.calibration, pictures.held_out)]  # fmt: skip
    return ExportRows(row, None, {"x": cut[0]}, {"x": cut[1]}, None, pictures)


def drawn_to_hold_out(n: int) -> NDArray[np.bool_]:
    """Which of n calibration rows are held out, (n,) bool: one of five, drawn, the same ones every time.

    Not every fifth: of windows that follow a cycle of five it would take one phase out of the calibration.
    """
    drawn = np.argsort(philox_words(n, seed=0, stream=3), kind="stable")[: n // HELD_OUT_EVERY]
    held_out = np.zeros(n, dtype=bool)
    held_out[drawn] = True
    return held_out


def rows_to_look_at(x: NDArray[Any], condition: NDArray[Any] | None, config: ExportConfig) -> ExportRows:
    """A few rows, of which nothing is calibrated.

    Raises:
        InputError: they are no rows.
    """
    check_raw_rows(x, "the rows")
    rows = {"x": finite_rows_of(x, x.shape[1:], str(x.dtype), "the rows")}
    shape, low, high = x.shape[1:], float(x.min()), float(x.max())
    row = InputSpec(shape, str(x.dtype), config.layout, low, high, config.names, fit=config.fit)  # type: ignore[arg-type]
    beside = None if condition is None else condition_spec(condition, len(x))
    if condition is not None:
        rows["condition"] = condition
    return ExportRows(row, beside, rows, {}, None)


def condition_spec(condition: Any, n: int, role: Role = "condition") -> ConditionSpec:
    """What one of ``n`` conditions is.

    Raises:
        InputError: they are no labels and no vectors, one per row, or not finite.
    """
    if not isinstance(condition, np.ndarray) or condition.dtype not in (np.int64, np.float32) or len(condition) != n:
        have = f"{condition.dtype} {condition.shape}" if isinstance(condition, np.ndarray) else type(condition).__name__
        raise InputError(f"condition is {have}; pass int64 labels ({n},) or float32 vectors ({n}, k), one per row")
    if not np.isfinite(condition).all():
        raise InputError("condition holds NaN or infinity")
    if not len(condition):
        raise InputError("condition holds no rows")
    low, high = float(condition.min()), float(condition.max())
    return ConditionSpec(condition.shape[1:], str(condition.dtype), low, high, role)  # type: ignore[arg-type]


def _evaluation(
    evaluation: tuple[NDArray[Any], ...], shape: tuple[int, ...], dtype: str, beside: ConditionSpec | None
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    if len(evaluation) != (2 if beside is None else 3):
        raise InputError("evaluation is (rows, labels), and for a conditional model (rows, labels, conditions)")
    held_out = {"x": finite_rows_of(evaluation[0], shape, dtype, "evaluation rows")}
    n = len(held_out["x"])
    labels = np.asarray(evaluation[1]).reshape(-1)
    if len(labels) != n or not np.isin(labels, (0, 1)).all():
        raise InputError(
            f"evaluation needs one label 0 or 1 per row: {counted(len(labels), 'label')}, {counted(n, 'row')}"
        )
    if beside is not None:
        held_out |= check_condition(evaluation[2], beside, n)
    return held_out, labels.astype(bool)


def finite_rows_of(x: Any, shape: tuple[int, ...], dtype: str, what: str) -> NDArray[Any]:
    """Rows of this shape and dtype, all finite.

    Raises:
        InputError: they are not.
    """
    rows: NDArray[Any] = check_rows(x, shape=shape, dtype=dtype, what=what)
    check_finite(rows, what)
    return rows


def check_raw_rows(x: Any, what: str) -> None:
    """Raw rows are an array (n, *row_shape) of a dtype a bundle can take.

    Raises:
        InputError: no array, another dtype, or no row axes.
    """
    if not isinstance(x, np.ndarray) or x.ndim < 2 or x.dtype not in (np.uint8, np.float32):
        have = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise InputError(f"{what} is {have}; pass a numpy array (n, *row_shape) of uint8 or float32")


def check_finite(x: NDArray[Any], what: str) -> None:
    """Every row is finite.

    Raises:
        InputError: one is not; the message names the first.
    """
    bad = np.flatnonzero(~finite_rows(x))
    if len(bad):
        masked = ""
        if np.isnan(x).any():
            masked = ", or say how the model is told of missing values: missing='mask' or 'nan' (--missing-values)"
        raise InputError(f"{what} row {bad[0]} holds NaN or infinity ({len(bad)} such rows): drop them first{masked}")


def check_unit_interval(x: Tensor, likelihood: str = "bernoulli", *, option: str = "") -> None:
    """Rows in model units suit a bernoulli or beta likelihood.

    Args:
        option: that would bring the raw rows there, to be named.

    Raises:
        InputError: a value is outside [0, 1].
    """
    low, high = float(x.min()), float(x.max())
    if not 0.0 <= low <= high <= 1.0:
        remedy = f"pass {option}" if option else "set offset and scale"
        raise InputError(
            f"likelihood '{likelihood}' needs values in [0, 1]; after (x - offset) / scale they reach from {low:g} to "
            f"{high:g}: {remedy}, or take the mse or gaussian likelihood"
        )


def check_classes(x: Tensor, classes: int) -> None:
    """Rows in model units are the classes of a categorical likelihood.

    Raises:
        InputError: a value is not a whole number from 0 to classes - 1.
    """
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > classes - 1 or not bool(torch.equal(x, x.round())):
        raise InputError(
            f"likelihood 'categorical' needs whole numbers from 0 to {classes - 1} after (x - offset) / scale; "
            f"they reach from {low:g} to {high:g}"
        )


def model_shape(row_shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Shape of one row in model layout: images channels first, anything else as it is."""
    return (row_shape[2], *row_shape[:2]) if layout == "nhwc" else row_shape


def rows_of(feeds: Feeds, rows: slice) -> dict[str, NDArray[Any]]:
    """Some rows of every array."""
    return {name: x[rows] for name, x in feeds.items()}
