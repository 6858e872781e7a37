"""A synthetic day of six sensors at 100 Hz, with faults of every kind and anomalies planted at known times."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

RATE_HZ = 100
NAMES = ("current", "pressure", "flow", "vib_x", "vib_y", "temp")
BLOCK_S = 600

# kind, name, share of the day at which it begins, seconds it lasts, what it does
FAULTS = (
    ("non_finite", "pressure sends NaN", 0.05, 3),
    ("out_of_range", "flow jumps to 60", 0.15, 2),
    ("stuck", "pressure repeats its value", 0.25, 20),
    ("saturated", "vib_x lies on its rail", 0.35, 10),
    ("gap", "rows are lost", 0.45, 5),
    ("gap", "current leaves cells empty", 0.55, 2),
    ("stale", "the source falls silent", 0.65, 30),
)
ANOMALIES = (
    ("bearing tone", "31 Hz on vib_x and vib_y", 0.10, 30),
    ("phase shift", "flow lags pressure", 0.20, 40),
    ("broken coupling", "flow no longer follows pressure", 0.30, 30),
    ("leak", "pressure sinks slowly by 1.5", 0.60, 240),
    ("spike", "one knock of 0.1 s in current", 0.75, 1),
    ("loss of load", "current falls by a half", 0.85, 20),
)


def stroke_angle(time: np.ndarray) -> np.ndarray:
    """Of the pump, in radians: some 1.5 Hz that wander, so that a window may begin anywhere in a stroke.

    At exactly 1.5 Hz windows of 1 s would begin at two angles only, and a stream that starts 0.1 s later
    would look like nothing the model has seen.
    """
    return 2 * np.pi * (1.5 * time + 3 * np.sin(2 * np.pi * time / 310))


def signals(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows (n, 6): a pump at two speeds of oscillation, a load that changes over minutes, noise."""
    load = 1.0 + 0.2 * np.sin(2 * np.pi * time / 1200) + 0.1 * np.sin(2 * np.pi * time / 170)
    stroke, valve = stroke_angle(time), 2 * np.pi * 0.37 * time
    noise = rng.normal(size=(len(time), len(NAMES))) * (0.05, 0.05, 0.05, 0.08, 0.08, 0.02)
    clean = (
        2.0 * load + 0.5 * np.sin(stroke),
        3.0 * load + np.sin(stroke + 0.6) + 0.3 * np.sin(valve),
        2.5 * load + 0.8 * np.sin(stroke + 1.1) + 0.2 * np.sin(valve + 0.5),
        0.4 * load * np.sin(3 * stroke),
        0.4 * load * np.cos(3 * stroke),
        1.0 + 0.5 * load,
    )
    return np.stack(clean, axis=1) + noise


def plant(x: np.ndarray, time: np.ndarray, begin: float, seconds: float, name: str) -> None:
    """Change the rows of one block in place where the anomaly ``name`` is under way."""
    at = (time >= begin) & (time < begin + seconds)
    if not at.any():
        return
    t = time[at]
    if name == "bearing tone":
        x[at, 3] += 0.5 * np.sin(2 * np.pi * 31 * t)
        x[at, 4] += 0.5 * np.cos(2 * np.pi * 31 * t)
    elif name == "phase shift":
        x[at, 2] += 0.8 * (np.sin(stroke_angle(t) - 0.4) - np.sin(stroke_angle(t) + 1.1))
    elif name == "broken coupling":
        x[at, 2] -= 0.8 * np.sin(stroke_angle(t) + 1.1)
    elif name == "leak":
        x[at, 1] -= 1.5 * (t - begin) / seconds
    elif name == "spike":
        x[at & (time < begin + 0.1), 0] += 1.5
    else:
        x[at, 0] *= 0.5


def break_sensors(x: np.ndarray, time: np.ndarray, begin: float, seconds: float, kind: str, name: str) -> np.ndarray:
    """Faults of one block in place; which rows are sent at all, (n,) bool. An empty cell is -inf here."""
    at = (time >= begin) & (time < begin + seconds)
    if not at.any():
        return np.ones(len(x), dtype=bool)
    if kind == "non_finite":
        x[at, 1] = np.nan
    elif kind == "out_of_range":
        x[at, 2] = 60.0
    elif kind == "stuck":
        x[at, 1] = 3.21
    elif kind == "saturated":
        x[at, 3] = 1.5
    elif name.startswith("current"):
        x[at, 0] = -np.inf
    else:
        return ~at
    return np.ones(len(x), dtype=bool)


def write_rows(path: Path, seconds: int, seed: int, *, planted: bool) -> list[dict[str, object]]:
    """Write CSV in blocks; returns what was planted, with its times."""
    events: list[dict[str, object]] = []
    for fault, table in ((True, FAULTS), (False, ANOMALIES)):
        for kind, name, share, length in table:
            begin = round(share * seconds)
            events.append({"kind": kind, "name": name, "begin_s": begin, "end_s": begin + length, "fault": fault})
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="ascii") as file:
        file.write(",".join(("time", *NAMES)) + "\n")
        for start in range(0, seconds, BLOCK_S):
            time = start + np.arange(min(BLOCK_S, seconds - start) * RATE_HZ) / RATE_HZ
            x = signals(time, rng)
            sent = np.ones(len(x), dtype=bool)
            for event in events if planted else ():
                begin, length = float(event["begin_s"]), float(event["end_s"]) - float(event["begin_s"])  # type: ignore[arg-type]
                if event["fault"]:
                    sent &= break_sensors(x, time, begin, length, str(event["kind"]), str(event["name"]))
                else:
                    plant(x, time, begin, length, str(event["kind"]))
            for t, row in zip(time[sent].tolist(), x[sent].tolist(), strict=True):
                file.write(f"{t:.2f}," + ",".join("" if v == -np.inf else f"{v:.4f}" for v in row) + "\n")
    return events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/day"))
    parser.add_argument("--seconds", type=int, default=86_400, help="of the watched rows")
    parser.add_argument(
        "--normal-seconds", type=int, default=7_200, help="of the rows to train on, and to calibrate with"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, seed in (("train.csv", options.seed + 1), ("good.csv", options.seed + 2)):
        write_rows(options.output / name, options.normal_seconds, seed, planted=False)
    events = write_rows(options.output / "day.csv", options.seconds, options.seed, planted=True)
    (options.output / "planted.json").write_text(json.dumps(events, indent=2))


if __name__ == "__main__":
    main()
