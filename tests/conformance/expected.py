"""What a sound bundle gives, as cases: outputs with tolerances, and exact results where no engine takes part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures import TOLERANCES, bundles, rows_of

from vae_edge_runtime import VAE, Bundle, VaeEdgeError, load, verify
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.sampling.noise import philox_words, standard_normal
from vae_edge_runtime.sampling.prior import draw
from vae_edge_runtime.scoring.heads import combine
from vae_edge_runtime.statistics.conformal import ScoreSketch
from vae_edge_runtime.stream.alarm import Alarm
from vae_edge_runtime.stream.guard import Guard
from vae_edge_runtime.stream.rows import Rows

Case = dict[str, Any]


class Arrays:
    """Writes arrays as raw little-endian files, and gives what a case says of each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, array: np.ndarray) -> dict[str, Any]:
        """``file``, ``dtype`` and ``shape`` of an array that lies in ``data/`` now."""
        path = f"data/{name.replace('/', '.')}.bin"
        kind = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
        (self._folder / path).write_bytes(np.ascontiguousarray(array, kind).tobytes())
        return {"file": path, "dtype": array.dtype.name, "shape": list(array.shape)}


def listed(values: np.ndarray | None) -> list[Any] | None:
    """Numbers for JSON: what is not a number is null."""
    if values is None:
        return None
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist()]


def noise_cases(arrays: Arrays) -> Iterator[Case]:
    """Random words and normal numbers, bit for bit."""
    for name, seed, stream, count in (
        ("seed-0", 0, 0, 64), ("seed-7", 7, 0, 4096), ("largest-seed", (1 << 64) - 1, (1 << 64) - 1, 64),
        ("stream-2", 0, 2, 64), ("one", 1, 0, 1), ("none", 1, 0, 0),
    ):  # fmt: skip
        key = {"seed": str(seed), "stream": str(stream), "count": count}
        words, normal = (f(count, seed=seed, stream=stream) for f in (philox_words, standard_normal))
        yield {"id": f"words/{name}", "do": "words", **key, "expect": {"words": arrays.write(f"words/{name}", words)}}
        yield {"id": f"noise/{name}", "do": "noise", **key, "expect": {"noise": arrays.write(f"noise/{name}", normal)}}


def corpus_cases(arrays: Arrays) -> Iterator[Case]:
    """Every variant of every bundle of the corpus."""
    for path in bundles():
        with Bundle.open(path) as bundle:
            variants, bundle_id = sorted(bundle.manifest.variants), bundle.bundle_id
            members = len(bundle.manifest.members) + 1
        name, file = path.stem, f"../corpus/{path.name}"
        yield {"id": f"open/{name}", "do": "open", "bundle": file,
               "expect": {"bundle_id": bundle_id, "variants": variants}}  # fmt: skip
        yield {"id": f"verify/{name}", "do": "verify", "bundle": file,
               "expect": {"ok": verify(path, threads=1).ok, "members": members}}  # fmt: skip
        for variant in variants:
            with load(path, device="cpu", variant=variant, threads=1) as vae:
                yield from _variant_cases(arrays, vae, name, file, variant)


def _variant_cases(arrays: Arrays, vae: VAE, name: str, file: str, variant: str) -> Iterator[Case]:
    first = variant == sorted(vae.manifest.variants)[0]
    tolerance, slug = TOLERANCES[variant], f"{name}/{variant}"
    base = {"bundle": file, "variant": variant}
    x, condition = rows_of(vae)
    if x.dtype == np.float32:
        x = x.copy()
        x.reshape(len(x), -1)[1, -1] = np.nan
    rows = {"x": arrays.write(f"{name}.x", x)}
    if condition is not None:
        rows["condition"] = arrays.write(f"{name}.condition", condition)
    scores = vae.score(x, condition=condition, heads="all", maps=True)
    spec, sketches = vae.manifest.score, vae._scorer.fitted.sketches
    bounds = {h: _bounds(s.score, tolerance) for h, s in scores.heads.items() if HEADS[h].computed != "p_values"}
    p_bounds = {head: _p_bounds(sketches.get(head), *low_high) for head, low_high in bounds.items()}
    for head in spec.computed("p_values"):
        low, high = ([p_bounds[part][i] for part in spec.parts] for i in (0, 1))
        bounds[head] = _widened(combine(head, high), combine(head, low))
        p_bounds[head] = _p_bounds(sketches.get(head), *bounds[head])
    heads = {}
    for head, result in scores.heads.items():
        (low, high), (p_low, p_high) = bounds[head], p_bounds[head]
        sure = (low > result.threshold) | (high <= result.threshold)
        decisions = [bool(a) if s or not np.isfinite(v) else None
                     for a, s, v in zip(result.is_anomaly, sure, result.score, strict=True)]  # fmt: skip
        heads[head] = {"threshold": result.threshold, "score_low": listed(low), "score_high": listed(high),
                       "p_low": listed(p_low), "p_high": listed(p_high), "is_anomaly": decisions}  # fmt: skip

    def output(what: str, array: np.ndarray, relative: float = tolerance) -> dict[str, Any]:
        return arrays.write(f"{slug}.{what}", array) | {"tolerance_relative": relative}

    expect: dict[str, Any] = {"status": scores.status.tolist(), "heads": heads}
    expect |= {"reconstruction": output("reconstruction", scores.reconstruction), "map": output("map", scores.map)}
    if scores.kl is not None:
        expect["kl"] = output("kl", scores.kl)
    yield {"id": f"score/{slug}", "do": "score", **base, **rows, "heads": "all", "maps": True, "expect": expect}
    plain = vae.score(x, condition=condition, threshold=0.5)
    yield {"id": f"score-at-a-threshold/{slug}", "do": "score", **base, **rows, "threshold": 0.5,
           "expect": {"status": plain.status.tolist(), "heads": {spec.heads[0]: heads[spec.heads[0]] | {
               "threshold": 0.5, "is_anomaly": [
                   bool(a) if not abs(s - 0.5) <= tolerance * max(1, abs(s)) else None
                   for a, s in zip(plain.is_anomaly, plain.score, strict=True)]}}}}  # fmt: skip
    posterior = vae.encode(x, condition=condition)
    encoded = {"status": posterior.status.tolist(), "mean": output("mean", posterior.mean)}
    if posterior.logvar is not None:
        encoded["logvar"] = output("logvar", posterior.logvar)
    if posterior.indices is not None:
        encoded["indices"] = output("indices", posterior.indices, 0.0)
    yield {"id": f"encode/{slug}", "do": "encode", **base, **rows, "expect": encoded}
    good = posterior.status == 0
    z = (posterior.mean if posterior.indices is None else posterior.indices)[good]
    beside = {} if condition is None else {"condition": arrays.write(f"{slug}.z-condition", condition[good])}
    x_hat = vae.decode(z, condition=None if condition is None else condition[good])
    yield {"id": f"decode/{slug}", "do": "decode", **base, "z": arrays.write(f"{slug}.z", z), **beside,
           "expect": {"x_hat": output("x_hat", x_hat)}}  # fmt: skip
    if first:
        yield from _prior_cases(arrays, vae, name, base, tolerance)
    for head, sketch in sketches.items():
        yield _decide(arrays, f"{slug}/{head}", base, head, sketch, vae.calibrations[head].threshold)
    yield {"id": f"threshold-for/{slug}", "do": "threshold_for", **base, "expect": {"thresholds": [
        {"head": head, "method": method, "rate": rate, **_outcome(
            lambda h=head, m=method, r=rate: vae.threshold_for(r, head=h, method=m))}
        for head in vae.calibrations for method in ("conformal", "tail") for rate in (0.5, 0.05, 0.001)
    ]}}  # fmt: skip


def _prior_cases(arrays: Arrays, vae: VAE, name: str, base: Case, tolerance: float) -> Iterator[Case]:
    latent = vae.manifest.latent
    case = {**base, "n": 5, "seed": "7", "temperature": 1.0}
    if latent.prior.kind == "none":
        yield {"id": f"sample/{name}", "do": "sample", **case, "error": "OptionError"}
        return
    drawn = draw(latent, vae._prior_numbers(), 5, seed=7, temperature=1.0)
    yield {"id": f"latents/{name}", "do": "latents", **case, "expect": {"z": arrays.write(f"{name}.latents", drawn)}}
    condition = None
    if (spec := vae.manifest.condition) is not None:
        golden = vae.read_member(vae.manifest.golden.condition or "")
        condition = np.frombuffer(golden, spec.dtype).reshape(-1, *spec.shape)[:1].repeat(5, axis=0)
        case["condition"] = arrays.write(f"{name}.sample-condition", condition)
    x_hat = vae.sample(5, seed=7, condition=condition)
    expect = {"x_hat": arrays.write(f"{name}.sample", x_hat) | {"tolerance_relative": tolerance}}
    yield {"id": f"sample/{name}", "do": "sample", **case, "expect": expect}
    if latent.prior.kind == "categorical":
        yield {"id": f"sample-warm/{name}", "do": "sample", **case, "temperature": 0.5, "error": "OptionError"}
    else:
        cool = draw(latent, vae._prior_numbers(), 5, seed=(1 << 64) - 1, temperature=0.5)
        yield {"id": f"latents-cool/{name}", "do": "latents", **case, "seed": str((1 << 64) - 1), "temperature": 0.5,
               "expect": {"z": arrays.write(f"{name}.latents-cool", cool)}}  # fmt: skip


def _bounds(score: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest score (n,) that an engine may give, float32."""
    wide = score.astype(np.float64)
    margin = tolerance * np.maximum(np.abs(wide), np.sqrt(np.nanmean(np.square(wide))))
    return (wide - margin).astype(np.float32), (wide + margin).astype(np.float32)


def _widened(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds with room for another order of a sum and another logarithm."""
    return low - np.float32(1e-6) * np.abs(low), high + np.float32(1e-6) * np.abs(high)


def _p_bounds(sketch: ScoreSketch | None, low: np.ndarray, high: np.ndarray) -> tuple[Any, Any]:
    return (None, None) if sketch is None else (sketch.p_values(high), sketch.p_values(low))


def _decide(arrays: Arrays, slug: str, base: Case, head: str, sketch: ScoreSketch, threshold: float) -> Case:
    """P-values and decisions of given scores, exactly: no engine takes part."""
    values = sketch.values
    step = max(1, len(values) // 8)
    chosen = [values[::step], np.nextafter(values[::step], np.float32(np.inf)), np.float32([threshold])]
    near = np.nextafter(np.float32(threshold), np.float32([-np.inf, np.inf]))
    scores = np.concatenate([*chosen, near, np.float32([-np.inf, np.inf, np.nan, -1e30, 1e30])]).astype(np.float32)
    return {
        "id": f"decide/{slug}", "do": "decide", **base, "head": head,
        "scores": arrays.write(f"decide.{slug}", scores),
        "expect": {"p_value": listed(sketch.p_values(scores)), "is_anomaly": (scores > np.float64(threshold)).tolist()},
    }  # fmt: skip


def _outcome(call: Any) -> Case:
    try:
        return {"threshold": float(call())}
    except VaeEdgeError as error:
        return {"error": type(error).__name__}


def calls(arrays: Arrays) -> Iterator[Case]:
    """Calls that are refused, or have nothing to do, with the error."""
    x = arrays.write("sound.x", np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4))
    sound = {"bundle": "bundles/sound.vaeb"}
    none = arrays.write("sound.none", np.zeros((0, 4), np.float32))
    empty: Case = {"threshold": None, "score_low": [], "score_high": [], "p_low": [], "p_high": [], "is_anomaly": []}
    yield {"id": "score/no-rows", "do": "score", **sound, "x": none, "expect": {"status": [], "heads": {"elbo": empty}}}
    bad = np.full((3, 4), np.nan, np.float32)
    bad[1] = np.inf
    bad[2] = 3e38  # squared it is infinite: the row is finite, and its score is not
    nothing = [None] * 3
    empty = {"threshold": None, "score_low": nothing, "score_high": nothing, "p_low": nothing, "p_high": nothing,
             "is_anomaly": [False] * 3}  # fmt: skip
    yield {"id": "score/no-finite-row", "do": "score", **sound, "x": arrays.write("sound.bad", bad),
           "expect": {"status": [1, 1, 2], "heads": {"elbo": empty}}}  # fmt: skip
    wide = arrays.write("sound.wide", np.zeros((2, 5), np.float32))
    whole = arrays.write("sound.uint8", np.zeros((2, 4), np.uint8))
    label, codes = "../corpus/v1-label.vaeb", "../corpus/v1-codes.vaeb"
    with load(Path(__file__).parent / label, threads=1) as vae:
        labelled, labels = rows_of(vae)
        assert labels is not None
        assert vae.manifest.condition is not None
        beyond = np.full_like(labels, int(vae.manifest.condition.high) + 1)
    with load(Path(__file__).parent / codes, threads=1) as vae:
        outside = np.full((1, *vae.manifest.latent.shape), vae.manifest.latent.codebook)
    rows = arrays.write("label.rows", labelled)
    for name, error, case in (
        ("unknown-head", "OptionError", {"do": "score", **sound, "x": x, "heads": ["psychic"]}),
        ("unknown-variant", "OptionError", {"do": "score", **sound, "x": x, "variant": "int4"}),
        ("other-shape", "InputError", {"do": "score", **sound, "x": wide}),
        ("other-dtype", "InputError", {"do": "score", **sound, "x": whole}),
        ("condition-for-none", "InputError",
         {"do": "score", **sound, "x": x, "condition": arrays.write("sound.labels", np.zeros(2, np.int64))}),
        ("condition-missing", "InputError", {"do": "score", "bundle": label, "x": rows}),
        ("label-out-of-range", "InputError",
         {"do": "score", "bundle": label, "x": rows, "condition": arrays.write("label.beyond", beyond)}),
        ("index-out-of-the-codebook", "InputError",
         {"do": "decode", "bundle": codes, "z": arrays.write("codes.outside", outside)}),
        ("latent-not-finite", "InputError",
         {"do": "decode", **sound, "z": arrays.write("sound.z-nan", np.full((1, 2), np.nan, np.float32))}),
        ("temperature-below-0", "OptionError",
         {"do": "sample", **sound, "n": 1, "seed": "1", "temperature": -1.0}),
        ("too-many-rows", "OptionError", {"do": "sample", **sound, "n": 1 << 62, "seed": "1", "temperature": 1.0}),
    ):  # fmt: skip
        yield {"id": f"refused/{name}", **case, "error": error}


def stream_cases(arrays: Arrays) -> Iterator[Case]:
    """Guard and alarm, exactly, and whole streams."""
    rng = np.random.default_rng(5)
    for name in ("v1-vector", "v1-window", "v1-picture", "v1-table", "v1-gaussian"):
        path = Path(__file__).parent / f"../corpus/{name}.vaeb"
        with load(path, device="cpu", threads=1) as vae:
            manifest = vae.manifest
            if manifest.stream is None or manifest.condition is not None:
                continue
            rows, times = _sensor_rows(rng, vae)
            base = {"bundle": f"../corpus/{name}.vaeb", "rows": arrays.write(f"stream.{name}", rows),
                    "times": listed(times)}  # fmt: skip
            guard = Guard(manifest.stream.guard, manifest.input)
            flags = guard.check(Rows(rows, times))
            yield {"id": f"guard/{name}", "do": "guard", **base, "expect": {
                "flags": arrays.write(f"guard.{name}", flags), "steps": guard.steps.tolist()}}  # fmt: skip
            events = list(vae.stream([Rows(rows, times)], drift=False, maps="off", top=0))
            threshold = vae.calibrations[vae.heads[0]].threshold
            sure = all(e.score is None or abs(e.score - threshold) > 1e-4 * max(1, abs(threshold)) for e in events)
            assert sure, name
            yield {"id": f"stream/{name}", "do": "stream", **base, "expect": {"events": [
                {"index": e.index, "time": e.time, "status": e.status, "score": e.score, "is_anomaly": e.is_anomaly,
                 "faults": list(e.faults), "fault_features": list(e.fault_features), "alarm": e.alarm}
                for e in events]}, "tolerance_relative": TOLERANCES["fp32"]}  # fmt: skip
    for name, spec in (("1-of-1", AlarmSpec(1, 1, 1, 0.1, 0)), ("3-of-5", AlarmSpec(3, 5, 4, 0.2, 6))):
        decisions = [
            (None, None) if draw < 0.1 else (bool(draw < 0.5), None if draw > 0.9 else round(float(p), 3))
            for draw, p in rng.random((200, 2))
        ]
        alarm = Alarm(spec)
        rules = {key: getattr(spec, key) for key in ("raise_after", "of", "clear_after", "clear_rate", "cool_down")}
        states = [alarm.step(*decision) for decision in decisions]
        assert len(set(states)) == 4
        yield {"id": f"alarm/{name}", "do": "alarm", "rules": rules, "decisions": decisions,
               "expect": {"states": states}}  # fmt: skip


def _sensor_rows(rng: np.random.Generator, vae: VAE) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a stream with every kind of fault in it, and their times in seconds."""
    spec, rules = vae.manifest.input, vae.manifest.stream
    assert rules is not None
    row = spec.shape[1:] if spec.layout == "time_features" else spec.shape
    n = 6 * spec.shape[0] if spec.layout == "time_features" else 120 if len(row) == 1 else 12
    low, high = np.array(rules.guard.low), np.array(rules.guard.high)
    rows = low + (high - low) * rng.uniform(0.2, 0.8, (n, *row))
    if len(row) == 1:
        rows[3] += 0.3 * (high - low)
        rows[n // 6 : n // 6 + 8] = 1e4 * (np.abs(high) + 1)
        stuck = min(n - n // 3, max(rules.guard.stuck_rows + 5, 10))
        rows[n // 3 : n // 3 + stuck, 0] = rows[n // 3, 0]
        rows[2 * n // 3 :, -1] = high[-1]
    rows = rows.astype(spec.dtype)
    if spec.dtype == "float32":
        rows.reshape(n, -1)[n // 2, 0] = np.nan
    period = rules.guard.period_s or 1.0
    times = period * np.arange(n, dtype=np.float64)
    times[n // 4 :] += 10 * period
    times[n // 5] = times[n // 5 - 1] - period
    return rows, times
