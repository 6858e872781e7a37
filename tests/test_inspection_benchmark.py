"""The inspection benchmark: masks mark what was changed, places do not mix, and the page is its figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks" / "inspection"))

import defects  # noqa: E402
import inspection_text as text  # noqa: E402
import other_detectors  # noqa: E402
from inspection_page import page  # noqa: E402


def _cell(setting: str, method: str, auroc: float, *, seed: int = 0, maps: bool = True) -> dict[str, Any]:
    pixels = {"auroc": 0.9, "aupr": 0.4, "pro": 0.8} if maps else {}
    figures = {
        "auroc": auroc, "average_precision": 0.7, "recall": 0.5, "false_positives": 0.02,
        "by_kind": dict.fromkeys(("scratch", "spot", "blur", "missing", "colour"), auroc),
        "pixels": pixels, "pixels_by_kind": {"colour": {"auroc": 0.95, "pro": 0.85}} if maps else {},
    }  # fmt: skip
    return {
        "setting": setting, "method": method, "seed": seed, "quick": False, "date": "2026-11-28",
        "versions": {"numpy": "2.0"}, "counts": {"training": 200, "calibration": 130, "good": 80, "bad": 100},
        "figures": {"elbo": {**figures, "auroc": 0.6}, "top": figures} if maps else {"": figures},
    }  # fmt: skip


def _document(cells: list[dict[str, Any]]) -> dict[str, Any]:
    arm = {"what": "the default now", "epochs": 20, "train": [], "export": []}
    return {"cells": cells, "trained": {"vae": arm}, "methods": ["vae", "patch neighbours", "PyOD KNN"], "rate": 0.01}


def test_a_defect_changes_the_pixels_of_its_mask_and_no_others() -> None:
    rng = np.random.default_rng(0)
    normal = rng.integers(60, 190, (6, 64, 64, 3), dtype=np.uint8)
    for kind in defects.DEFECTS:
        spoilt, masks = defects.planted(normal, kind, rng)
        changed = (spoilt != normal).any(3)
        assert not changed[~masks].any(), kind
        assert changed[masks].mean() > 0.9, kind
        assert masks.sum((1, 2)).min() >= 9, kind


def test_a_wrong_colour_keeps_the_lightness() -> None:
    normal = np.full((4, 64, 64, 3), 128, np.uint8)
    spoilt, masks = defects.planted(normal, "colour", np.random.default_rng(0))
    light = spoilt @ np.array([0.299, 0.587, 0.114])
    assert np.abs(light[masks] - 128).max() < 1
    assert np.abs(spoilt[masks].astype(int) - 128).max() >= 20


def test_patches_find_a_square_in_noise() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(100, 3, (8, 32, 32, 3)).astype(np.uint8)
    rows = normal[:2].copy()
    rows[1, 12:18, 12:18] += 60
    maps = other_detectors.patch_neighbours(normal[2:], rows, seed=0)
    assert np.unravel_index(maps[1].argmax(), (32, 32)) in [(r, c) for r in range(10, 20) for c in range(10, 20)]
    assert maps[1].max() > 3 * maps[0].max()


def test_the_page_says_its_figures_and_what_is_missing() -> None:
    settings = [f"{name}, {how}" for name in ("brick", "gravel", "cup") for how in ("aligned", "not aligned")]
    cells = [_cell(setting, "vae", 0.8) for setting in settings]
    cells += [_cell(setting, "patch neighbours", 0.9 if i else 0.7) for i, setting in enumerate(settings)]
    whole = page(_document([*cells, *(_cell(s, "PyOD KNN", 0.6, maps=False) for s in settings)]))
    assert "| vae | 6 | 0.800 | 0.700 | 0.500 | 0.020 | 0.900 | 0.400 | 0.800 |" in whole
    assert "| PyOD KNN | 6 | 0.600 | 0.700 | 0.500 | 0.020 | – | – | – |" in whole
    assert "larger AUROC than the default VAE in 5 of 6 cells" in " ".join(whole.split())
    assert "| vae | `elbo` | 0.600 |" in whole
    assert "Not complete" not in whole
    part = page(_document([*cells[:3], _cell("gravel, aligned", "PyOD KNN", 0.6, maps=False)]))
    assert "3 of 6 materials were measured" in part
    assert "2 of 6 cells are missing" in part
    uneven = page(_document([*cells, _cell("cup, aligned", "PyOD KNN", 0.6, maps=False)]))
    assert "| vae | 1 | 0.800 |" in uneven  # means are over what all were measured on
    assert "no cell was complete" in page(_document([]))


def test_the_page_in_the_docs_was_written_by_this_writer() -> None:
    written = (ROOT / "docs" / "inspection-benchmark.md").read_text("utf-8")
    assert written.startswith(text.TITLE)
    for part in (text.FRONT, text.DEFAULT, text.COLOUR, text.BATCHES, text.OPTIONS, text.PROTOCOL, text.OWN_DATA):
        assert part.strip() in written


@pytest.mark.slow
def test_a_cell_is_measured_and_not_measured_again(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    spec = importlib.util.spec_from_file_location("inspection_run", ROOT / "benchmarks" / "inspection" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    run.collect(tmp_path, ("patch neighbours",), 1, quick=True, afresh=False)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 6
    cell = json.loads(files[0].read_text())
    assert 0 <= cell["figures"]["top"]["auroc"] <= 1
    times = [file.stat().st_mtime_ns for file in files]
    run.collect(tmp_path, ("patch neighbours",), 1, quick=True, afresh=False)
    assert [file.stat().st_mtime_ns for file in files] == times
