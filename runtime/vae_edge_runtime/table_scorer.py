"""``Scorer``: a bundle as a function from a batch of a table to the same batch with scores, for Ray and Spark."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import arguments
from .errors import CalibrationError, InputError, OptionError, SessionClosed
from .format.bundle import Bundle, reopened
from .format.manifest import Manifest
from .format.specs import InputSpec, element_count
from .graph_session import opened, session_options
from .record import one_line
from .scoring.columns import split_lessened
from .scoring.frames import Added, Frame, check_names, frame_of
from .scoring.inputs import Status
from .scoring.purpose import refuse_unscored
from .scoring.resolution import round_to_float32
from .scoring.results import Scores
from .session import VAE
from .text import counted

ADDED = ("score", "p_value", "is_anomaly", "status")
"""Columns that a ``Scorer`` adds, in this order; each further head adds one of its name and one of p-values."""


class _Sessions:
    """The sessions of one process, by what they were opened with."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.opened: dict[tuple[Any, ...], VAE] = {}


_sessions = _Sessions()


class _Feature(NamedTuple):
    """Where a feature comes from: a column, and what is subtracted from it in float64."""

    column: str
    minus: float = 0.0


class Scorer:
    """Scores batches of a table, whatever holds them: the same columns come back, with four more and those of further
    heads.

    It pickles as the path of the bundle, its id and the options. Each process opens the bundle once, at its first
    batch, and all Scorers of the process with the same options share that session. It may be called from many threads.

    The new columns are ``score`` (float32), ``p_value`` (float64), ``is_anomaly`` (bool) and ``status`` (text). Where
    ``status`` is not ``ok`` the first three are null; in numpy arrays and pandas they are NaN, NaN and False.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        columns: Sequence[str] | str | None = None,
        condition: str | None = None,
        batch: int = 4096,
        threshold: float | None = None,
        prefix: str = "",
        heads: Sequence[str] | str = (),
        device: str = "auto",
        variant: str = "auto",
        allow_fallback: bool = False,
        threads: int | None = None,
        spin: bool | None = None,
        isolate: bool = False,
        deadline_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """Check the bundle and the options; nothing is scored yet.

        Args:
            bundle: path of the ``.vaeb`` file, which every process must see under the same name.
            columns: of the table, one per feature of the model in its order; None: those that the bundle names. One
                column whose cells hold arrays gives whole rows: pictures, windows, vectors.
            condition: of a conditional model, the column that holds it.
            batch: rows that are turned into numbers and scored at once, from 1.
            threshold: instead of the calibrated one, in the unit of the score.
            prefix: before the names of the new columns.
            heads: of ``VAE.heads``, further ones to score by; ``all`` for all. Each adds a column of its name, and one
                of p-values.
            device, variant, allow_fallback, threads, spin, isolate, deadline_s, memory_bytes: as for ``load``.
                ``threads=1`` suits engines that run a process per core.

        Raises:
            BundleError: the file is refused.
            OptionError: an option is not valid, or ``columns`` does not fit the model.
            CalibrationError: the bundle carries no calibration, and no threshold was passed.

        Example:
            >>> scorer = Scorer("pump.vaeb", threads=1)  # doctest: +SKIP
            >>> scorer(batch).schema.names  # doctest: +SKIP
            ['temp', 'pressure', 'score', 'p_value', 'is_anomaly', 'status']
        """
        self._columns = None if columns is None else arguments.words("columns", columns)
        if condition is not None:
            arguments.instance("condition", condition, str, "the name of a column")
        arguments.instance("prefix", prefix, str, "text")
        self._condition, self._prefix = condition, prefix
        self._batch = arguments.whole_number("batch", batch, low=1)
        self._threshold = None if threshold is None else arguments.number("threshold", threshold)
        self._options = session_options(
            device=device, variant=variant, allow_fallback=allow_fallback, threads=threads, spin=spin, isolate=isolate,
            deadline_s=deadline_s, memory_bytes=memory_bytes,
        )  # fmt: skip
        with Bundle.open(bundle) as checked:
            refuse_unscored(checked.manifest)
            self._path, self._bundle_id = checked.absolute_path, checked.bundle_id
            calibration = checked.manifest.variants[checked.choose_variant(variant)].calibration
            _features(checked.manifest.input, self._columns)
            _check_condition(checked.manifest, condition)
            self._heads = _further(checked.manifest, heads)
        if calibration is None and self._threshold is None:
            raise CalibrationError("this bundle carries no calibration, so nothing is decided: pass threshold=")

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the new columns, in order."""
        further = (name for head in self._heads for name in (head, f"{head}_p_value"))
        return tuple(self._prefix + name for name in (*ADDED, *further))

    def __call__(self, batch: Any) -> Any:
        """The batch with the new columns, of the kind that came in.

        Args:
            batch: a pyarrow RecordBatch or Table, a pandas or polars DataFrame, or a dict of arrays.

        Raises:
            InputError: it is of another kind, lacks a column, or a column does not fit the model.
            OptionError: it has a column of the name of a new one.
            BundleError: another bundle lies at the path now. Further errors as of ``load`` and ``VAE.score``.
        """
        frame = frame_of(batch)
        names = frame.names(batch)
        vae = self._session()
        features = _present(_features(vae.manifest.input, self._columns), names)
        needed = [f.column for f in features] + ([] if self._condition is None else [self._condition])
        check_names(names, needed, self.added)
        n, parts = frame.rows(batch), []
        for start in range(0, max(n, 1), self._batch):
            part = frame.part(batch, list(dict.fromkeys(needed)), start, min(n, start + self._batch))
            parts.append(self._scores(vae, frame, part, features))
        return frame.extended(batch, dict(zip(self.added, _columns(parts, self._heads), strict=True)))

    def close(self) -> None:
        """Close the session that Scorers of the same options share in this process; the next batch opens it again."""
        if _sessions.pid == os.getpid():
            with _sessions.lock:
                session = _sessions.opened.pop(self._key(), None)
            if session is not None:
                session.close()

    def __repr__(self) -> str:
        columns = "the columns that it names" if self._columns is None else ", ".join(self._columns)
        return one_line(f"<Scorer of {self._path} by {columns}>")

    def _key(self) -> tuple[Any, ...]:
        return (self._path, self._bundle_id, *self._options.values())

    def _session(self) -> VAE:
        global _sessions
        if _sessions.pid != os.getpid():
            _sessions = _Sessions()  # the lock of the parent's may be held for ever
        sessions = _sessions
        with sessions.lock:
            vae = sessions.opened.get(self._key())
            if vae is None:
                bundle = reopened(self._path, self._bundle_id)
                vae = sessions.opened[self._key()] = opened(VAE, bundle, **self._options)
            return vae

    def _scores(self, vae: VAE, frame: Frame, part: Any, features: Sequence[_Feature]) -> Scores:
        spec, condition = vae.manifest.input, None
        columns = [frame.numbers(part, feature.column) for feature in features]
        if len(features) == 1 and (spec.shape != (1,) or columns[0].ndim > 1):
            x = _whole_rows(columns[0], spec, features[0].column)
        else:
            x = _rows(columns, spec, features)
        if self._condition is not None and vae.manifest.condition is not None:
            wanted = vae.manifest.condition
            condition = _exactly(frame.numbers(part, self._condition), wanted.dtype, self._condition)
        try:
            return vae.score(x, condition=condition, heads=self._heads, threshold=self._threshold)
        except SessionClosed:  # another thread called close
            return self._session().score(x, condition=condition, heads=self._heads, threshold=self._threshold)


def _features(spec: InputSpec, columns: Sequence[str] | None) -> list[_Feature]:
    """The columns that make up a row; one alone may hold whole rows.

    Raises:
        OptionError: ``columns`` is needed, or does not fit the model.
    """
    shape = "x".join(map(str, spec.shape))
    one_column = f"pass columns= with one column whose cells hold whole rows of shape {shape}"
    is_flat = len(spec.shape) == 1
    if columns is None:
        if not is_flat or len(spec.names) != spec.shape[0]:
            what = "the bundle names no features" if is_flat else f"the model takes rows of shape {shape}"
            also = ", or with a column per feature in the model's order" if is_flat else ""
            raise OptionError(f"{what}: {one_column}{also}")
        return [_Feature(name) for name in spec.names]
    if len(columns) == 1:
        return [_Feature(columns[0])]
    if not is_flat:
        windows = " A batch of a table is not cut into windows: the cut would depend on its borders."
        more = windows if spec.layout == "time_features" else ""
        raise OptionError(
            f"columns names {counted(len(columns), 'column')}, the model takes rows of shape "
            f"{shape}: {one_column}.{more}"
        )
    if len(columns) != spec.shape[0]:
        named = f": {', '.join(spec.names)}" if spec.names else ""
        raise OptionError(f"columns names {counted(len(columns), 'column')}; the model takes {spec.shape[0]}{named}")
    if sorted(columns) == sorted(spec.names):
        return [_Feature(name) for name in spec.names]
    if wrong := [
        name for place, name in zip(spec.names, columns, strict=False) if name in spec.names and name != place
    ]:
        raise OptionError(
            f"columns names {wrong[0]!r} in the place of another feature; the model takes, in this order: "
            f"{', '.join(spec.names)}"
        )
    names = spec.names or columns
    offsets = [split_lessened(name) for name in names]
    return [_Feature(c, 0.0 if o is None or c == n else o[1]) for c, n, o in zip(columns, names, offsets, strict=True)]


def _present(features: Sequence[_Feature], names: Sequence[str]) -> list[_Feature]:
    """``t (minus 1700000000.0)`` stands for the column t where the batch has t alone."""
    have, made = set(names), []
    for feature in features:
        parts = None if feature.column in have else split_lessened(feature.column)
        made.append(_Feature(*parts) if parts is not None and parts[0] in have else feature)
    return made


def _check_condition(manifest: Manifest, condition: str | None) -> None:
    if manifest.condition is None and condition is not None:
        raise OptionError("this model takes no condition: leave condition= out")
    if manifest.condition is not None and condition is None and manifest.condition.role != "mask":
        raise OptionError("this model is conditional: pass condition=, the name of the column that holds it")


def _further(manifest: Manifest, heads: Sequence[str] | str) -> tuple[str, ...]:
    """Heads beyond the default one, in the order of the bundle."""
    default = manifest.score.default_head
    known = tuple(dict.fromkeys((default, *manifest.score.heads)))
    wanted = arguments.heads(heads, known)
    for head in wanted:
        arguments.choice("heads", head, known)
    return tuple(head for head in known if head in wanted and head != default)


def _rows(columns: Sequence[NDArray[Any]], spec: InputSpec, features: Sequence[_Feature]) -> NDArray[Any]:
    rows = np.empty((len(columns[0]), len(columns)), spec.dtype)
    for i, (column, feature) in enumerate(zip(columns, features, strict=True)):
        if column.ndim != 1:
            raise InputError(
                f"column {feature.column!r} holds arrays of shape {column.shape[1:]}; a feature is one number"
            )
        if feature.minus:
            column = column.astype(np.float64) - feature.minus
        rows[:, i] = _exactly(column, spec.dtype, feature.column)
    return rows


def _whole_rows(column: NDArray[Any], spec: InputSpec, name: str) -> NDArray[Any]:
    size = element_count(spec.shape)
    if column.ndim == 1 and column.dtype.kind == "f" and np.isnan(column).all():  # no cell of the batch holds a row
        column = np.broadcast_to(column[:, None], (len(column), size))
    if spec.overlap is not None and column.ndim == 1 + len(spec.shape):
        return _exactly(column, spec.dtype, name)  # pictures of tiles may be larger; the session checks them
    if column.shape[1:] not in (spec.shape, (size,)):
        cells = f"arrays of shape {column.shape[1:]}" if column.ndim > 1 else "numbers"
        raise InputError(
            f"column {name!r} holds {cells}; the model takes rows of shape {spec.shape}: pass a column per feature, or "
            f"cells of {counted(size, 'value')}"
        )
    return _exactly(column, spec.dtype, name).reshape(len(column), *spec.shape)


def _exactly(values: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    """Numbers as the model takes them: rounded to float32, and whole numbers only where they lose nothing."""
    if dtype == "float32":
        return round_to_float32(values)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)) & (values >= limits.min) & (values <= limits.max)
    if not whole.all():
        raise InputError(
            f"column {name!r} holds {values[~whole].flat[0]}; the model takes whole numbers of {dtype}, none missing"
        )
    return values.astype(dtype)


def _columns(parts: Sequence[Scores], heads: Sequence[str]) -> list[Added]:
    score, status = (np.concatenate([getattr(part, name) for part in parts]) for name in ("score", "status"))
    decided = np.concatenate([part.is_anomaly for part in parts])
    calibrated = parts[0].calibrated
    p_value = np.concatenate([part.p_value for part in parts]) if calibrated else np.full(len(score), np.nan)
    names = np.array([Status(value).name.lower() for value in range(max(Status) + 1)])
    scored = status == Status.OK
    further = []
    for head in heads:
        of_head = [part.heads[head] for part in parts]
        further.append(Added(np.concatenate([part.score for part in of_head]), scored))
        fits = of_head[0].calibrated
        p_values = np.concatenate([part.p_value for part in of_head]) if fits else np.full(len(score), np.nan)
        further.append(Added(p_values, scored & fits))
    return [
        Added(score, scored),
        Added(p_value, scored & calibrated),
        Added(decided, scored),
        Added(names[status], np.ones(len(score), bool)),
        *further,
    ]
