"""Runs the cases of the conformance suite against one runtime, and says where its answers differ.

A runtime is an object with a method for each kind of case (``Runtime``). It raises ``Refused`` with the name of the
error where it refuses.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

HERE = Path(__file__).parent
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where 18,000 changed bundles are written one after the other: on a disk they take a minute."""
Case = dict[str, Any]


class Refused(Exception):
    """A runtime refused; ``name`` is that of the error."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class Runtime(Protocol):
    """What a language brings; every method takes plain values and arrays, and gives plain values and arrays."""

    def open(self, bundle: Path) -> Case: ...
    def verify(self, bundle: Path) -> Case: ...
    def score(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None, heads: Any, maps: bool,
              threshold: float | None) -> Case: ...  # fmt: skip
    def encode(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None) -> Case: ...
    def decode(self, bundle: Path, variant: str, z: np.ndarray, condition: np.ndarray | None) -> Case: ...
    def sample(self, bundle: Path, variant: str, n: int, seed: int, temperature: float,
               condition: np.ndarray | None) -> Case: ...  # fmt: skip
    def latents(self, bundle: Path, variant: str, n: int, seed: int, temperature: float) -> Case: ...
    def words(self, seed: int, stream: int, count: int) -> Case: ...
    def noise(self, seed: int, stream: int, count: int) -> Case: ...
    def decide(self, bundle: Path, variant: str, head: str, scores: np.ndarray) -> Case: ...
    def threshold_for(self, bundle: Path, variant: str, head: str, method: str, rate: float) -> float: ...
    def guard(self, bundle: Path, rows: np.ndarray, times: np.ndarray) -> Case: ...
    def alarm(self, rules: Case, decisions: list[Any]) -> Case: ...
    def stream(self, bundle: Path, rows: np.ndarray, times: np.ndarray) -> Case: ...


@functools.cache
def cases() -> dict[str, Case]:
    """By id."""
    return {case["id"]: case for case in json.loads((HERE / "cases.json").read_text("utf-8"))["cases"]}


def array(said: Case | None) -> np.ndarray | None:
    """The array that a case points at."""
    if said is None:
        return None
    kind = np.dtype(said["dtype"])
    raw = np.frombuffer((HERE / said["file"]).read_bytes(), kind.newbyteorder("<"))
    return raw.astype(kind).reshape(said["shape"])


def bundle_bytes(bundle: Any) -> bytes:
    """The bytes of a bundle: a file, or pieces of a file and digits between them."""
    if isinstance(bundle, str):
        return (HERE / bundle).read_bytes()
    base = bundle_bytes(bundle["of"])
    return b"".join(
        bytes.fromhex(piece) if isinstance(piece, str) else base[piece[0] : piece[0] + piece[1]]
        for piece in bundle["pieces"]
    )


def changed(case: Case) -> Iterator[bytes]:
    """The bundles of a sweep: cut after each byte, or one bit of each byte changed (bit ``at % 8`` of byte ``at``)."""
    good = bundle_bytes(case["bundle"])
    for at in range(len(good)):
        if case["change"] == "truncate":
            yield good[:at]
        else:
            yield good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]


def sweep_runs(case: Case, runtime: Runtime | None = None) -> list[list[Any]]:
    """What each bundle of a sweep is refused by, as [how many in a row, name of the error]."""
    runtime = runtime or python()
    names = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "changed.vaeb"
        for raw in changed(case):
            path.write_bytes(raw)
            try:
                runtime.open(path)
                names.append("accepted")
            except Refused as refused:
                names.append(refused.name)
    return [[len(list(group)), name] for name, group in itertools.groupby(names)]


def python() -> Runtime:
    """The Python runtime."""
    from python_runtime import PythonRuntime

    return PythonRuntime()


def run(case: Case, runtime: Runtime) -> None:
    """Run one case.

    Raises:
        AssertionError: the answer is not the expected one.
    """
    if case["do"] == "sweep":
        assert sweep_runs(case, runtime) == case["expect"]["runs"]
        return
    error = None
    try:
        answer = _asked(case, runtime)
    except Refused as refused:
        error = refused.name
    wanted = case.get("error")
    assert error == wanted, f"{error or 'accepted'} instead of {wanted or 'an answer'}"
    if wanted:
        return
    _COMPARED.get(case["do"], _plainly)(case, answer)


def _asked(case: Case, runtime: Runtime) -> Case:
    do, variant = case["do"], case.get("variant", "auto")
    if do in ("words", "noise"):
        return getattr(runtime, do)(int(case["seed"]), int(case["stream"]), case["count"])  # type: ignore[no-any-return]
    if do == "alarm":
        return runtime.alarm(case["rules"], case["decisions"])
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        bundle = HERE / case["bundle"] if isinstance(case["bundle"], str) else Path(folder) / "made.vaeb"
        if not isinstance(case["bundle"], str):
            bundle.write_bytes(bundle_bytes(case["bundle"]))
        if do in ("open", "verify"):
            return getattr(runtime, do)(bundle)  # type: ignore[no-any-return]
        x, z, condition = (array(case.get(name)) for name in ("x", "z", "condition"))
        if do in ("guard", "stream"):
            rows = array(case["rows"])
            assert rows is not None
            return getattr(runtime, do)(bundle, rows, np.array(case["times"]))  # type: ignore[no-any-return]
        if do == "score":
            assert x is not None
            heads, maps = case.get("heads", []), case.get("maps", False)
            return runtime.score(bundle, variant, x, condition, heads, maps, case.get("threshold"))
        if do == "encode":
            assert x is not None
            return runtime.encode(bundle, variant, x, condition)
        if do == "decode":
            assert z is not None
            return runtime.decode(bundle, variant, z, condition)
        if do == "decide":
            scores = array(case["scores"])
            assert scores is not None
            return runtime.decide(bundle, variant, case["head"], scores)
        if do == "threshold_for":
            return {"thresholds": [_threshold(runtime, bundle, variant, asked)
                                   for asked in case["expect"]["thresholds"]]}  # fmt: skip
        drawn = bundle, variant, case["n"], int(case["seed"]), case["temperature"]
        return runtime.latents(*drawn) if do == "latents" else runtime.sample(*drawn, condition)


def _threshold(runtime: Runtime, bundle: Path, variant: str, asked: Case) -> Case:
    key = {name: asked[name] for name in ("head", "method", "rate")}
    try:
        return {**key, "threshold": runtime.threshold_for(bundle, variant, **key)}
    except Refused as refused:
        return {**key, "error": refused.name}


def _plainly(case: Case, answer: Case) -> None:
    """Arrays and values as the case expects them; the answer may hold more."""
    for name, wanted in case["expect"].items():
        if isinstance(wanted, dict) and "file" in wanted:
            expected, got = array(wanted), np.asarray(answer[name])
            assert expected is not None
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape), name
            if "tolerance_relative" in wanted:
                near(got, expected, wanted["tolerance_relative"], name)
            else:
                assert got.tobytes() == expected.tobytes(), name
        else:
            assert answer[name] == wanted, f"{name}: {answer[name]} instead of {wanted}"


def near(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Equal within a tolerance relative to max(|expected|, rms of expected); of uint8 one step is none."""
    if expected.dtype == np.int64 or not expected.size:
        assert np.array_equal(got, expected), what
        return
    rounding = 1.0 if expected.dtype == np.uint8 else 0.0
    a, b = got.astype(np.float64), expected.astype(np.float64)
    assert np.array_equal(np.isnan(a), np.isnan(b)), f"{what}: not a number in other places"
    known = ~np.isnan(b)
    if known.any():
        size = np.maximum(np.abs(b[known]), np.sqrt(np.mean(np.square(b[known]))))
        worst = float((np.maximum(np.abs(a[known] - b[known]) - rounding, 0) - tolerance * size).max())
        assert worst <= 0, f"{what}: {worst} beyond the tolerance {tolerance}"


def _scores(case: Case, answer: Case) -> None:
    expect = dict(case["expect"])
    heads = expect.pop("heads")
    assert sorted(answer["heads"]) == sorted(heads)
    for head, wanted in heads.items():
        got = answer["heads"][head]
        if wanted["threshold"] is not None:
            assert got["threshold"] == wanted["threshold"], head
        _between(got["score"], wanted["score_low"], wanted["score_high"], f"score of {head}")
        if wanted["p_low"] is not None:
            _between(got["p_value"], wanted["p_low"], wanted["p_high"], f"p-value of {head}")
        for row, (is_anomaly, known) in enumerate(zip(got["is_anomaly"], wanted["is_anomaly"], strict=True)):
            assert known is None or bool(is_anomaly) == known, f"decision of {head} on row {row}"
    _plainly({"expect": expect}, answer)


def _between(got: Any, low: list[Any], high: list[Any], what: str) -> None:
    assert len(got) == len(low), what
    for row, (value, a, b) in enumerate(zip(got, low, high, strict=True)):
        inside = math.isnan(value) if a is None else a <= value <= b
        assert inside, f"{what}: {value} of row {row} is not from {a} to {b}"


def _decided(case: Case, answer: Case) -> None:
    p_values = [None if math.isnan(p) else float(p) for p in answer["p_value"]]
    assert p_values == case["expect"]["p_value"]
    assert [bool(a) for a in answer["is_anomaly"]] == case["expect"]["is_anomaly"]


def _thresholds(case: Case, answer: Case) -> None:
    for got, wanted in zip(answer["thresholds"], case["expect"]["thresholds"], strict=True):
        assert got.keys() == wanted.keys(), f"{got} instead of {wanted}"
        if "threshold" in wanted:
            relative = 0.0 if wanted["method"] == "conformal" else 1e-12
            assert math.isclose(got["threshold"], wanted["threshold"], rel_tol=relative, abs_tol=0), wanted
        else:
            assert got["error"] == wanted["error"], wanted


def _events(case: Case, answer: Case) -> None:
    events, expected = answer["events"], case["expect"]["events"]
    assert len(events) == len(expected)
    scale = max((abs(e["score"]) for e in expected if e["score"] is not None), default=0.0)
    for got, wanted in zip(events, expected, strict=True):
        for name in wanted.keys() - {"score"}:
            assert got[name] == wanted[name], f"{name} of row {wanted['index']}: {got[name]}, not {wanted[name]}"
        if wanted["score"] is None:
            assert got["score"] is None, wanted["index"]
        else:
            assert abs(got["score"] - wanted["score"]) <= case["tolerance_relative"] * scale, wanted["index"]


_COMPARED: dict[str, Callable[[Case, Case], None]] = {
    "score": _scores, "decide": _decided, "threshold_for": _thresholds, "stream": _events,
}  # fmt: skip
