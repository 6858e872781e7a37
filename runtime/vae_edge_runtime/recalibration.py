"""A new bundle with thresholds from new normal rows: the same graphs, a higher release."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from . import arguments
from ._version import __version__
from .errors import CalibrationError, InputError, OptionError
from .format import archive
from .format.bundle import Bundle
from .format.figures import Compression
from .format.heads import HEADS
from .format.manifest import MEMBER, Calibration, Manifest, MemberSpec, Variant
from .format.specs import ScoreSpec
from .format.stream_rules import fit_guard
from .record import record
from .scoring.calibrate import Method, calibrate
from .scoring.heads import head_scores, outputs_for, posterior_noise, with_parts
from .scoring.inputs import check_condition, check_rows, feeds_beside
from .scoring.purpose import refuse_unscored
from .scoring.scorer import Scorer
from .scoring.tiling import check_pictures, picture_outputs, picture_size
from .session import VAE, Condition, load
from .storage.files import refuse_existing, write_atomic

Array = NDArray[Any]

_ROWS_AT_ONCE = 256
MAX_RELEASE = (1 << 53) - 1
"""The largest whole number that every reader of JSON keeps exactly."""


@record(frozen=True)
class ThresholdChange:
    """One head of one variant before and after.

    Attributes:
        variant: precision of the graphs.
        head: its name.
        before: threshold, in the unit of the head; None where there was none.
        after: threshold, in the unit of the head.
        rows_before: calibration rows; 0 where there was no threshold.
        rows_after: calibration rows.
        above_before: share of the new rows above the old threshold: the rate of false alarms so far.
        source: where the new threshold comes from: ``conformal`` or ``tail``.
    """

    variant: str
    head: str
    before: float | None
    after: float
    rows_before: int
    rows_after: int
    above_before: float | None
    source: str


@record(frozen=True)
class Recalibration:
    """What ``recalibrate`` has written, and what changed.

    Attributes:
        path: of the new bundle.
        release_before: of the old bundle.
        release: of the new bundle.
        bundle_id: of the new bundle.
        default_head: the head that decides in the new bundle.
        changes: one per head of each variant; empty where there were no new rows.
        warnings: where the method is not the one that was asked for, in words.
        compression: what the bundle offers to compress with, where new tables were asked for.
    """

    path: Path
    release_before: int
    release: int
    bundle_id: str
    default_head: str
    changes: tuple[ThresholdChange, ...]
    warnings: tuple[str, ...]
    compression: Compression | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def recalibrate(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rows: Array | None = None,
    condition: Condition = None,
    default_head: str | None = None,
    false_positive_rate: float | None = None,
    method: Method = "conformal",
    release: int | None = None,
    compress: str | None = None,
    compress_rows: Array | None = None,
    device: str = "cpu",
    isolate: bool = False,
    deadline_s: float | None = None,
    memory_bytes: int | None = None,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Recalibration:
    """Calibrate every head of every variant anew, on this device, and write another bundle.

    Graphs, weights, golden vectors and the model's pair id stay, byte for byte. Limits of the input
    guard follow the new rows. A threshold that the model brought along is replaced. Without new rows every
    threshold stays, and ``default_head`` says what the new bundle decides by.

    Args:
        path: of the bundle.
        out: of the new bundle, in a folder that exists.
        rows: (n, *input_shape) new normal rows, as in ``VAE.score``; None: thresholds stay.
        condition: of a conditional model, as in ``VAE.score``.
        default_head: the stored head to decide by; None: as before.
        false_positive_rate: what the thresholds stand for, inside (0, 1); None: as before, of each variant.
        method: ``conformal``: a quantile of the scores. ``tail``: peaks over threshold.
        release: of the new bundle; None: one more than before.
        compress: ways to compress that the new bundle offers, comma separated: bounds such as ``0.1`` (of the spread
            of each feature) or ``2u`` (data units), ``exact``, ``latents``; ``auto`` alone: the widest bound that flips
            no decision. None: the tables of the old bundle stay.
        compress_rows: further normal rows to fit those tables to, such as training rows; not of a conditional model.
        device: that scores the rows, as in ``load``.
        isolate: as in ``load``, for bundles of strangers.
        deadline_s: as in ``load``.
        memory_bytes: as in ``load``.
        force: replace a file that lies at ``out``.
        progress: called with the number of rows just scored; None: nobody is told.

    Raises:
        CalibrationError: too few rows for the rate, or rows that cannot be scored.
        InputError: rows or condition does not fit the model.
        OptionError: another argument is not valid, or ``out`` exists and ``force`` is False.
        BundleError, GraphRefused, ProviderUnavailable, MissingDependency, BackendError: as ``load`` and ``score``.
        StorageError: the new bundle could not be written.

    Example:
        >>> recalibration = recalibrate("pump.vaeb", "pump-2.vaeb", rows=normal)
        >>> recalibration.release, recalibration.changes[0].rows_after
        (2, 200)
    """
    if false_positive_rate is not None:
        false_positive_rate = arguments.number("false_positive_rate", false_positive_rate)
    arguments.choice("method", method, get_args(Method))
    if release is not None:
        release = arguments.whole_number("release", release, low=1, high=MAX_RELEASE)
    if compress is not None:
        arguments.instance("compress", compress, str, "bounds such as '0.3,0.1', or None")
    if progress is not None:
        arguments.function("progress", progress)
    target = refuse_existing(out, force=arguments.flag("force", force))
    if rows is None and (default_head is None or false_positive_rate is not None):
        raise OptionError("there is nothing to calibrate from: pass rows, or default_head alone")
    engine: dict[str, Any] = {
        "device": device,
        "isolate": isolate,
        "deadline_s": deadline_s,
        "memory_bytes": memory_bytes,
    }
    with Bundle.open(path) as bundle:
        bundle.verify_members()
        before = bundle.manifest
        refuse_unscored(before)
        if compress is not None and before.condition is not None and before.condition.role != "condition":
            raise OptionError(f"compress is not offered for rows with a {before.condition.role} beside them")
        score = before.score if default_head is None else _deciding(before.score, default_head)
        members = {name: bundle.read(name) for name in before.members}
    release = before.release + 1 if release is None else release
    if release <= before.release:
        raise OptionError(f"release is {release}; it must be above that of {path}, {before.release}")
    variants: dict[str, Variant] = {}
    changes: list[ThresholdChange] = []
    warnings: list[str] = []
    for name, old in before.variants.items():
        if rows is None:
            variants[name] = old
            continue
        old_rate = old.calibration.false_positive_rate if old.calibration else None
        rate = old_rate if false_positive_rate is None else false_positive_rate
        if rate is None:
            raise OptionError("this bundle carries no calibration: say which false_positive_rate is wanted")
        with load(path, variant=name, **engine) as vae:
            outputs = _outputs(vae, rows, condition, progress)
        scorer = Scorer(before, old, members.__getitem__)
        old_scores = head_scores(before.score, list(scorer.calibrations), outputs, scorer.fitted)
        new = calibrate(before.score, outputs, prefix=name, false_positive_rate=rate, method=method)
        for calibration in old.calibrations:
            del members[calibration.member]
        if old.latent_statistics:
            del members[old.latent_statistics]
        members |= new.members
        default, *further = before.score.heads
        variants[name] = dataclasses.replace(
            old,
            calibration=new.by_head[default],
            channels={head: new.by_head[head] for head in further},
            latent_statistics=new.latent_statistics,
            typical_score=new.fitted.typical_score,
            traps={},  # measured against the old rows
        )
        changes += _changes(name, old_scores, scorer.calibrations, new.by_head)
        warnings += new.warnings
    manifest = _manifest(dataclasses.replace(before, score=score), variants, release, rows, members)
    if compress is not None:
        from .compression_tables import fitted_in  # not at the top: most bundles are calibrated without

        if rows is None:
            raise OptionError("compress fits tables to rows: pass normal rows")
        manifest, members = fitted_in(manifest, members, rows, condition, compress, compress_rows, **engine)
    members[MEMBER] = manifest.to_json()
    write_atomic(target, [archive.encode(members)], check=_read_back, replace=force)
    bundle_id = hashlib.sha256(members[MEMBER]).hexdigest()
    return Recalibration(
        target, before.release, release, bundle_id, score.default_head, tuple(changes), tuple(warnings),
        manifest.compression if compress is not None else None,
    )  # fmt: skip


def _deciding(score: ScoreSpec, head: str) -> ScoreSpec:
    """The same heads, of which another one decides.

    Raises:
        OptionError: the bundle does not have it, or it must not decide.
    """
    arguments.instance("default_head", head, str, "the name of a head")
    with_parts(score, (head,))
    if not HEADS[head].may_decide:
        raise OptionError(f"{head!r} must not decide: it calls anomalies the most normal rows of all")
    return dataclasses.replace(score, decides_by=None if head == score.heads[0] else head)


def _outputs(vae: VAE, rows: Array, condition: Condition, progress: Callable[[int], None] | None) -> dict[str, Array]:
    """Outputs of normal rows that heads are computed from; only the map, which none needs, is left out.

    Raises:
        CalibrationError: no rows, or one that has no score.
    """
    spec, latent = vae.manifest.score, vae.manifest.latent
    names = outputs_for(spec, spec.heads)
    pieces: dict[str, list[Array]] = {name: [] for name in (*names, *spec.sampled)}
    if not isinstance(rows, np.ndarray) or not rows.ndim or not len(rows):
        raise InputError("rows is no array of rows, or holds none: pass (n, *input_shape) new normal rows")
    row, tiled = vae.manifest.input, vae.manifest.input.overlap is not None

    def of_tiles(tiles: Array, wanted: Sequence[str]) -> list[Array]:
        return vae.run_graph("score", {"x": tiles}, list(wanted))

    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        per_row = isinstance(condition, np.ndarray) and condition.ndim and len(condition) == len(rows)
        if tiled:
            whole = picture_outputs(check_pictures(rows[part], row, "rows"), row, spec, names, of_tiles)
            for name in names:
                pieces[name].append(whole[name])
            if progress:
                progress(len(rows[part]))
            continue
        own = condition[part] if per_row else condition  # type: ignore[index]
        beside = vae.manifest.condition
        if beside is not None and beside.role != "condition":
            feeds, status = feeds_beside(rows[part], own, row, beside, to_score=True)
            if status.any():
                raise CalibrationError(f"row {start + int(status.argmax())} holds no value that can be scored: drop it")
        else:
            x = check_rows(rows[part], shape=row.shape, dtype=row.dtype, what="rows")
            feeds = {"x": x, **check_condition(own, beside, len(x))}
        for graph, wanted in (("score", names), ("sampled", spec.sampled)):
            if not wanted:
                continue
            noise = {"noise": posterior_noise(spec, latent, len(feeds["x"]))} if graph == "sampled" else {}
            for name, array in zip(wanted, vae.run_graph(graph, feeds | noise, list(wanted)), strict=True):
                if not np.isfinite(array).all():
                    raise CalibrationError(
                        f"rows {start} to {start + len(array)} hold one that cannot be scored ({name} is not finite): "
                        "drop such rows first (score marks them)"
                    )
                pieces[name].append(array)
        if progress:
            progress(len(feeds["x"]))
    return {name: np.concatenate(arrays) for name, arrays in pieces.items()}


def _changes(
    variant: str, scores: Mapping[str, Array], before: Mapping[str, Calibration], after: Mapping[str, Calibration]
) -> list[ThresholdChange]:
    """Per head; ``scores`` are those the old bundle gives the new rows."""
    changes = []
    for head, new in after.items():
        old = before.get(head)
        changes.append(
            ThresholdChange(
                variant=variant,
                head=head,
                before=old.threshold if old else None,
                after=new.threshold,
                rows_before=old.n if old else 0,
                rows_after=new.n,
                above_before=float((scores[head] > np.float64(old.threshold)).mean()) if old else None,
                source=new.source,
            )
        )
    return changes


def _manifest(
    before: Manifest, variants: dict[str, Variant], release: int, rows: Array | None, members: dict[str, bytes]
) -> Manifest:
    stream, beside = before.stream, before.condition
    if beside is not None and beside.role == "mask":
        rows = None  # no stream takes rows with a mask, and limits of rows with NaN would be NaN
    if stream is not None and rows is not None:
        guard = stream.guard
        fitted = fit_guard(
            rows,
            before.input,
            margin=guard.margin,
            stuck_rows=guard.stuck_rows,
            saturated_rows=guard.saturated_rows,
            period_s=guard.period_s,
        )
        stream = dataclasses.replace(stream, guard=fitted)
    listed = {name: MemberSpec(len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in sorted(members.items())}
    row = before.input
    if rows is not None:
        row = dataclasses.replace(row, low=float(rows.min()), high=float(rows.max()))
        if row.overlap is not None:
            row = dataclasses.replace(row, calibrated_size=picture_size(rows.shape[1:], row))
    made_with = before.made_with | {"vae_edge": __version__}  # an older manifest was brought up to this version's
    return dataclasses.replace(
        before, variants=variants, release=release, stream=stream, input=row, members=listed, made_with=made_with
    )


def _read_back(path: str) -> None:
    with Bundle.open(path) as bundle:
        bundle.verify_members()
