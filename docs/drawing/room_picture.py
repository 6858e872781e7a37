"""A picture of rooms as SVG: boxes on floors, and an arrow down to each room that a room imports."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from html import escape

from room_graph import Room, arrows_of, floors_of

WIDTH, PADDING, GAP = 236, 10, 18
"""Of a box, inside it, and between two boxes, in pixels."""
LANE = 16
"""Width of the way that an arrow takes past the boxes of a floor."""
LINE, BETWEEN_FLOORS, MARGIN = 15, 52, 24
CHARACTERS = 34
"""In a line of a sentence: at 11.5 pixels no usual sans-serif font is wider than the box then."""
SWEEPS = 100
TO_CENTRE = 0.2
"""Share of its way to the centre that a box is pulled: without it a chain of rooms leans out of the page."""
INK, PALE, BORDER, ARROW = "#1b1f24", "#f3f6fa", "#8c9bab", "#56687a"
FONT = "font-family='Helvetica, Arial, sans-serif'"


class _Spot:
    """A box, or a place where an arrow passes a floor.

    Attributes:
        x: the middle, in pixels.
        up, down: what it is joined to on the floor above and on the floor below.
    """

    def __init__(self, name: str | None) -> None:
        self.name, self.x = name, 0.0
        self.up: list[_Spot] = []
        self.down: list[_Spot] = []

    @property
    def half(self) -> float:
        """Half of the width that it needs."""
        return (LANE if self.name is None else WIDTH + GAP) / 2


def svg(title: str, rooms: Mapping[str, Room]) -> str:
    """The picture.

    Args:
        title: one line above it, read by screen readers too.
        rooms: as ``rooms_of`` gives them.

    Raises:
        ValueError: rooms import each other in a circle: no floors can be drawn.
    """
    floors, ways = _spots(floors_of(rooms), arrows_of(rooms))
    _arrange(floors)
    left = min(spot.x - spot.half for floor in floors for spot in floor)
    for floor in floors:
        for spot in floor:
            spot.x += MARGIN - left
    width = max(spot.x + spot.half for floor in floors for spot in floor) + MARGIN
    tops, heights, y = [0.0] * len(floors), [0.0] * len(floors), MARGIN + 34.0
    for at in reversed(range(len(floors))):
        boxes = [rooms[spot.name] for spot in floors[at] if spot.name is not None]
        tops[at], heights[at] = y, 2 * PADDING + LINE * (1 + max(len(_wrapped(room)) for room in boxes)) + 3
        y += heights[at] + BETWEEN_FLOORS
    height = y - BETWEEN_FLOORS + MARGIN
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' role='img' {FONT}>",
        f"<title>{escape(title)}</title>",
        "<defs><marker id='head' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path d='M0 0.5 L7.5 4 L0 7.5 z' fill='{ARROW}'/></marker></defs>",
        f"<rect width='{width:.0f}' height='{height:.0f}' fill='#ffffff'/>",
        f"<text x='{MARGIN}' y='{MARGIN + 8}' font-size='15' font-weight='bold' fill='{INK}'>{escape(title)}</text>",
        *(_arrow(way, tops, heights) for way in ways),
        *(_box(spot, rooms, tops[at], heights[at]) for at, floor in enumerate(floors) for spot in floor if spot.name),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _spots(
    names: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]]
) -> tuple[list[list[_Spot]], list[list[tuple[int, _Spot]]]]:
    """Floors of spots, and for each arrow the spots that it joins, from above, each with its floor."""
    floors = [[_Spot(name) for name in floor] for floor in names]
    place = {spot.name: (at, spot) for at, floor in enumerate(floors) for spot in floor}
    ways = []
    for source, target in arrows:
        (top, first), (bottom, last) = place[source], place[target]
        passing = [(at, _Spot(None)) for at in range(top - 1, bottom, -1)]
        for at, spot in passing:
            floors[at].append(spot)
        way = [(top, first), *passing, (bottom, last)]
        for (_, above), (_, below) in itertools.pairwise(way):
            above.down.append(below)
            below.up.append(above)
        ways.append(way)
    return floors, ways


def _arrange(floors: list[list[_Spot]]) -> None:
    """Order each floor by the middle of what its spots are joined to, then pull joined spots above each other."""
    for floor in floors:
        _pack(floor, [0.0] * len(floor))
    best, fewest = [list(floor) for floor in floors], _crossings(floors)
    for sweep in range(SWEEPS):
        upward = sweep % 2 == 0
        for floor in floors if upward else reversed(floors):
            middle = {id(spot): _mean(spot.down if upward else spot.up, spot.x) for spot in floor}
            floor.sort(key=lambda spot: middle[id(spot)])
            _pack(floor, [middle[id(spot)] for spot in floor])
        if (crossings := _crossings(floors)) < fewest:
            best, fewest = [list(floor) for floor in floors], crossings
    floors[:] = best
    joined = [spot for floor in floors for spot in floor if spot.up or spot.down]
    for _ in range(SWEEPS):
        centre = _mean(joined, 0.0)  # where a room without arrows belongs
        for floor in (*floors, *reversed(floors)):
            means = [_mean(_neighbours(spot), centre) for spot in floor]
            pulls = [0.0 if spot.name is None else TO_CENTRE for spot in floor]
            _pack(floor, [mean + pull * (centre - mean) for mean, pull in zip(means, pulls, strict=True)])


def _neighbours(spot: _Spot) -> list[_Spot]:
    """What a spot is pulled to; of an arrow that passes floors, thrice to its own course, which makes it straighter."""
    joined = spot.down + spot.up
    return joined + 2 * [other for other in joined if spot.name is None and other.name is None]


def _mean(spots: Sequence[_Spot], default: float) -> float:
    return sum(spot.x for spot in spots) / len(spots) if spots else default


def _crossings(floors: Sequence[Sequence[_Spot]]) -> int:
    """Pairs of arrows that cross between two floors."""
    count = 0
    for below, above in itertools.pairwise(floors):
        position = {id(spot): i for i, spot in enumerate(below)}
        ends = [(i, position[id(target)]) for i, spot in enumerate(above) for target in spot.down]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return count


def _pack(floor: Sequence[_Spot], wanted: Sequence[float]) -> None:
    """Put the spots of a floor, in their order, as near to where they want to be as their widths allow.

    Least squares under an order is isotonic regression: neighbours that would overlap move as one block.
    """
    offsets, at = [], 0.0
    for i, spot in enumerate(floor):
        at += spot.half + (floor[i - 1].half if i else 0.0)
        offsets.append(at)
    blocks: list[tuple[float, int]] = []  # (mean of wanted place less offset, spots)
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, n = blocks.pop()
            mean, count = (mean * count + other * n) / (count + n), count + n
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    for spot, mean, offset in zip(floor, means, offsets, strict=True):
        spot.x = mean + offset


def _port(spot: _Spot, joined: Sequence[_Spot], other: _Spot) -> float:
    """Where an arrow leaves or meets a box: arrows of one side are spread in the order of their other ends."""
    if spot.name is None or len(joined) == 1:
        return spot.x
    order = sorted(joined, key=lambda end: end.x)
    at = next(i for i, end in enumerate(order) if end is other)
    return spot.x + (at - (len(order) - 1) / 2) * min(28.0, (WIDTH - 60) / (len(order) - 1))


def _arrow(way: Sequence[tuple[int, _Spot]], tops: Sequence[float], heights: Sequence[float]) -> str:
    path = ""
    for (upper, above), (lower, below) in itertools.pairwise(way):
        x1, y1 = _port(above, above.down, below), tops[upper] + heights[upper]
        x2, y2 = _port(below, below.up, above), tops[lower]
        bend = (y2 - y1) / 2
        path += f"M{x1:.1f} {y1:.1f}" if not path else f"L{x1:.1f} {y1:.1f}"
        path += f"C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    return f"<path d='{path}' fill='none' stroke='{ARROW}' stroke-width='1.3' marker-end='url(#head)'/>"


def _wrapped(room: Room) -> list[str]:
    return textwrap.wrap(room.sentence.replace("`", ""), CHARACTERS, break_on_hyphens=False)


def _box(spot: _Spot, rooms: Mapping[str, Room], top: float, height: float) -> str:
    assert spot.name is not None
    x, inside = spot.x - WIDTH / 2, spot.x - WIDTH / 2 + PADDING
    name = escape(spot.name + ("/" if rooms[spot.name].path.is_dir() else ""))
    lines = [
        f"<rect x='{x:.1f}' y='{top:.1f}' width='{WIDTH}' height='{height:.1f}' rx='5' fill='{PALE}' "
        f"stroke='{BORDER}'/>",
        f"<text x='{inside:.1f}' y='{top + PADDING + 11:.1f}' font-size='13' font-weight='bold' "
        f"fill='{INK}'>{name}</text>",
    ]
    for i, text in enumerate(_wrapped(rooms[spot.name])):
        y = top + PADDING + 14 + LINE * (i + 1)
        lines.append(f"<text x='{inside:.1f}' y='{y:.1f}' font-size='11.5' fill='{INK}'>{escape(text)}</text>")
    return "".join(lines)
