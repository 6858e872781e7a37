"""Columns that a model looks something up by, and the codes that have an entry: asked of PyTorch itself.

An embedding, a one-hot vector or an indexed table raises in PyTorch for a code it does not have. Engines differ there:
ONNX Runtime fails the whole batch, another one reads zeros or the last entry. The range goes into the manifest, so that
the runtime gives such a row a status before any engine sees it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.sizes import signature_at
from vae_edge_runtime.format.specs import CodeRange, Signature

from ..graphs.build import BuiltGraphs
from ..halves.door import on
from ..rows import ExportRows
from ..support import Support
from .reference import run_torch
from .size_parity import feeds_at

Array = NDArray[Any]

_FAR = 1 << 20
"""A code that no table has, and that float32 holds exactly."""


def with_code_ranges(built: BuiltGraphs, rows: ExportRows) -> tuple[ExportRows, tuple[str, ...]]:
    """The rows with the ranges of codes in what is said of one row, and the ranges in words.

    Args:
        built: the graphs in PyTorch. rows: their calibration rows hold known codes only.
    """
    ranges = code_ranges(built, rows)
    if not ranges:
        return rows, ()
    words = [f"{_name_of(r, rows)} {r.low} to {r.high}" for r in ranges]
    listed = "; ".join(words[:8]) + (f"; and {len(words) - 8} more" if len(words) > 8 else "")
    row = dataclasses.replace(rows.row, codes=ranges)
    return dataclasses.replace(rows, row=row), (f"looks up codes, others get a status: {listed}",)


def code_ranges(built: BuiltGraphs, rows: ExportRows) -> tuple[CodeRange, ...]:
    """Columns of whole numbers in which PyTorch raises beyond some value, with the values it takes."""
    x = rows.calibration["x"]
    by_element = rows.row.layout in ("nchw", "nhwc") or x.ndim > 3
    values = x.reshape(-1, 1) if by_element else x.reshape(-1, x.shape[-1])
    columns = np.flatnonzero(Support.of(x, rows.row.layout).whole).tolist()
    limits = (0, 255) if x.dtype == np.uint8 else (-_FAR, _FAR)
    one, signature = {name: array[:1] for name, array in rows.calibration.items()}, built.signatures["encode"]
    if built.sizes is not None:  # what is looked up of a pixel does not depend on the size of its picture
        one = feeds_at(rows, built.sizes.traced, 1)
        signature = signature_at(signature, rows.row, built.latent.shape, built.sizes.traced)

    def takes(codes: Mapping[int, int]) -> bool:
        """Whether PyTorch has an answer for a real row with these codes in place of its own."""
        row = one["x"].copy()
        for column, code in codes.items():
            row[..., slice(None) if by_element else column] = code
        return _runs(built, signature, {**one, "x": row})

    if not columns or not takes({}) or all(takes(dict.fromkeys(columns, end)) for end in limits):
        return ()
    ranges = []
    for column in columns:
        seen = int(values[:, column].min()), int(values[:, column].max())
        low, high = (
            _last_taken(lambda code, c=column: takes({c: code}), start, end)  # type: ignore[misc]
            for start, end in zip(seen, limits, strict=True)
        )
        if (low, high) != limits:
            ranges.append(CodeRange(None if by_element else column, low, high))
    return _joined(tuple(ranges), rows.row.shape[-1])


def _name_of(codes: CodeRange, rows: ExportRows) -> str:
    if codes.column is None:
        return "every element"
    return rows.row.names[codes.column] if rows.row.names else f"column {codes.column}"


def _joined(ranges: tuple[CodeRange, ...], columns: int) -> tuple[CodeRange, ...]:
    """One range for every element where all columns have the same: the tokens of a text."""
    alike = {(r.low, r.high) for r in ranges}
    if len(ranges) == columns > 1 and len(alike) == 1:
        return (dataclasses.replace(ranges[0], column=None),)
    return ranges


def _last_taken(takes: Callable[[int], bool], start: int, end: int) -> int:
    """The last code from ``start``, which is taken, towards ``end`` that is taken, too; ends of a range are exact."""
    if start == end or takes(end):
        return end
    good, bad = start, end
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if takes(middle) else (good, middle)
    return good


def _runs(built: BuiltGraphs, signature: Signature, feeds: Mapping[str, Array]) -> bool:
    """Whether PyTorch has an answer in ``encode`` for these rows; whether it is finite is of no account."""
    try:
        with on("rows with other codes"):
            run_torch(built.modules["encode"], signature, feeds, dtype=torch.float32)
    except AdaptError:
        return False
    return True
