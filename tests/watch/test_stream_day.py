"""The synthetic day: what is planted is in the file, and the judge counts what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from blocks import read

from vae_edge.watch import open_source
from vae_edge_runtime.format.specs import InputSpec

SECONDS = 1200


def example(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "stream" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"stream_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_windows_of_a_second_begin_at_every_angle_of_the_pump() -> None:
    angles = example("day").stroke_angle(np.arange(0, 7200, 1.0)) % (2 * np.pi)
    share = np.histogram(angles, 20, (0, 2 * np.pi))[0] / len(angles)
    assert share.min() > 0.03
    assert share.max() < 0.07


def test_faults_are_in_the_file_where_the_list_says(tmp_path: Path) -> None:
    day = example("day")
    planted = day.write_rows(tmp_path / "day.csv", SECONDS, 0, planted=True)
    again = day.write_rows(tmp_path / "again.csv", SECONDS, 0, planted=True)
    assert planted == again
    assert (tmp_path / "day.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    spec = InputSpec((100, 6), "float32", "time_features", 0.0, 1.0, day.NAMES)
    rows = read(open_source(str(tmp_path / "day.csv"), spec, time_column="time").rows)
    assert rows.time is not None
    assert rows.missing is not None
    assert len(rows) == (SECONDS - 5 - 30) * day.RATE_HZ  # rows lost, and silence
    begin = {str(item["name"]): float(item["begin_s"]) for item in planted}

    def during(name: str, seconds: float) -> np.ndarray:
        return (rows.time >= begin[name]) & (rows.time < begin[name] + seconds)

    flow, pressure = rows.values[:, 2], rows.values[:, 1]
    np.testing.assert_array_equal(np.isnan(pressure), during("pressure sends NaN", 3))
    np.testing.assert_array_equal(rows.missing[:, 0], during("current leaves cells empty", 2))
    np.testing.assert_array_equal(flow == 60, during("flow jumps to 60", 2))
    assert (pressure[during("pressure repeats its value", 20)] == 3.21).sum() == 2000
    assert (rows.values[during("vib_x lies on its rail", 10), 3] == 1.5).sum() == 1000
    normal = day.write_rows(tmp_path / "good.csv", 60, 1, planted=False)
    assert len(normal) == len(planted)
    assert not np.isnan(read(open_source(str(tmp_path / "good.csv"), spec).rows).values).any()


def test_the_judge_counts_what_was_found_missed_and_invented() -> None:
    planted = [
        {"kind": "leak", "name": "a leak", "begin_s": 100, "end_s": 140, "fault": False},
        {"kind": "stuck", "name": "it sticks", "begin_s": 200, "end_s": 220, "fault": True},
        {"kind": "spike", "name": "a knock", "begin_s": 300, "end_s": 301, "fault": False},
    ]
    flags = {50: (True, []), 110: (True, []), 120: (True, []), 205: (False, ["gap"]), 210: (False, ["stuck"]),
             250: (False, ["gap"])}  # fmt: skip
    events = [{"kind": "decision", "time": float(t), "is_anomaly": a, "faults": f} for t, (a, f) in flags.items()]
    judge = example("judge")
    found = judge.judge(iter([*events, {"kind": "drift", "time": 60.0}]), planted)
    assert [(p["found"], p["delay_s"], p["flagged"]) for p in found["planted"]] == [
        (True, 10.0, 2),
        (True, 10.0, 1),
        (False, None, 0),
    ]
    assert (found["decisions"], found["false_alarms"], found["wrong_faults"], found["drifts"]) == (6, 1, 1, 1)
    assert "| anomaly: spike | a knock | 300 s | 1 s | NO, 0 decisions |  |" in judge.table(found)


@pytest.mark.parametrize("seconds", [1, 601])
def test_a_day_may_be_any_number_of_seconds(tmp_path: Path, seconds: int) -> None:
    example("day").write_rows(tmp_path / "day.csv", seconds, 0, planted=False)
    assert (tmp_path / "day.csv").read_text().count("\n") == 1 + seconds * 100
