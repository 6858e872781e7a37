"""What a notebook shows of results: small, escaped, well-formed, with pictures that decode."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FEATURES, TinyBundle

from vae_edge_runtime import load
from vae_edge_runtime.scoring.anatomy import Anatomy
from vae_edge_runtime.scoring.html import MOST_MAPS, MOST_ROWS, picture, table

VOID = {"img", "br"}
HOSTILE = "<script>alert(1)</script>\x1b[2J\n&"


class _Page(HTMLParser):
    """Tags that balance, and the cells of each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_a_million_scores_are_a_table_of_twenty_rows(tiny_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5000, FEATURES)).astype(np.float32)
    rows[1, 0] = np.nan
    with load(tiny_path, device="cpu", threads=1) as vae:
        scores = vae.score(rows)
        page = scores._repr_html_()
    read = _Page(page)
    assert read.rows[0] == ["row", "score", "p-value", "anomaly", "status"]
    assert len(read.rows) == 1 + MOST_ROWS
    assert read.rows[2] == ["1", "–", "–", "–", "non_finite_input"]
    assert float(read.rows[1][1]) == pytest.approx(float(scores.score[0]), rel=1e-5)
    assert f"the first {MOST_ROWS} of 5,000 rows" in page
    assert len(page) < 10_000
    assert "p_value" not in vars(scores)  # nothing was computed for rows that nobody sees


def test_an_anatomy_shows_the_strongest_elements(tiny_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(30, FEATURES)).astype(np.float32)
    with load(tiny_path, device="cpu", threads=1) as vae:
        anatomy = vae.explain(rows)
    read = _Page(anatomy._repr_html_())
    assert len(read.rows) == 1 + MOST_MAPS
    name, share = anatomy.top(0)[0]
    assert f"{name} {share:.0%}" in read.rows[1][5]
    assert "img" not in read.seen  # a table has no map


def test_maps_of_pictures_and_windows_are_drawn(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu", threads=1) as vae:
        scores = vae.score(np.zeros((2, FEATURES), np.float32), maps=True)
    maps = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    object.__setattr__(scores, "_map", maps)
    pictures = Anatomy(scores, maps, None, None, None, (), 0)
    windows = Anatomy(scores, maps.sum(1), maps.sum(2), None, None, ("a", "b", "c"), 0)
    for anatomy, size in ((pictures, (3, 5)), (windows, (5, 3))):
        page = anatomy._repr_html_()
        data = re.findall(r"data:image/png;base64,([^\"]+)", page)
        assert len(data) == 2
        assert _decoded(data[0]).shape == (size[1], size[0], 3)


def _decoded(data: str) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    with image.open(io.BytesIO(base64.b64decode(data))) as opened:
        return np.asarray(opened)


def test_a_map_reaches_from_white_to_red_and_not_a_number_is_white() -> None:
    pixels = _decoded(re.findall(r"base64,([^\"]+)", picture(np.array([[0.0, 2.0, np.nan, -1.0, 9.0]]), 2.0))[0])
    assert pixels[0].tolist() == [[255] * 3, [153, 0, 13], [255] * 3, [255] * 3, [153, 0, 13]]
    assert len(picture(np.random.default_rng(0).normal(size=(4000, 3000)), 1.0)) < 300_000


def test_names_from_a_bundle_are_text_and_never_markup(tiny: TinyBundle) -> None:
    values = tiny.plain
    values["input"]["names"] = ["<script>alert(1)</script>", "<img src=x>", "&amp;", "d"]
    with load(tiny.write(values), device="cpu", threads=1) as vae:
        page = vae.explain(np.full((1, FEATURES), 3, np.float32))._repr_html_()
    assert {"script", "img"} & set(_Page(page).seen) == set()
    shown = table([HOSTILE], [[HOSTILE]], title=HOSTILE, note=HOSTILE)
    assert "script" not in _Page(shown).seen
    assert "\x1b" not in shown


def test_a_process_that_scores_pays_nothing_for_json_and_notebooks(tiny_path: Path) -> None:
    program = (
        "import sys, numpy as np; from vae_edge_runtime import load\n"
        "load(sys.argv[1], device='cpu', threads=1).score(np.zeros((1, 4), np.float32))\n"
        "print(sorted(set(sys.modules) & {'vae_edge_runtime.scoring.html', 'vae_edge_runtime.scoring.plain', 'html'}))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
