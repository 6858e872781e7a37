"""Maps of scored rows as files: a PNG per row, and the table of regions."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge.data.folders import SUFFIXES as PICTURES
from vae_edge.maps.colours import as_pixels, strip
from vae_edge.maps.draw import enlarged, factor_for, marked, side_by_side
from vae_edge.maps.large import is_large, overview, windows
from vae_edge.maps.places import is_picture, places_of
from vae_edge.maps.regions import COLUMNS, picture_regions, region_columns
from vae_edge.maps.scale import MapScale, scale_of
from vae_edge_runtime import VAE, Scores
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.statistics.regions import Region
from vae_edge_runtime.storage.folders import StagedFolder, make_folder, staged_folder

from . import _pictures

_LONGEST_NAME = 200
"""Bytes of a file name; file systems take 255."""


class MapFiles:
    """What ``--maps`` and ``--regions`` write, batch by batch."""

    def __init__(self, vae: VAE, folder: StagedFolder | None, *, regions: bool) -> None:
        """``folder``: for the PNGs, or None; ``regions``: gather the table.

        Raises:
            OptionError: regions are wanted of rows that are no pictures, or of a bundle without the head ``peak``.
        """
        self._vae, self._folder, self._spec = vae, folder, vae.manifest.input
        self._scale: MapScale = scale_of(vae)
        self._taken: set[str] = set()
        self.regions: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        if regions and not is_picture(self._spec):
            raise OptionError(f"--regions is for pictures; the rows of this bundle are '{self._spec.layout}'")
        if regions and self._scale.threshold is None:
            raise OptionError("--regions needs the head 'peak', whose threshold is that of a pixel: export the model "
                              "with --heads, peak among them")  # fmt: skip

    def add(self, x: NDArray[Any], condition: Any, ids: list[str], scores: Scores, head: str) -> None:
        """Rows (n, ...) and their scores, with maps; ``head`` is what decides."""
        ok = np.flatnonzero(scores.ok)
        rebuilt: NDArray[Any] | None = None
        if self._folder is not None and is_picture(self._spec) and self._spec.overlap is None and len(ok):
            rebuilt = self._vae.reconstruct(x[ok], condition=None if condition is None else condition[ok])
        for k, i in enumerate(ok):
            if not is_picture(self._spec):
                png = _pictures.to_png(strip(scores.map[i], self._spec, self._scale.top))
            elif is_large(x[i], self._spec):
                png = self._large(x[i], ids[i], scores, int(i), head)
            else:
                png = self._picture(x[i], None if rebuilt is None else rebuilt[k], ids[i], scores, int(i), head)
            if self._folder is not None:
                self._folder.write(file_name(ids[i], self._taken), png)

    def _picture(
        self, row: NDArray[Any], rebuilt: NDArray[Any] | None, row_id: str, scores: Scores, i: int, head: str
    ) -> bytes:
        """Regions into the table; the PNG, where one is wanted."""
        threshold = self._scale.threshold
        places = places_of(scores.map[i : i + 1], self._spec)[0]
        found = () if threshold is None else picture_regions(places, threshold)
        self._keep(row_id, found)
        if self._folder is None:
            return b""
        picture = as_pixels(row, self._spec)
        factor = factor_for(*picture.shape[:2])
        panels = [("input", enlarged(picture, factor))]
        if rebuilt is not None:
            decoded = as_pixels(rebuilt, _pictures.decoded_spec(self._vae.manifest))
            panels.append(("reconstruction", enlarged(decoded, factor)))
        panels.append(("map", marked(picture, places, self._scale, found, factor)))
        return side_by_side(panels, caption(row_id, scores, i, head, None if threshold is None else len(found)))

    def _large(self, row: NDArray[Any], row_id: str, scores: Scores, i: int, head: str) -> bytes:
        """The same of a picture that is worked on in bands."""
        seen = overview(row, scores.map[i], self._spec, self._scale.threshold)
        self._keep(row_id, seen.regions)
        if self._folder is None:
            return b""
        reduced = f", 1 pixel of {seen.factor} x {seen.factor}"
        panels = [(f"input{reduced}", seen.picture), (f"map{reduced}", seen.marked(self._scale))]
        close = windows(row, scores.map[i], self._spec, self._scale, seen.regions)
        count = None if self._scale.threshold is None else len(seen.regions)
        return side_by_side(panels, caption(row_id, scores, i, head, count), close)

    def _keep(self, row_id: str, found: Sequence[Region]) -> None:
        if self._scale.threshold is not None:
            for name, values in region_columns(row_id, found, self._scale.threshold).items():
                self.regions[name].extend(values)


def caption(row_id: str, scores: Scores, row: int, head: str, regions: int | None) -> tuple[str, str]:
    """Two lines: which row and what was decided, then the figures behind it."""
    decided = "not decided" if scores.threshold is None else "ANOMALY" if scores.is_anomaly[row] else "normal"
    figures = [f"{head} {float(scores.score[row]):.4g}"]
    if scores.threshold is not None:
        figures.append(f"threshold {scores.threshold:.4g}")
    if scores.calibrated:
        figures.append(f"p-value {float(scores.p_value[row]):.3g}")
    if regions is not None:
        figures.append(f"{regions} region{'' if regions == 1 else 's'}")
    return f"{row_id}: {decided}", ", ".join(figures)


def check_folder(folder: Path, *, force: bool) -> None:
    """Before any work: maps can be written, and into this folder.

    Raises:
        MissingDependency: Pillow is not installed.
        OptionError: it is a file, or not empty and ``force`` is False.
    """
    require("PIL", extra="images", why="writing maps")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; --maps takes a folder")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OptionError(f"{folder} is not empty; pass --force to write into it, or name another folder")


@contextlib.contextmanager
def staged(folder: Path | None) -> Iterator[StagedFolder | None]:
    """Where the maps of a run lie until it has succeeded; None without ``--maps``.

    Raises:
        StorageError: it cannot be made or written.
    """
    if folder is None:
        yield None
        return
    make_folder(folder.absolute().parent)
    with staged_folder(folder, merge=True) as made:
        yield made


def file_name(row_id: str, taken: set[str]) -> str:
    """The PNG of a row: the name of its picture, and no other row's, whatever the file system thinks of case."""
    suffix = Path(row_id).suffix.lower()
    plain = re.sub(r"[^\w.-]+", "_", row_id[: -len(suffix)] if suffix in PICTURES else row_id)
    plain = plain.encode("utf-8", "replace")[-_LONGEST_NAME:].decode("utf-8", "ignore").lstrip(".") or "row"
    name, count = plain, 1
    while name.lower() in taken:
        count += 1
        name = f"{plain}~{count}"
    taken.add(name.lower())
    return f"{name}.png"
