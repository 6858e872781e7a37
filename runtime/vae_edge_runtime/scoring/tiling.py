"""Pictures larger than a model's row: cut into tiles that overlap, scored in batches, their maps blended without seams.

A picture is worked on band by band, so that the memory taken does not grow with its height: a band is as high as a
tile. Scores of a picture follow each head's own rule over the blended map (``Head.over_tiles``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..format.heads import HEADS
from ..format.specs import InputSpec, ScoreSpec
from .inputs import Status, check_condition
from .results import Scores
from .scorer import Run, Scorer

F32 = NDArray[np.float32]
RunTiles = Callable[[NDArray[Any], Sequence[str]], Sequence[NDArray[Any]]]
"""Tiles (n, *shape) and names of outputs to those outputs of the graph ``score``."""

PIXELS_AT_ONCE, MOST_TILES_AT_ONCE = 1 << 18, 64
"""Of the tiles that the engine runs in one call: it takes 11 MB for each tile of 128 x 128 pixels through 24 channels,
and 16 such tiles keep two cores as busy as 64 do."""


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles of ``size`` begin along an axis; the last one ends at the edge, and may overlap more.

    Example:
        >>> starts(300, 128, 32)
        [0, 96, 172]
    """
    step = size - overlap
    regular = list(range(0, length - size, step))
    return [*regular, length - size]


def ramp(size: int, overlap: int) -> F32:
    """Weights of a tile along an axis, (size,): 1 inside, and falling towards both edges over the overlap."""
    inside = np.minimum(np.arange(size), np.arange(size)[::-1]) + 1.0
    return np.minimum(1.0, inside / (overlap + 1)).astype(np.float32)


def check_pictures(x: Any, spec: InputSpec, what: str = "x") -> NDArray[Any]:
    """``x`` as pictures (n, ...) of the layout and dtype of a tiled bundle, each side at least that of a tile.

    A memory-mapped array stays one.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(x, np.ndarray) or x.ndim != 4 or x.dtype != np.dtype(spec.dtype) or not x.dtype.isnative:
        have = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise InputError(f"{what} is {have}; a tiled bundle takes pictures (n, ...) of {spec.dtype}, 3 axes each")
    axes = _axes(spec)
    channels = 3 - axes[0] - axes[1]
    sides = tuple(x.shape[1 + axis] for axis in axes)
    tile = tuple(spec.shape[axis] for axis in axes)
    if x.shape[1 + channels] != spec.shape[channels] or any(s < t for s, t in zip(sides, tile, strict=True)):
        raise InputError(f"{what} has pictures of {x.shape[1:]}; the model takes tiles of {spec.shape}: as many "
                         "channels, and sides that are no shorter")  # fmt: skip
    return x


def _axes(spec: InputSpec) -> tuple[int, int]:
    """Of one row, those of height and width."""
    return (1, 2) if spec.layout == "nchw" else (0, 1)


def picture_size(picture: Sequence[int], spec: InputSpec) -> tuple[int, int]:
    """Height and width of a picture of this shape, without the axis of rows."""
    down, across = _axes(spec)
    return picture[down], picture[across]


def is_whole(x: NDArray[Any], spec: InputSpec) -> bool:
    """Whether rows are whole pictures of a tiled bundle, and no tiles."""
    return spec.overlap is not None and x.ndim == 4 and x.shape[1:] != spec.shape


def picture_scores(
    scorer: Scorer,
    run: Run,
    x: Any,
    condition: Any,
    heads: Sequence[str],
    maps: bool,
    threshold: float | None,
) -> Scores:
    """What ``VAE.score`` gives for whole pictures (n, ...) of a bundle of tiles.

    Raises:
        InputError: they do not fit the model. OptionError, BackendError: as ``VAE.score``.
    """
    manifest = scorer.manifest
    spec = manifest.input
    x = check_pictures(x, spec)
    check_condition(condition, manifest.condition, len(x))
    status = np.zeros(len(x), np.uint8)
    if x.dtype.kind == "f":  # the extremes say it without a mask as large as the picture
        status[[not np.isfinite([picture.min(), picture.max()]).all() for picture in x]] = Status.NON_FINITE_INPUT

    def whole(graph: str, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
        def of_tiles(tiles: NDArray[Any], wanted: Sequence[str]) -> list[NDArray[Any]]:
            return run(graph, {"x": np.nan_to_num(tiles)}, wanted)

        numbers = [name for name in names if name != "map"]
        outputs = picture_outputs(feeds["x"], spec, manifest.score, numbers, of_tiles, maps="map" in names)
        return [outputs[name] for name in names]

    scores = scorer.scores(whole, {"x": x}, status, heads=heads, maps=maps, threshold=threshold)
    warnings = {head: size_warning(spec, head, x.shape[1:]) for head in scores.heads}
    if threshold is not None:
        warnings[scorer.heads[0]] = None
    own = {head: replace(of_head, warning=warnings[head]) for head, of_head in scores.heads.items()}
    return replace(scores, heads=own, warning=own[scorer.heads[0]].warning)


def size_warning(spec: InputSpec, head: str, picture: Sequence[int]) -> str | None:
    """Why the threshold of a head is none for pictures of this shape; None where it is one, or the bundle cannot say.

    Example:
        >>> size_warning(spec, "top", (4000, 3000, 3)) is None
        True
    """
    if not HEADS[head].grows_with_picture or spec.calibrated_size is None:
        return None
    (height, width), (tall, wide) = spec.calibrated_size, picture_size(picture, spec)
    if (tall, wide) == (height, width):
        return None
    return (f"{head}: thresholds and p-values are of pictures of {height} x {width} pixels, and this one has "
            f"{tall} x {wide}. {head} adds up its tiles and grows with the picture: decide by a "
            "head that does not, such as top, or recalibrate with pictures of this size")  # fmt: skip


def golden_picture(rows: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """One picture (1, ...) of tiles (n, *spec.shape): the first four in reading order, or those there are again.

    The last row and column of pixels are left out, so that the last tiles overlap more than the others.
    """
    down, across = _axes(spec)
    four = [rows[i % len(rows)] for i in range(4)]
    whole = np.concatenate([np.concatenate(four[i : i + 2], axis=across) for i in (0, 2)], axis=down)
    inner = [slice(None)] * 3
    inner[down] = inner[across] = slice(None, -1)
    return np.ascontiguousarray(whole[tuple(inner)])[None]


def picture_outputs(
    x: NDArray[Any],
    spec: InputSpec,
    score: ScoreSpec,
    names: Sequence[str],
    run: RunTiles,
    *,
    maps: bool = False,
) -> dict[str, NDArray[Any]]:
    """What the graph ``score`` would give for whole pictures (n, ...): (n,) each, and ``map`` where it is wanted.

    Args:
        x: pictures, possibly memory-mapped; tiles are read one by one.
        spec, score: of the bundle. names: outputs, ``map`` not among them.
        run: gives the outputs of tiles.
        maps: whether the blended map (n, *picture) comes, too: as many floats as the pictures have values. Above
            256 MiB they lie in a file without a name in the temporary folder.

    Raises:
        StorageError: the temporary folder has no room for the map.
    """
    whole: list[F32 | None] = [None] * len(x)
    outputs: dict[str, NDArray[Any]] = {}
    if maps:
        from ..storage.scratch import scratch_array  # not at the top: a device that draws no maps does not pay for it

        outputs["map"] = scratch_array(x.shape, np.float32, what="a map")
        whole = list(outputs["map"])
    pieces = [_one_picture(*pair, spec, score, names, run) for pair in zip(x, whole, strict=True)]
    return outputs | {name: np.array([piece[name] for piece in pieces], np.float32) for name in names}


def _one_picture(
    picture: NDArray[Any], whole: F32 | None, spec: InputSpec, score: ScoreSpec, names: Sequence[str], run: RunTiles
) -> dict[str, Any]:
    """Numbers of one picture; its map is written to ``whole``, which has the shape of the picture."""
    down, across = _axes(spec)
    overlap = spec.overlap or 0
    (tall, wide), (height, width) = ((shape[down], shape[across]) for shape in (spec.shape, picture.shape))
    rows, columns = starts(height, tall, overlap), starts(width, wide, overlap)
    weight = ramp(tall, overlap)[:, None] * ramp(wide, overlap)[None, :]
    total_down, total_across = _totals(rows, height, tall, overlap), _totals(columns, width, wide, overlap)
    first = score.heads[0]
    head_of = {name: first if name == "score" else name for name in names}
    fields = [name for name, head in head_of.items() if HEADS[head].over_tiles in ("sum", "mean") and name != "score"]
    if "kl" not in fields and score.kl_weight and any(HEADS[h].is_sum and HEADS[h].needs_kl for h in head_of.values()):
        fields.append("kl")
    direct = HEADS[first].over_tiles in ("sum", "mean") and not HEADS[first].is_sum
    wanted = [*fields, *(["score"] if direct and "score" in names else []), "map"]
    sums = dict.fromkeys(wanted[:-1], 0.0)
    at_once = min(MOST_TILES_AT_ONCE, max(1, PIXELS_AT_ONCE // (tall * wide)))
    covered = 0.0
    reduced = _Reduced(max(1, math.ceil(score.top_share * height * width)))
    band = np.zeros((tall, width, spec.shape[3 - down - across]), np.float32)
    lines = None if whole is None else whole if spec.layout == "nhwc" else np.moveaxis(whole, 0, 2)
    for r, top in enumerate(rows):
        for begin in range(0, len(columns), at_once):
            lefts = columns[begin : begin + at_once]
            tiles = np.stack([_cut(picture, spec, top, left) for left in lefts])
            *numbers, tile_maps = run(tiles, wanted)
            inside = np.asarray(tile_maps if spec.layout == "nhwc" else np.moveaxis(tile_maps, 1, 3))
            for k, left in enumerate(lefts):
                part = slice(left, left + wide)
                band[:, part] += inside[k] * weight[:, :, None]
                share = weight / (total_down[top : top + tall, None] * total_across[None, part])
                # What part of the picture is this tile's own: the parts of all tiles add up to the picture.
                own = float(share.sum(dtype=np.float64)) / (tall * wide)
                covered += own
                for name, values in zip(wanted, numbers, strict=False):
                    sums[name] += own * float(values[k])
        done = (rows[r + 1] if r + 1 < len(rows) else height) - top
        finished = band[:done] / (total_down[top : top + done, None, None] * total_across[None, :, None])
        reduced.add(finished)
        if lines is not None:
            lines[top : top + done] = finished
        band = np.concatenate([band[done:], np.zeros_like(band[:done])])
    return _by_rule(names, head_of, sums, covered, reduced, score)


def _by_rule(
    names: Sequence[str],
    head_of: Mapping[str, str],
    sums: Mapping[str, float],
    covered: float,
    reduced: _Reduced,
    score: ScoreSpec,
) -> dict[str, Any]:
    """One number per output, by the rule of its head."""
    kl = sums.get("kl", 0.0)

    def value(name: str) -> float:
        head = HEADS[head_of[name]]
        if head.is_sum:
            if name == "reconstruction" and name != "score":
                return reduced.total
            kl_weight = (score.kl_weight or 0.0) if head.needs_kl else 0.0
            sum_of_terms = score.reconstruction_weight * reduced.total + kl_weight * kl
            return math.sqrt(max(0.0, sum_of_terms)) if score.transform == "sqrt" and name == "score" else sum_of_terms
        if head.over_tiles == "top":
            return reduced.top_mean
        if head.over_tiles == "peak":
            return reduced.peak
        return sums[name] / covered if head.over_tiles == "mean" else sums[name]

    return {name: value(name) for name in names}


class _Reduced:
    """Sum, largest place and mean of the largest places of a map that comes band by band."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._largest = np.empty(0, np.float32)
        self.total, self.peak = 0.0, -math.inf

    def add(self, rows: F32) -> None:
        """Rows (height, width, channels) of the map."""
        places = rows.sum(2).ravel()
        self.total += float(places.sum(dtype=np.float64))
        self.peak = max(self.peak, float(places.max()))
        both = np.concatenate([self._largest, places])
        keep = min(self._count, len(both))
        self._largest = np.partition(both, len(both) - keep)[len(both) - keep :]

    @property
    def top_mean(self) -> float:
        """Of the largest share of the places."""
        return float(self._largest.mean(dtype=np.float64))


def _totals(begin: Sequence[int], length: int, size: int, overlap: int) -> F32:
    """Sum of the weights of all tiles at each place of an axis, (length,)."""
    total = np.zeros(length, np.float32)
    for start in begin:
        total[start : start + size] += ramp(size, overlap)
    return total


def _cut(picture: NDArray[Any], spec: InputSpec, top: int, left: int) -> NDArray[Any]:
    down, across = _axes(spec)
    place = [slice(None)] * 3
    place[down], place[across] = slice(top, top + spec.shape[down]), slice(left, left + spec.shape[across])
    return np.ascontiguousarray(picture[tuple(place)])


def cut_tiles(x: NDArray[Any], spec: InputSpec, most: int) -> NDArray[Any]:
    """Tiles (n, *spec.shape) of pictures, in order; where there are more than ``most``, evenly chosen ones."""
    down, across = _axes(spec)
    overlap = spec.overlap or 0
    corners = [
        (i, top, left)
        for i in range(len(x))
        for top in starts(x.shape[1 + down], spec.shape[down], overlap)
        for left in starts(x.shape[1 + across], spec.shape[across], overlap)
    ]
    chosen = (
        corners if len(corners) <= most else [corners[k] for k in np.linspace(0, len(corners) - 1, most).astype(int)]
    )
    return np.stack([_cut(x[i], spec, top, left) for i, top, left in chosen])
