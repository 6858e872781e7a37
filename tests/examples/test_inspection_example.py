"""``examples/inspection`` runs from pictures to a report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("jinja2")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_script_ends_with_maps_regions_a_report_and_scores_of_tiles(tmp_path: Path) -> None:
    script = ROOT / "examples" / "inspection" / "run.py"
    done = subprocess.run([sys.executable, script, tmp_path, "6"], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "maps").iterdir())) == 80
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    assert len((tmp_path / "tile-scores.csv").read_text().splitlines()) == 81
    assert (tmp_path / "regions.csv").exists()
