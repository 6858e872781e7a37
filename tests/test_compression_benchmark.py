"""The page of the compression benchmark is what its writer makes of the figures of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "compression"
sys.path.append(str(FOLDER))

import compression_page  # noqa: E402
import peers  # noqa: E402
import row_sets  # noqa: E402

DOCUMENT = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_figures_of_a_run() -> None:
    written = (ROOT / "docs" / "compression-benchmark.md").read_text(encoding="utf-8")
    assert written == compression_page.page(DOCUMENT)


def test_every_set_and_every_peer_was_measured() -> None:
    assert list(DOCUMENT["sets"]) == [row_set.name for row_set in row_sets.SETS]
    assert DOCUMENT["missing"] == []
    for row_set in row_sets.SETS:
        figures = DOCUMENT["sets"][row_set.name]
        names = ["latents", *(name for name in row_set.modes.split(",") if name != "latents")]
        assert [mode["mode"] for mode in figures["modes"]] == names
        for mode, sizes in figures["peers"].items():
            if mode == "latents":
                kinds = ("PNG", "WebP", "JPEG XL", "AVIF")
                assert all(any(name.startswith(kind) for name in sizes) for kind in kinds)
            else:
                floats = set() if mode == "exact" else {"SZ3", "zfp"}
                assert set(sizes) == {"zlib", "lzma", "zstd", "zstd with a dictionary", "pcodec"} | floats


def test_no_value_left_its_bound_in_that_run() -> None:
    modes = [mode for figures in DOCUMENT["sets"].values() for mode in figures["modes"]]
    assert {mode["broken"] for mode in modes if mode["kind"] != "latents"} == {0}
    assert DOCUMENT["triage"]["broken"] == 0


def test_a_figure_above_what_was_asked_is_called_missed() -> None:
    assert compression_page.page(DOCUMENT).count("| missed |") == sum(
        line.endswith("missed |") for line in (ROOT / "docs" / "compression-benchmark.md").read_text().splitlines()
    )
    worse = json.loads(json.dumps(DOCUMENT))
    worse["sets"]["pump"]["modes"][1]["packet"] = 142.1
    assert "| pump 0.1 | ≤ 142 B | 142.1 B | missed |" in compression_page.page(worse)


@pytest.mark.parametrize("exact", [True, False])
def test_peers_are_measured_on_whole_numbers_of_the_step(exact: bool) -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 100, (n, 30, 2)).astype(np.float32) for n in (40, 8))
    sizes, _ = peers.numeric(train, test, np.array(1.0 if exact else 50.0), exact=exact)
    # 60 numbers of 100 values take 50 bytes at least, 60 numbers of three values 9.
    for block, alone in (sizes["zlib"], sizes["lzma"]):
        assert block is not None
        assert (40 if exact else 9) < block < alone
