"""Results as HTML for notebooks: tables and small pictures, made of nothing but the standard library and numpy."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..text import counted, printable
from .inputs import Status
from .plain import plain
from .results import Scores

if TYPE_CHECKING:
    from .anatomy import Anatomy

MOST_ROWS = 20
"""Rows of scores in a table: more fills a screen, and a notebook keeps every byte of it."""
MOST_MAPS = 8
_MOST_SIDE = 256
"""Pixels of a side of a map; larger maps are thinned."""
_SHOWN_SIDE = 96
_CELL = "text-align:left;padding:2px 8px"
_ANOMALY = "background:rgba(200,40,30,.18)"
_UNSCORED = "opacity:.6"


def escape(value: object) -> str:
    """A value as text of a page: nothing in it is markup, and a number has six digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return html.escape(f"{value:.6g}" if isinstance(value, float) else printable(str(value), one_line=True))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", note: str = "") -> str:
    """An HTML table.

    Args:
        columns: their headings.
        rows: values of each row; a ``Markup`` stands as it is, everything else is escaped.
        title: above the table. note: below it.
    """
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    lines = [_line(row) for row in rows]
    parts = [f"<div><b>{escape(title)}</b></div>" if title else ""]
    parts.append(f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>')
    parts += [*lines, "</tbody></table>"]
    parts.append(f"<div><small>{escape(note)}</small></div>" if note else "")
    return "".join(parts)


class Markup(str):
    """Text that is HTML already."""


class Row(list[object]):
    """Values of a row with a style of its own."""

    def __init__(self, values: Iterable[object], style: str) -> None:
        super().__init__(values)
        self.style = style


def _line(row: Sequence[object]) -> str:
    style = f' style="{row.style}"' if isinstance(row, Row) and row.style else ""
    cells = "".join(f'<td style="{_CELL}">{v if isinstance(v, Markup) else escape(v)}</td>' for v in row)
    return f"<tr{style}>{cells}</tr>"


def picture(values: NDArray[Any], top: float) -> Markup:
    """A map (height, width) from white, at 0, to dark red, at ``top``, as an ``img`` with its bytes in it."""
    thin = max(1, -(-max(values.shape) // _MOST_SIDE))
    values = values[::thin, ::thin]
    share = np.clip(np.nan_to_num(values, nan=0.0) / (top if top > 0 else 1.0), 0, 1)[..., None]
    rgb = np.rint((1 - share) * (255, 255, 255) + share * (153, 0, 13)).astype(np.uint8)
    data = base64.b64encode(_png(rgb)).decode("ascii")
    height, width = values.shape
    scale = _SHOWN_SIDE / max(height, width)
    size = f"width:{max(4, round(width * scale))}px;height:{max(4, round(height * scale))}px"
    return Markup(
        f'<img alt="map" style="{size};image-rendering:pixelated;border:1px solid rgba(128,128,128,.5)" '
        f'src="data:image/png;base64,{data}">'
    )


def _png(rgb: NDArray[np.uint8]) -> bytes:
    height, width = rgb.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in rgb)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw, 6)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def scores_page(scores: Scores) -> str:
    """``Scores._repr_html_``: the first rows, anomalies coloured."""
    shown = min(len(scores), MOST_ROWS)
    values = _first(scores, shown).to_dict()
    further = tuple(scores.heads)[1:]
    columns = ["row", "score", "p-value", "anomaly", "status", *further]
    rows = []
    for i in range(shown):
        heads = [values["heads"][head]["score"][i] for head in further]
        decided = values["is_anomaly"] and values["is_anomaly"][i]
        p_value = values["p_value"] and values["p_value"][i]
        cells = [str(i), values["score"][i], p_value, decided, values["status"][i], *heads]
        rows.append(Row(cells, _ANOMALY if decided else "" if scores.ok[i] else _UNSCORED))
    note = f"the first {shown} of {counted(len(scores), 'row')}" if shown < len(scores) else ""
    return table(columns, rows, title=repr(scores)[1:-1], note=note)


def _first(scores: Scores, count: int) -> Scores:
    """The first rows alone: a million p-values are not for a screen."""
    return replace(
        scores,
        score=scores.score[:count],
        reconstruction=scores.reconstruction[:count],
        kl=None if scores.kl is None else scores.kl[:count],
        status=scores.status[:count],
        heads={name: replace(head, score=head.score[:count]) for name, head in scores.heads.items()},
        _map=None,
    )


def anatomy_page(anatomy: Anatomy) -> str:
    """``Anatomy._repr_html_``: what the first rows are made of, with a map where there is one to draw."""
    scores, shown = anatomy.scores, min(len(anatomy.scores), MOST_MAPS)
    maps = anatomy.features if anatomy.features.ndim == 3 else scores.map if anatomy.times is not None else None
    finite = maps[:shown][np.isfinite(maps[:shown])] if maps is not None else np.empty(0)
    top = float(finite.max()) if finite.size else 0.0
    rows = []
    for i in range(shown):
        value = anatomy.to_dict(i)
        strongest = Markup("<br>".join(_bar(part["name"], part["share"]) for part in value["top"]) or "–")
        drawn = [] if maps is None else [picture(maps[i].T if anatomy.times is not None else maps[i], top)]
        cells = [str(i), value["score"], value["reconstruction"], value["kl"], value["status"], strongest, *drawn]
        decided = scores.threshold is not None and bool(scores.is_anomaly[i])
        rows.append(Row(cells, _ANOMALY if decided else "" if value["status"] == Status.OK.name.lower() else _UNSCORED))
    columns = ["row", "score", "reconstruction", "KL", "status", "strongest elements"]
    columns += [] if maps is None else ["map"]
    notes = [f"the first {shown} of {counted(len(scores), 'row')}"] if shown < len(scores) else []
    if maps is not None:
        axes = "; time runs to the right, features downwards" if anatomy.times is not None else ""
        notes.append(f"maps reach from white, 0, to red, {plain(np.float32(top))}{axes}")
    return table(columns, rows, title=f"Anatomy of {counted(len(scores), 'row')}", note=". ".join(notes))


def _bar(name: str, share: float) -> str:
    width = round(60 * share)
    bar = f'<span style="display:inline-block;height:8px;width:{width}px;background:rgb(153,0,13)"></span>'
    return f"{bar} {escape(name)} {share:.0%}"
