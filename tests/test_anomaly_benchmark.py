"""The benchmark of anomaly detection: its cuts are clean, its writer says what it was given, its page is its own."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks" / "anomaly"))

import nab_series  # noqa: E402
import page_text  # noqa: E402
import public_data  # noqa: E402
from benchmark_page import HEADER, OTHERS, TIME_HEADER, page, table, verdict  # noqa: E402
from measurement import measure  # noqa: E402
from model_settings import RATE, SETTINGS  # noqa: E402
from over_seeds import Spread, methods  # noqa: E402
from public_data import Case, Folders, cases, split  # noqa: E402

from vae_edge_runtime.errors import DataError  # noqa: E402

PAGE = ROOT / "docs" / "anomaly-benchmark.md"


def _table_rows(n_normal: int, n_anomalous: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(n_normal, 4)).astype(np.float32)
    normal[:, 1] = normal[:, 0]
    anomalous = rng.normal(size=(n_anomalous, 4)).astype(np.float32) + np.float32([4, -4, 4, -4])
    return np.concatenate([normal, anomalous]), np.arange(n_normal + n_anomalous) >= n_normal


def test_half_of_the_normal_rows_train_and_a_third_of_the_rest_calibrates() -> None:
    rows, anomalous = np.arange(140)[:, None], np.arange(140) >= 120
    cut = split("numbers", rows, anomalous, seed=3)
    test = cut.tests["numbers"]
    assert (len(cut.training), len(cut.calibration), len(test.rows)) == (60, 20, 60)
    assert test.anomalous.sum() == 20
    everything = np.concatenate([cut.training, cut.calibration, test.rows]).ravel()
    assert sorted(everything.tolist()) == list(range(140))  # no row comes twice
    assert max(cut.training.max(), cut.calibration.max()) < 120  # no anomaly trains or calibrates


def test_no_more_than_3000_rows_train() -> None:
    cut = split("many", np.arange(9000)[:, None], np.arange(9000) >= 8000, seed=0)
    assert (len(cut.training), len(cut.calibration), len(cut.tests["many"].rows)) == (3000, 1333, 2667 + 1000)


def test_another_seed_is_another_split_and_the_same_seed_the_same() -> None:
    rows, anomalous = np.arange(100)[:, None], np.arange(100) >= 90
    first, again, other = (split("x", rows, anomalous, seed=seed).training for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_normal_rows_are_refused() -> None:
    with pytest.raises(DataError, match="11 normal rows"):
        split("few", np.zeros((12, 2)), np.arange(12) == 11, seed=0)


def test_windows_of_a_series_end_at_every_tested_step_and_never_train_on_an_anomaly() -> None:
    values = np.arange(1000, dtype=np.float32)
    anomalous = (values >= 250) & (values < 260)
    cut = nab_series.cut(values, anomalous, "ramp")
    assert cut.training[-1, -1, 0] == 250 * 2 // 3 - 1
    assert (cut.calibration[0, 0, 0], cut.calibration[-1, -1, 0]) == (250 * 2 // 3, 249)
    assert np.array_equal(cut.test[:, -1, 0], np.arange(250, 1000))
    assert np.flatnonzero(cut.anomalous).tolist() == list(range(10))
    assert cut.test.shape == (750, 32, 1)


def test_at_most_30_percent_of_a_series_train_and_calibrate() -> None:
    values = np.arange(1000, dtype=np.float32)
    cut = nab_series.cut(values, values >= 900, "late")
    assert cut.calibration[-1, -1, 0] == 299


def test_a_series_with_an_early_anomaly_or_too_few_steps_is_refused() -> None:
    values = np.arange(1000, dtype=np.float32)
    with pytest.raises(DataError, match="first 15%"):
        nab_series.cut(values, values == 149, "early")
    with pytest.raises(DataError, match="too few for windows of 32"):
        nab_series.cut(values[:300], values[:300] == 200, "short")


def test_a_series_is_read_with_its_labelled_stretches(tmp_path: Path) -> None:
    lines = [f"2020-01-01 00:{minute:02}:00,{minute / 2}" for minute in range(60)]
    (tmp_path / "s.csv").write_text("\n".join(["timestamp,value", *lines]) + "\n", encoding="utf-8")
    stretches = {"s.csv": [["2020-01-01 00:10:00.000000", "2020-01-01 00:12:00.000000"]]}
    (tmp_path / nab_series.LABELS).write_text(json.dumps(stretches), encoding="utf-8")
    values, anomalous = nab_series.read_series(tmp_path, "s")
    assert values[59] == 29.5
    assert np.flatnonzero(anomalous).tolist() == [10, 11, 12]
    with pytest.raises(DataError, match="give NAB's series"):
        nab_series.read_series(tmp_path, "another")


def test_altered_pictures_are_altered_as_they_say() -> None:
    picture = np.zeros((1, 6, 6, 1), dtype=np.uint8)
    picture[0, 1, 2] = 90
    turned, blurred, noisy, faint = public_data.shifts(picture, seed=0).values()
    assert turned[0, 3, 1, 0] == 90  # a quarter turn, anticlockwise
    assert (blurred[0, :3, 1:4, 0] == 10).all()
    assert blurred.sum() == 90
    assert 5 < noisy.astype(float).std() < 32  # cut off at 0
    assert faint[0, 1, 2, 0] == 45


def test_pictures_that_do_not_fit_their_labels_are_refused(tmp_path: Path) -> None:
    pictures, labels = bytes(16) + bytes(2 * 784), bytes(8) + bytes([3, 4, 5])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(DataError, match="1568 bytes of pictures for 3 labels"):
        public_data._fashion(tmp_path, "train")
    with pytest.raises(DataError, match="give the folder of the four files"):
        public_data._fashion(tmp_path, "t10k")


def test_a_folder_without_adbench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a data set of ADBench"):
        public_data.adbench(tmp_path, "thyroid")


def test_data_without_a_folder_is_left_out_and_the_rest_is_there() -> None:
    names = [name for case in cases(Folders()) for name in case.names]
    assert names == ["breast cancer", "digits 8×8, one class", "MNIST, one class", *public_data.SHIFTS]
    everything = cases(Folders(*[Path("x")] * 3))
    assert {case.family for case in everything} == set(SETTINGS)


@pytest.fixture(scope="module")
def figures() -> list[dict[str, Any]]:
    """Of a tiny data set, two epochs, one seed."""
    case = Case(("tiny",), "tables", (0,), lambda _, seed: split("tiny", *_table_rows(300, 30), seed))
    setting = dataclasses.replace(SETTINGS["tables"][0], width=8, latent=2, epochs=2, heads=("elbo", "mahalanobis"))
    outcome = measure(case, 0, 0, (setting,), with_pyod=False)
    assert outcome.problems == ()
    return [dataclasses.asdict(found) for found in outcome.figures]


def test_every_detector_is_judged_on_the_same_rows(figures: list[dict[str, Any]]) -> None:
    assert [(f["model"], f["head"]) for f in figures] == [
        ("mlp, mse", "elbo"), ("mlp, mse", "mahalanobis"), ("IsolationForest", ""), ("PCA", ""),
    ]  # fmt: skip
    assert {(f["normal"], f["anomalous"]) for f in figures} == {(100, 30)}
    assert [f["calibration"] for f in figures] == [40, 40, 50, 50]  # an export keeps a fifth for its gates
    assert all(f["auroc"] > 0.9 and f["false_positive_rate"] < 0.2 for f in figures)


def _document(figures: list[dict[str, Any]]) -> dict[str, Any]:
    made = {
        "date": "2026-01-02", "machine": "a machine", "workers": 2, "python": "3.10.0", "versions": {"torch": "2"},
        "cpu_seconds": 61, "quick": False, "seeds": 2, "rate": RATE,
    }  # fmt: skip
    settings = {family: [dataclasses.asdict(s) for s in its] for family, its in SETTINGS.items()}
    return {
        "made": made, "left_out": ["the data of nab: no folder was given"], "settings": settings, "problems": [],
        "data_sets": {"tiny": "tables"}, "figures": figures,
    }  # fmt: skip


def test_the_page_holds_every_method_once_and_says_what_was_left_out(figures: list[dict[str, Any]]) -> None:
    other_seed = [f | {"seed": 1, "auroc": f["auroc"] - 0.02} for f in figures]
    written = page(_document([*figures, *other_seed]))
    _, section = written.split("### tiny\n")
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows[0] == f"| {' | '.join(HEADER)} |"
    assert len(rows) == 1 + 4
    mean = figures[0]["auroc"] - 0.01
    assert f"| mlp, mse | elbo | {mean:.3f} ± {0.02 / math.sqrt(2):.3f} |" in section
    assert "100 normal, 30 anomalous rows tested, 40 behind a threshold" in section
    assert "- Left out: the data of nab: no folder was given." in written
    assert "Made 2026-01-02 with 1 min of processor time in 2 processes" in written
    assert page_text.QUICK not in written


def test_figures_are_averaged_over_parts_before_the_spread_over_seeds() -> None:
    runs = [
        {"data_set": "d", "model": "m", "head": "h", "part": part, "seed": seed, "auroc": value}
        for seed, part, value in ((0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.9), (1, 1, 0.9))
    ]
    (method,) = methods(runs)
    found = method.spread("auroc")
    assert found.mean == pytest.approx(0.75)
    assert found.sd == pytest.approx(0.3 / math.sqrt(2))
    assert str(Spread(0.5, math.nan)) == "0.500"
    assert str(Spread(math.nan, math.nan)) == "–"


def test_a_quoted_figure_is_within_twice_the_spread_or_it_is_not() -> None:
    assert verdict(Spread(0.95, 0.01), 0.969) == "within the spread"
    assert verdict(Spread(0.95, 0.01), 0.99) == "below by 0.040"
    assert verdict(Spread(0.95, 0.01), 0.90) == "above by 0.050"
    assert verdict(Spread(0.95, math.nan), 0.90) == "one seed"


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_the_page_in_the_repository_was_written_by_this_writer() -> None:
    written = PAGE.read_text(encoding="utf-8")
    every_case = cases(Folders(*[Path("x")] * 3))
    sections = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", written, flags=re.DOTALL | re.MULTILINE))
    assert list(sections) == [name for case in every_case for name in case.names]
    for case in every_case:
        others = len(OTHERS) if case.family == "tables" else len(OTHERS) - 1
        expected = sum(len(setting.heads) for setting in SETTINGS[case.family]) + others
        for name in case.names:
            rows = [line for line in sections[name].splitlines() if line.startswith("| ")]
            assert rows[0] == f"| {' | '.join(HEADER)} |", name
            assert len(rows) == 1 + expected, name
    assert f"| {' | '.join(TIME_HEADER)} |" in written
    assert page_text.MEANING.strip() in written
    assert page_text.QUICK not in written
