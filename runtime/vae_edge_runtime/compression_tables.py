"""Which ways to compress a bundle offers: tables of each, fitted to normal rows, with what they cost and keep."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .codec import fit, floats
from .codec.identity import Running
from .codec.modes import ModeCodec
from .codec.rans import encode_row
from .codec.tables import LatentTables, ResidualTables, Tables
from .errors import InputError, OptionError
from .format import archive
from .format.figures import Compression, CompressionKind, CompressionMode
from .format.manifest import MEMBER, Manifest, MemberSpec
from .scoring.inputs import Status, check_condition, check_rows
from .session import load

AUTO_BOUNDS = ("1", "0.3", "0.1", "0.03", "0.01", "0.003")
"""Tried by ``auto`` from the widest on."""
LATENT_SCALE, BOUNDED_SCALE = 2.5, 1.0
"""Of the steps of latents: alone they may be coarse; under a residual finer ones pay."""
_GRIDS = (*(10.0**d for d in range(-3, 7)), *(2.0**k for k in range(1, 17)))
_BOUND = re.compile(r"(\d{1,12}(\.\d{1,12})?|\.\d{1,12})(e-?\d{1,2})?u?", re.ASCII)
_LEAST_GAIN = 0.02
"""Bits a value that a grid must save: a row off the grid is stored as it is."""
_HELD_OUT = 5
"""Every fifth row is held out for the figures; the tables that ship are fitted to all."""
_MOST_MEASURED = 400
_MOST_FITTED = 1 << 20
"""Values that tables are fitted to; of more rows some are left out, evenly."""
_PACKET_FRAME = ((0, 1 << 12, 14), (0, 1, 1))
"""Symbols before those of the row: its mode of four, and whether a score follows. A CRC-16 comes behind."""
_LEAST_ROWS = 20


class Wanted(NamedTuple):
    """One mode that was asked for: its name, and the bound per feature (empty unless bounded)."""

    name: str
    kind: CompressionKind
    bound: tuple[float, ...]


class _Rows(NamedTuple):
    """Calibration rows and what the network makes of them."""

    x: NDArray[Any]
    latents: NDArray[Any]
    std: NDArray[Any] | None
    anomaly: NDArray[np.bool_] | None
    condition: NDArray[Any] | None


def parse_modes(text: str) -> tuple[str, ...]:
    """``0.3,0.1,exact`` to its modes; ``auto`` alone is itself.

    Raises:
        OptionError: a part is no bound.
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name in ("auto", "exact", "latents"):
            continue
        if not _BOUND.fullmatch(name) or not 0 < float(name.removesuffix("u")) < 1e30:
            raise OptionError(
                f"compress is {text!r:.60}; write bounds as shares of each feature's spread (0.1), in data units (2u), "
                "exact, or auto alone: comma separated"
            )
    if ("auto" in names and len(names) > 1) or len(set(names)) < len(names):
        raise OptionError(f"compress is {text!r:.60}; write auto alone, and every bound once")
    return names


def fit_compression(
    vae: Running,
    rows: NDArray[Any],
    condition: NDArray[Any] | None,
    names: Sequence[str],
    progress: Callable[[str], None] | None = None,
    *,
    spread_from: int = 0,
) -> tuple[Compression, dict[str, bytes]]:
    """The manifest's section and the members it names.

    Args:
        vae: the bundle in fp32. rows: normal rows (n, *row_shape). condition: of each, where the model takes any.
        names: of the modes, as ``parse_modes`` gives them; ``latents`` comes by itself.
        spread_from: the first of the rows that the spreads are taken of.
        progress: called with the name of each mode as it starts.

    Raises:
        OptionError: a bound that rows of this model cannot keep, or a kind of model that cannot be compressed.
        InputError: too few rows, or a row that is not finite.
    """
    manifest = vae.manifest
    latent = manifest.latent
    if latent.kind == "codes" and latent.codebook > fit._MAX_SYMBOLS:
        raise OptionError(f"a codebook of {latent.codebook} codes is too large for one table (4,096 at most)")
    if len(rows) - spread_from < _LEAST_ROWS:
        raise InputError(f"{len(rows) - spread_from} rows are too few to fit tables to: pass at least {_LEAST_ROWS}")
    prepared = _prepared(vae, rows, condition)
    spread, _ = _spread(manifest, rows[spread_from:])
    _, largest = _spread(manifest, rows)
    margin = floats.MARGIN * largest
    modes: list[CompressionMode] = []
    members: dict[str, bytes] = {}
    tried = AUTO_BOUNDS if tuple(names) == ("auto",) else tuple(name for name in names if name != "latents")
    for name in ("latents", *tried):
        if progress:
            progress(name)
        mode, data = _mode(vae, prepared, _wanted(name, manifest, spread), margin)
        modes.append(mode)
        members[mode.member] = data
        if tried is AUTO_BOUNDS and name != "latents" and not mode.flipped:
            break
    if tried is AUTO_BOUNDS:  # the widest that flips none, or the finest
        members = {mode.member: members[mode.member] for mode in (modes[0], modes[-1])}
        modes = [modes[0], modes[-1]]
    return Compression(tuple(spread.tolist()), tuple(margin.tolist()), tuple(modes)), members


def fitted_in(
    manifest: Manifest,
    members: Mapping[str, bytes],
    rows: NDArray[Any],
    condition: Any,
    text: str,
    further: NDArray[Any] | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    **isolation: Any,
) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and members of a bundle with new compression tables.

    Args:
        manifest, members: of the bundle without them. rows, condition: normal rows and their conditions.
        text: as ``parse_modes`` takes it. further: rows that the tables are fitted to beside ``rows``, such as those of
            the training; the spreads that bounds are shares of are theirs alone.
        device: that encodes, decodes and scores the rows, as in ``load``. progress: as in ``fit_compression``.
        isolation: ``isolate``, ``deadline_s`` and ``memory_bytes`` of ``load``.

    Raises:
        OptionError, InputError: as ``fit_compression``, or the bundle lacks the variant fp32.
    """
    names = parse_modes(text)
    if "fp32" not in manifest.variants:
        raise OptionError(f"compression needs the variant fp32; this bundle has {', '.join(manifest.variants)}")
    old = {mode.member for mode in manifest.compression.modes} if manifest.compression else set()
    kept = {name: data for name, data in members.items() if name not in old and name != MEMBER}
    listed = {name: spec for name, spec in manifest.members.items() if name not in old}
    bare = dataclasses.replace(manifest, compression=None, members=listed)
    own = 0 if further is None else len(rows)
    if further is not None:
        if manifest.condition is not None:
            raise OptionError("compress_rows has no conditions: a conditional model takes calibration rows alone")
        further = check_rows(further, shape=manifest.input.shape, dtype=manifest.input.dtype, what="compress_rows")
        rows = np.concatenate([rows, further])
    conditions = check_condition(condition, manifest.condition, len(rows)).get("condition")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitting.vaeb"
        path.write_bytes(archive.encode({**kept, MEMBER: bare.to_json()}))
        with load(path, device=device, variant="fp32", **isolation) as vae:
            section, new = fit_compression(
                vae, np.ascontiguousarray(rows), conditions, names, progress, spread_from=own
            )
    listed = listed | {name: MemberSpec(len(data), hashlib.sha256(data).hexdigest()) for name, data in new.items()}
    listed = dict(sorted(listed.items()))
    return dataclasses.replace(bare, compression=section, members=listed), kept | new


def _prepared(vae: Running, rows: NDArray[Any], condition: NDArray[Any] | None) -> _Rows:
    posterior = vae.encode(rows, condition=condition)
    if posterior.status.any():
        raise InputError(f"row {int(np.flatnonzero(posterior.status)[0])} is not finite: drop such rows first")
    scores = vae.score(rows, condition=condition)
    anomaly = scores.is_anomaly if scores.threshold is not None else None
    latents = posterior.mean if posterior.indices is None else posterior.indices
    return _Rows(rows, latents, None if posterior.logvar is None else posterior.std, anomaly, condition)


def _spread(manifest: Manifest, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per feature: the unit of bounds, and the largest value. A constant feature has a hundredth of its value."""
    windows = floats.as_windows(rows) if _has_values(manifest) else rows.astype(np.float64).reshape(len(rows), -1, 1)
    largest = np.maximum(np.abs(windows).max(axis=(0, 1)), 1e-30)
    spread = windows.std(axis=(0, 1))
    return np.where(spread > 1e-4 * largest, spread, 0.01 * largest), largest


def _has_values(manifest: Manifest) -> bool:
    """Whether single values can be kept: of tables and windows, not of pictures."""
    return len(manifest.input.shape) <= 2


def _wanted(name: str, manifest: Manifest, spread: NDArray[np.float64]) -> Wanted:
    if name == "latents":
        return Wanted(name, "latents", ())
    if not _has_values(manifest):
        raise OptionError(
            "pictures are compressed to latents alone: bounds, 'exact' and 'auto' are of single values, which a "
            "picture codec (PNG, JPEG XL) keeps as well; pass --compress latents"
        )
    if name == "exact":
        return Wanted(name, "exact", ())
    units = np.full(len(spread), float(name[:-1])) if name.endswith("u") else float(name) * spread
    return Wanted(name, "bounded", tuple(units.tolist()))


def _mode(vae: Running, rows: _Rows, wanted: Wanted, margin: NDArray[np.float64]) -> tuple[CompressionMode, bytes]:
    """The better predictor of one mode, its tables and figures."""
    candidates = []
    for predictor in ("vae",) if wanted.kind == "latents" else ("vae", "near"):
        steps = _steps(vae.manifest, rows.x, wanted, margin, predictor)
        if steps is not None:
            candidates.append(_Candidate(vae, rows, wanted, margin, predictor, steps))
    if not candidates:
        raise OptionError(_impossible(wanted, margin))
    return min(candidates, key=lambda candidate: candidate.row_bytes).finished()


def _impossible(wanted: Wanted, margin: NDArray[np.float64]) -> str:
    if wanted.kind == "exact":
        return (
            "exact needs rows on a grid: whole numbers, decimals or binary fractions of one size per feature. These "
            "rows are on none: round them as the sensor sends them, or ask for a bound"
        )
    worst = int(np.argmin(np.asarray(wanted.bound) / margin))
    return (
        f"the bound {wanted.name!r} is {wanted.bound[worst]:.3g} for feature {worst + 1}, below what float32 keeps of "
        f"its values ({margin[worst] / floats.MARGIN:.3g} at most): ask for a wider bound, or exact"
    )


class _Steps(NamedTuple):
    step: NDArray[np.float64]
    per_unit: NDArray[np.float64]


def _steps(
    manifest: Manifest, x: NDArray[Any], wanted: Wanted, margin: NDArray[np.float64], predictor: str
) -> _Steps | None:
    """Sizes of one whole number; None where this predictor cannot keep the promise."""
    features = len(margin)
    if wanted.kind == "latents":
        return _Steps(np.ones(features), np.zeros(features))
    network = predictor == "vae"
    if network and (manifest.output.dtype != "float32" or manifest.output.shape != manifest.input.shape):
        return None
    units, bound = _grids(floats.as_windows(x), x.dtype), np.asarray(wanted.bound or 0.0)
    if units is not None:
        # Values on a grid come back on it: of the five whole numbers within 2 units, the middle stands for all.
        exact = (units <= 1) | (np.log2(units) % 1 == 0)
        rounding = np.where(exact, 0.0, margin * units * (2.0**-22 / floats.MARGIN))
        steps = 2 * np.floor(np.maximum(bound * units - rounding, 0)) + 1
        gain = np.log2(steps / np.maximum(2 * bound * units, 1e-30)).mean()
        if wanted.kind == "exact" or x.dtype.kind != "f" or gain > _LEAST_GAIN:
            step = steps - 2 * margin * units if network else steps
            return _Steps(step, units) if (step > 0.2).all() else None
    if wanted.kind == "exact":
        return None
    # Without a network only the rounding of the result to float32 is in between.
    step = 2 * (bound - (margin if network else margin * (2.0**-22 / floats.MARGIN)))
    return _Steps(step, np.zeros(features)) if (step > 0).all() else None


def _grids(windows: NDArray[np.float64], dtype: Any) -> NDArray[np.float64] | None:
    """Per feature the coarsest grid, in steps per data unit, on which all values lie; None where one lies on none."""
    grids = []
    for c in range(windows.shape[2]):
        values = windows[:, :, c]
        for per_unit in sorted(_GRIDS):
            whole = np.rint(values * per_unit)
            if np.abs(whole).max() < 1 << 30 and ((whole / per_unit).astype(dtype) == values).all():
                grids.append(per_unit)
                break
        else:
            return None
    return np.array(grids)


class _Candidate:
    """One mode with one predictor.

    Attributes:
        row_bytes: of held-out rows sent alone, by tables that were fitted to the other rows.
    """

    def __init__(
        self, vae: Running, rows: _Rows, wanted: Wanted, margin: NDArray[np.float64], predictor: Any, steps: _Steps
    ) -> None:
        self._vae, self._rows, self._wanted, self._margin = vae, rows, wanted, margin
        self._mode = CompressionMode(
            wanted.name, wanted.kind, predictor, wanted.bound, f"compression/{_file_name(wanted.name)}.bin", 1, 1.0,
            0.0, 0.0, None,
        )  # fmt: skip
        self._latents = None if predictor == "near" else _fit_latents(vae.manifest, rows, wanted)
        self._numbers = self._rough = None
        if wanted.kind != "latents":
            centre = _centre(rows.x, steps) if predictor == "near" else np.zeros(len(margin), np.int32)
            self._rough = _without_tables(steps, centre, rows.x)
            coded = self._codec(Tables(self._latents, self._rough)).coded(rows.x, rows.latents, rows.condition)
            self._numbers = coded.numbers
        held_out = np.arange(len(rows.x)) % _HELD_OUT == 0
        some = np.flatnonzero(held_out)[:_MOST_MEASURED]
        own = None if rows.condition is None else rows.condition[some]
        codec = self._codec(self._tables(~held_out))
        coded = codec.coded(rows.x[some], rows.latents[some], own)
        each = [coded.taken(slice(i, i + 1)) for i in range(len(some))]
        self.rows = len(some)
        self.row_bytes = 2 + float(np.mean([len(encode_row([*_PACKET_FRAME, *codec.packet(one)])) for one in each]))
        self.latent_bytes = 0.0
        if self._latents is not None:
            only = self._codec(Tables(self._latents, None))
            alone = [one._replace(numbers=None) for one in each]
            self.latent_bytes = float(np.mean([len(encode_row(only.packet(one))) for one in alone]))

    def finished(self) -> tuple[CompressionMode, bytes]:
        """The mode with its figures, and its tables, which are fitted to all rows."""
        rows, wanted = self._rows, self._wanted
        shipped = self._tables(np.ones(len(rows.x), np.bool_))
        codec = self._codec(shipped)
        every = codec.coded(rows.x, rows.latents, rows.condition)
        back = codec.rows(every.latents, every.numbers, every.x_hat)
        back = np.where(every.fits.reshape(-1, *[1] * (rows.x.ndim - 1)), back, rows.x)
        flipped = None
        if rows.anomaly is not None:
            again = self._vae.score(back, condition=rows.condition)
            flipped = int(np.count_nonzero((again.is_anomaly != rows.anomaly) | (again.status != Status.OK)))
        mode = dataclasses.replace(
            self._mode, rows=self.rows, row_bytes=self.row_bytes, latent_bytes=self.latent_bytes,
            largest_error=_largest_error(self._vae.manifest, back, rows.x, wanted), flipped=flipped,
        )  # fmt: skip
        return mode, shipped.to_bytes()

    def _codec(self, tables: Tables) -> ModeCodec:
        manifest, decode = self._vae.manifest, self._vae.decode
        return ModeCodec(
            self._mode, tables, tuple(self._margin.tolist()), row=(manifest.input.shape, manifest.input.dtype),
            latent=manifest.latent.shape, decode=lambda z, condition: decode(z, condition=condition),
        )  # fmt: skip

    def _tables(self, take: NDArray[np.bool_]) -> Tables:
        if self._numbers is None or self._rough is None:
            return Tables(self._latents, None)
        numbers = self._numbers[take]
        every = -(-numbers.size // _MOST_FITTED)
        rough = self._rough
        fitted = fit.fit_residual(numbers[::every], step=rough.step, per_unit=rough.per_unit, centre=rough.centre)
        return Tables(self._latents, fitted)


def _fit_latents(manifest: Manifest, rows: _Rows, wanted: Wanted) -> LatentTables:
    if manifest.latent.kind == "codes":
        return fit.fit_codes(rows.latents, manifest.latent.codebook)
    flat = rows.latents.reshape(len(rows.x), -1)
    std = None if rows.std is None else rows.std.reshape(flat.shape)
    scale = LATENT_SCALE if wanted.kind == "latents" else BOUNDED_SCALE
    return fit.fit_latents(flat, std, fit.latent_groups(manifest.latent.shape), scale)


def _centre(x: NDArray[Any], steps: _Steps) -> NDArray[np.int32]:
    scaled = floats.as_windows(x).mean(axis=(0, 1)) * np.where(steps.per_unit > 0, steps.per_unit, 1.0) / steps.step
    centre: NDArray[np.int32] = np.clip(np.rint(scaled), -(1 << 30), 1 << 30).astype(np.int32)
    return centre


def _without_tables(steps: _Steps, centre: NDArray[np.int32], x: NDArray[Any]) -> ResidualTables:
    """Steps without anything that was counted, to get whole numbers by."""
    one = np.zeros((4, 33), np.int64)
    one[:, 0] = 1 << 14
    empty = np.zeros((len(centre), 1), np.int32)
    size = np.zeros((floats.as_windows(x[:1]).shape[1], len(centre)), np.int32)
    none = np.zeros(0, np.int32)
    return ResidualTables(
        steps.step, steps.per_unit, centre, empty, empty, size, none, np.zeros(1, np.uint8), one, 0, 0
    )


def _largest_error(manifest: Manifest, back: NDArray[Any], x: NDArray[Any], wanted: Wanted) -> float:
    if wanted.kind == "exact":
        return float(np.abs(floats.as_windows(back) - floats.as_windows(x)).max())
    error = back.astype(np.float64) - x.astype(np.float64)
    unit = np.asarray(wanted.bound) if wanted.bound else _spread(manifest, x)[0]
    return float(np.abs(error / unit).max())


def _file_name(name: str) -> str:
    return name if name.isalpha() else f"bound-{name}"
