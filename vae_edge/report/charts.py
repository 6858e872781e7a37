"""Small charts as inline SVG: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORMAL, ANOMALOUS, INK, GRID = "#0072b2", "#c44100", "#222222", "#d0d0d0"
"""Okabe & Ito's blue and a darkened vermilion: apart for colour-blind eyes, at least 4.5 to 1 against white."""
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 260, 56, 16, 14, 44
_BINS = 36
_MOST_POINTS = 1200
_WIDE_RANGE = 20.0


class _Axes:
    """Data to pixels of one chart."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, log: bool = False) -> None:
        self.log = log
        self.x, self.y = x, (y[0], y[1] if y[1] > y[0] else y[0] + 1)
        self._low, self._high = (float(np.log(v)) if log else v for v in x)
        if self._high <= self._low:
            self._high = self._low + 1

    def across(self, value: Any) -> Any:
        place = (np.log(np.maximum(value, self.x[0])) if self.log else np.asarray(value)) - self._low
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * np.clip(place / (self._high - self._low), 0, 1)

    def down(self, value: Any) -> Any:
        share = (np.asarray(value) - self.y[0]) / (self.y[1] - self.y[0])
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * np.clip(share, 0, 1)

    def frame(self, x_title: str, y_title: str) -> str:
        lines = []
        ticks = np.geomspace(*self.x, 5) if self.log else np.linspace(self._low, self._high, 5)
        for tick in ticks:
            at = float(self.across(tick))
            lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{GRID}"/>')
            lines.append(_text(at, _HEIGHT - _BOTTOM + 16, f"{tick:.3g}", "middle"))
        for tick in np.linspace(*self.y, 4):
            at = float(self.down(tick))
            lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>')
            lines.append(_text(_LEFT - 6, at + 4, f"{tick:.3g}", "end"))
        lines.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_title, "middle"))
        lines.append(
            f'<text transform="translate(13,{(_HEIGHT - _BOTTOM + _TOP) / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_title)}</text>"
        )
        return "".join(lines)


def histogram(
    parts: Sequence[tuple[str, NDArray[Any], str]],
    *,
    threshold: float | None,
    interval: tuple[float, float] | None,
    labels: tuple[str, str],
    alt: str,
) -> str:
    """Counts per score: (name, scores, colour) each; the threshold as a line, its uncertainty as a band."""
    every = np.concatenate([scores for _, scores, _ in parts])
    marks = [] if threshold is None else [threshold, *(interval or ())]
    low, high = float(min([*every, *marks])), float(max([*every, *marks]))
    log = low > 0 and high > _WIDE_RANGE * float(np.median(every))
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, max(high, low + 1e-12), _BINS + 1)
    edges[-1] = np.nextafter(edges[-1], np.inf)
    counts = [np.histogram(scores, edges)[0] for _, scores, _ in parts]
    axes = _Axes((low, float(edges[-1])), (0.0, float(max(c.max() for c in counts))), log=log)
    body = [axes.frame(*labels)]
    if interval is not None:
        left, right = float(axes.across(interval[0])), float(axes.across(interval[1]))
        body.append(f'<rect x="{left:.1f}" width="{max(1, right - left):.1f}" y="{_TOP}" '
                    f'height="{_HEIGHT - _TOP - _BOTTOM}" fill="#e8c547" opacity="0.45"/>')  # fmt: skip
    for count, (_, _, colour) in zip(counts, parts, strict=True):
        for i, number in enumerate(count):
            if number:
                left, right, top = (
                    float(axes.across(edges[i])),
                    float(axes.across(edges[i + 1])),
                    float(axes.down(number)),
                )
                body.append(f'<rect x="{left:.1f}" width="{max(1, right - left - 1):.1f}" y="{top:.1f}" '
                            f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="{colour}" opacity="0.7"/>')  # fmt: skip
    if threshold is not None:
        at = float(axes.across(threshold))
        body.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{INK}" '
                    'stroke-width="2"/>')  # fmt: skip
    return _svg("".join(body), alt) + _legend([(name, colour) for name, _, colour in parts])


def curve(points: NDArray[Any], *, labels: tuple[str, str], alt: str, mark: tuple[float, float] | None = None) -> str:
    """A line through (points, 2) in the unit square, and a dot where the threshold lies."""
    axes = _Axes((0.0, 1.0), (0.0, 1.0))
    body = axes.frame(*labels) + _line(axes, points[:, 0], points[:, 1], NORMAL)
    if mark is not None:
        body += (
            f'<circle cx="{float(axes.across(mark[0])):.1f}" cy="{float(axes.down(mark[1])):.1f}" r="5" fill="{INK}"/>'
        )
    return _svg(body, alt)


def series(
    values: NDArray[Any], *, labels: tuple[str, str], alt: str, threshold: float | None = None,
    flagged: NDArray[np.bool_] | None = None,
) -> str:  # fmt: skip
    """Values in their order, dots where a row is flagged; long series keep the largest value of each stretch."""
    shown = np.flatnonzero(np.isfinite(values))
    low, high = float(values[shown].min()), float(values[shown].max())
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    axes = _Axes((0.0, float(max(1, len(values) - 1))), (low, high))
    groups = np.array_split(shown, min(len(shown), _MOST_POINTS))
    at = np.array([group[np.argmax(values[group])] for group in groups])
    body = axes.frame(*labels) + _line(axes, at, values[at], NORMAL)
    if threshold is not None:
        y = float(axes.down(threshold))
        body += (f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{INK}" '
                 'stroke-dasharray="5 3"/>')  # fmt: skip
    for i in at if flagged is not None else ():
        if flagged is not None and flagged[i]:
            body += (f'<circle cx="{float(axes.across(i)):.1f}" cy="{float(axes.down(values[i])):.1f}" r="3" '
                     f'fill="{ANOMALOUS}"/>')  # fmt: skip
    return _svg(body, alt)


def _line(axes: _Axes, x: NDArray[Any], y: NDArray[Any], colour: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(axes.across(x), axes.down(y), strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(body: str, alt: str) -> str:
    return (f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alt, quote=True)}">'
            f"<title>{escape(alt)}</title>{body}</svg>")  # fmt: skip


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    if len(entries) < 2:
        return ""
    items = "".join(f'<li><span style="background:{colour}"></span>{escape(name)}</li>' for name, colour in entries)
    return f'<ul class="legend">{items}</ul>'
