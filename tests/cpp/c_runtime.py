"""libvaeedge through ctypes, as the conformance suite asks for it."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from runner import Case, Refused

DTYPES = {"float32": 1, "uint8": 2, "int64": 7, "float64": 11}
NUMPY = {number: name for name, number in DTYPES.items()}
STATES = ("off", "raised", "on", "cleared")
FAULTS = ((1, "non_finite"), (2, "out_of_range"), (4, "stuck"), (8, "saturated"), (16, "gap"))
STATUSES = ("ok", "invalid_input", "non_finite_output", "unknown_code")


class Array(c.Structure):
    _fields_ = (("data", c.c_void_p), ("dtype", c.c_int), ("rank", c.c_int), ("shape", c.c_int64 * 8))


class Shape(c.Structure):
    _fields_ = (("dtype", c.c_int), ("rank", c.c_int), ("shape", c.c_int64 * 5), ("elements", c.c_int64))

    @property
    def tuple(self) -> tuple[int, ...]:
        return tuple(self.shape[: self.rank])


class Head(c.Structure):
    _fields_ = (("name", c.c_char_p), ("calibrated", c.c_int), ("threshold", c.c_double),
                ("false_positive_rate", c.c_double), ("calibration_rows", c.c_int64))  # fmt: skip


class Options(c.Structure):
    _fields_ = (("variant", c.c_char_p), ("onnxruntime", c.c_char_p), ("threads", c.c_int))


class Info(c.Structure):
    _fields_ = (
        ("model_name", c.c_char_p), ("model_version", c.c_char_p), ("bundle_id", c.c_char_p), ("pair_id", c.c_char_p),
        ("release", c.c_int64), ("variant", c.c_char_p), ("engine_version", c.c_char_p), ("layout", c.c_char_p),
        ("latent_kind", c.c_char_p), ("prior_kind", c.c_char_p), ("input", Shape), ("condition", Shape),
        ("latent", Shape), ("embedding", Shape), ("output", Shape), ("has_kl", c.c_int), ("has_logvar", c.c_int),
        ("has_indices", c.c_int), ("has_stream_rules", c.c_int), ("variants", c.c_size_t),
        ("variant_names", c.POINTER(c.c_char_p)), ("heads", c.c_size_t), ("head", c.POINTER(Head)),
    )  # fmt: skip


class HeadScores(c.Structure):
    _fields_ = (("head", c.c_char_p), ("score", c.c_void_p), ("p_value", c.c_void_p), ("is_anomaly", c.c_void_p))


class Scores(c.Structure):
    _fields_ = (
        ("score", c.c_void_p), ("p_value", c.c_void_p), ("is_anomaly", c.c_void_p), ("status", c.c_void_p),
        ("reconstruction", c.c_void_p), ("kl", c.c_void_p), ("map", c.c_void_p), ("heads", c.c_size_t),
        ("head", c.POINTER(HeadScores)), ("threshold", c.POINTER(c.c_double)),
    )  # fmt: skip


class Verification(c.Structure):
    _fields_ = (("ok", c.c_int), ("members", c.c_int64), ("rows", c.c_int64), ("checks", c.c_int64),
                ("worst", c.c_double), ("worst_output", c.c_char * 160))  # fmt: skip


class AlarmRules(c.Structure):
    _fields_ = (("raise_after", c.c_int), ("of", c.c_int), ("clear_after", c.c_int), ("clear_rate", c.c_double),
                ("cool_down", c.c_int))  # fmt: skip


class Event(c.Structure):
    _fields_ = (
        ("index", c.c_int64), ("time", c.c_double), ("scored", c.c_int), ("status", c.c_int), ("score", c.c_float),
        ("p_value", c.c_double), ("is_anomaly", c.c_int), ("alarm", c.c_int), ("faults", c.c_uint),
        ("features", c.c_size_t), ("feature_faults", c.POINTER(c.c_uint8)),
    )  # fmt: skip


def as_array(x: np.ndarray | None) -> Any:
    """A pointer to the C description of an array, which is kept alive by it."""
    if x is None:
        return None
    x = np.ascontiguousarray(x)
    made = Array(x.ctypes.data, DTYPES[x.dtype.name], x.ndim, (c.c_int64 * 8)(*x.shape))
    made.keep = x
    return c.byref(made)


class Library:
    """The functions of one build of libvaeedge; errors come as ``Refused``."""

    def __init__(self, path: Path) -> None:
        self.c = c.CDLL(str(path))
        self.c.vaee_error_name.restype = self.c.vaee_last_error.restype = self.c.vaee_version.restype = c.c_char_p
        self.c.vaee_get_info.restype = c.POINTER(Info)
        self.c.vaee_close.restype = self.c.vaee_stream_close.restype = self.c.vaee_alarm_close.restype = None

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``vaee_NAME``."""
        code = getattr(self.c, f"vaee_{name}")(*arguments)
        if code:
            raise Refused(self.c.vaee_error_name(code).decode())

    def message(self) -> str:
        """Of the last error."""
        return str(self.c.vaee_last_error().decode())


class CRuntime:
    """libvaeedge on an ONNX Runtime."""

    def __init__(self, library: Path, onnxruntime: Path | None) -> None:
        self.library = Library(library)
        self._onnxruntime = None if onnxruntime is None else str(onnxruntime).encode()

    def options(self, variant: str = "auto", threads: int = 1) -> Options:
        return Options(variant.encode(), self._onnxruntime, threads)

    @contextmanager
    def session(self, bundle: Path, variant: str = "auto") -> Iterator[tuple[c.c_void_p, Info]]:
        session = c.c_void_p()
        options = self.options(variant)
        self.library.call("open", str(bundle).encode(), c.byref(options), c.byref(session))
        try:
            yield session, self.library.c.vaee_get_info(session).contents
        finally:
            self.library.c.vaee_close(session)

    def open(self, bundle: Path) -> Case:
        bundle_id = c.create_string_buffer(65)
        self.library.call("check", str(bundle).encode(), bundle_id)
        answer: Case = {"bundle_id": bundle_id.value.decode()}
        if self._onnxruntime:
            with self.session(bundle) as (_, info):
                answer["variants"] = [info.variant_names[i].decode() for i in range(info.variants)]
        return answer

    def verify(self, bundle: Path) -> Case:
        outcome, options = Verification(), self.options()
        self.library.call("verify", str(bundle).encode(), c.byref(options), c.byref(outcome))
        return {"ok": bool(outcome.ok), "members": outcome.members}

    def score(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None, heads: Any, maps: bool,
              threshold: float | None) -> Case:  # fmt: skip
        with self.session(bundle, variant) as (session, info):
            return self.scores(session, info, x, condition, heads, maps, threshold)

    def scores(self, session: c.c_void_p, info: Info, x: np.ndarray, condition: np.ndarray | None = None,
               heads: Any = (), maps: bool = False, threshold: float | None = None) -> Case:  # fmt: skip
        n, known = len(x), [info.head[i].name.decode() for i in range(info.heads)]
        thresholds = {info.head[i].name.decode(): info.head[i].threshold for i in range(info.heads)}
        if threshold is not None:
            thresholds[known[0]] = threshold
        by_head: dict[str, Any] = {}
        rows = []
        for head in [known[0], *(known[1:] if heads == "all" else heads)]:
            arrays = {"score": np.zeros(n, np.float32), "p_value": np.zeros(n), "is_anomaly": np.zeros(n, np.uint8)}
            by_head[head] = arrays | {"threshold": thresholds.get(head)}
            rows.append(HeadScores(head.encode(), *(a.ctypes.data for a in arrays.values())))
        first = by_head[known[0]]
        status, reconstruction, kl = np.zeros(n, np.uint8), np.zeros(n, np.float32), np.zeros(n, np.float32)
        map_ = np.zeros((n, *info.input.tuple), np.float32)
        further = (HeadScores * len(rows))(*rows)
        own = None if threshold is None else c.pointer(c.c_double(threshold))
        out = Scores(
            first["score"].ctypes.data, first["p_value"].ctypes.data, first["is_anomaly"].ctypes.data,
            status.ctypes.data, reconstruction.ctypes.data, kl.ctypes.data if info.has_kl else None,
            map_.ctypes.data if maps else None, len(rows) - 1, c.cast(c.byref(further, c.sizeof(HeadScores)),
                                                                       c.POINTER(HeadScores)), own,
        )  # fmt: skip
        self.library.call("score", session, as_array(x), as_array(condition), c.byref(out))
        answer = {"status": status.tolist(), "heads": by_head, "reconstruction": reconstruction}
        return answer | {"kl": kl if info.has_kl else None} | ({"map": map_} if maps else {})

    def encode(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None) -> Case:
        with self.session(bundle, variant) as (session, info):
            mean = np.zeros((len(x), *info.embedding.tuple), np.float32)
            logvar = np.zeros((len(x), *info.latent.tuple), np.float32) if info.has_logvar else None
            indices = np.zeros((len(x), *info.latent.tuple), np.int64) if info.has_indices else None
            status = np.zeros(len(x), np.uint8)
            pointers = (c.c_void_p(None if a is None else a.ctypes.data) for a in (mean, logvar, indices, status))
            self.library.call("encode", session, as_array(x), as_array(condition), *pointers)
            return {"status": status.tolist(), "mean": mean, "logvar": logvar, "indices": indices}

    def decode(self, bundle: Path, variant: str, z: np.ndarray, condition: np.ndarray | None) -> Case:
        with self.session(bundle, variant) as (session, info):
            x_hat = np.zeros((len(z), *info.output.tuple), NUMPY[info.output.dtype])
            self.library.call("decode", session, as_array(z), as_array(condition), c.c_void_p(x_hat.ctypes.data))
            return {"x_hat": x_hat}

    def sample(self, bundle: Path, variant: str, n: int, seed: int, temperature: float,
               condition: np.ndarray | None) -> Case:  # fmt: skip
        with self.session(bundle, variant) as (session, info):
            x_hat = np.zeros((min(n, 1000), *info.output.tuple), NUMPY[info.output.dtype])
            self.library.call("sample", session, c.c_int64(n), c.c_uint64(seed), c.c_double(temperature),
                              as_array(condition), c.c_void_p(x_hat.ctypes.data))  # fmt: skip
            return {"x_hat": x_hat}

    def latents(self, bundle: Path, variant: str, n: int, seed: int, temperature: float) -> Case:
        with self.session(bundle, variant) as (session, info):
            z = np.zeros((n, *info.latent.tuple), NUMPY[info.latent.dtype])
            self.library.call("latents", session, c.c_int64(n), c.c_uint64(seed), c.c_double(temperature),
                              c.c_void_p(z.ctypes.data))  # fmt: skip
            return {"z": z}

    def words(self, seed: int, stream: int, count: int) -> Case:
        words = np.zeros(count, np.uint64)
        pointer = c.c_void_p(words.ctypes.data)
        self.library.call("words", c.c_uint64(seed), c.c_uint64(stream), c.c_size_t(count), pointer)
        return {"words": words}

    def noise(self, seed: int, stream: int, count: int) -> Case:
        noise = np.zeros(count, np.float32)
        pointer = c.c_void_p(noise.ctypes.data)
        self.library.call("noise", c.c_uint64(seed), c.c_uint64(stream), c.c_size_t(count), pointer)
        return {"noise": noise}

    def decide(self, bundle: Path, variant: str, head: str, scores: np.ndarray) -> Case:
        with self.session(bundle, variant) as (session, _):
            p_value, is_anomaly = np.zeros(len(scores)), np.zeros(len(scores), np.uint8)
            self.library.call("decide", session, head.encode(), c.c_void_p(scores.ctypes.data), c.c_size_t(len(scores)),
                              c.c_void_p(p_value.ctypes.data), c.c_void_p(is_anomaly.ctypes.data))  # fmt: skip
            return {"p_value": p_value, "is_anomaly": is_anomaly}

    def threshold_for(self, bundle: Path, variant: str, head: str, method: str, rate: float) -> float:
        with self.session(bundle, variant) as (session, _):
            threshold = c.c_double()
            self.library.call("threshold_for", session, head.encode(), method.encode(), c.c_double(rate),
                              c.byref(threshold))  # fmt: skip
            return threshold.value

    def guard(self, bundle: Path, rows: np.ndarray, times: np.ndarray) -> Case:
        cells = rows.shape[1] if rows.ndim == 2 else 1
        flags, steps = np.zeros((len(rows), cells), np.uint8), np.zeros(len(rows), np.uint8)
        self.library.call("guard", str(bundle).encode(), as_array(rows), c.c_void_p(times.ctypes.data),
                          c.c_void_p(flags.ctypes.data), c.c_void_p(steps.ctypes.data))  # fmt: skip
        return {"flags": flags, "steps": [bool(step) for step in steps]}

    def alarm(self, rules: Case, decisions: list[Any]) -> Case:
        alarm, own = c.c_void_p(), AlarmRules(**rules)
        self.library.call("alarm_open", c.byref(own), c.byref(alarm))
        states = []
        for is_anomaly, p_value in decisions:
            decided = -1 if is_anomaly is None else int(is_anomaly)
            p = float("nan") if p_value is None else p_value
            states.append(STATES[self.library.c.vaee_alarm_step(alarm, decided, c.c_double(p))])
        self.library.c.vaee_alarm_close(alarm)
        return {"states": states}

    def stream(self, bundle: Path, rows: np.ndarray, times: np.ndarray, block: int = 0) -> Case:
        from vae_edge_runtime import Bundle

        with Bundle.open(bundle) as opened:
            names = opened.manifest.input.names
        events = []
        with self.session(bundle) as (session, _):
            stream, event = c.c_void_p(), Event()
            self.library.call("stream_open", session, c.c_int64(0), c.byref(stream))
            step = block or len(rows)
            for start in range(0, len(rows), step):
                part, when = rows[start : start + step], np.ascontiguousarray(times[start : start + step])
                self.library.call("stream_push", stream, as_array(part), c.c_void_p(when.ctypes.data))
                while self.library.c.vaee_stream_next(stream, c.byref(event)):
                    events.append(_event(event, names))
            self.library.c.vaee_stream_close(stream)
        return {"events": events}


def _event(event: Event, names: tuple[str, ...]) -> Case:
    flagged = [i for i in range(event.features) if event.feature_faults[i]]
    return {
        "index": event.index,
        "time": event.time,
        "status": STATUSES[event.status],
        "score": event.score if event.scored else None,
        "is_anomaly": bool(event.is_anomaly) if event.scored and event.is_anomaly >= 0 else None,
        "alarm": STATES[event.alarm],
        "faults": [name for bit, name in FAULTS if event.faults & bit],
        "fault_features": [names[i] if i < len(names) else str(i) for i in flagged],
    }
