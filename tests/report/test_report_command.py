"""The page: what it says is what was measured, it needs nothing else, and everybody can read it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from plain_pictures import picture_bundle, pictures, spoilt
from shell import Cli, World

pytest.importorskip("jinja2")
pytest.importorskip("sklearn")

from vae_edge.report import find, render
from vae_edge.report.gather import Findings
from vae_edge.report.page import MOST_BYTES
from vae_edge.report.wording import ENGLISH, read_texts
from vae_edge_runtime import VAE, load
from vae_edge_runtime.errors import DataError

ROWS = np.concatenate([pictures(40, seed=1), spoilt(pictures(10, seed=2))])
LABELS = np.arange(50) >= 40
KINDS = np.array(["good"] * 40 + ["square"] * 10)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_bundle(tmp_path_factory.mktemp("report") / "waves.vaeb", "elbo", "top", "peak")


def _found(vae: VAE, *, labelled: bool = True) -> Findings:
    ids = [f"{kind}/{i:03}.png" for i, kind in enumerate(KINDS)]
    known = {"labels": LABELS, "kinds": KINDS} if labelled else {}
    return find(vae, ROWS, ids, head="top", **known)  # type: ignore[arg-type]


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_rates_are_those_of_the_scores_with_exact_intervals(bundle: Path) -> None:
    with load(bundle, device="cpu") as vae:
        found = _found(vae)
        scores = vae.score(ROWS, heads="top").decided_by("top")
    np.testing.assert_array_equal(found.flagged, scores.is_anomaly)
    assert found.labelled is not None
    assert (found.labelled.found.hits, found.labelled.found.rows) == (10, 10)
    assert found.labelled.found.interval == pytest.approx((0.6915, 1.0), abs=1e-3)
    assert found.labelled.auroc == 1.0
    assert [(kind.name, kind.found.hits) for kind in found.labelled.kinds] == [("square", 10)]
    low, high = found.threshold_interval or (0, 0)
    assert low <= (found.threshold or 0) <= high
    assert found.order()[:10].min() >= 40


def test_the_page_needs_no_network_and_no_script_and_is_small(bundle: Path) -> None:
    with load(bundle, device="cpu") as vae:
        html = render(vae, ROWS, _found(vae), source="today")
    page = _Page(html)
    assert len(html.encode()) < MOST_BYTES
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in page.tags]
    assert all(source.startswith("data:image/") for source in sources if source)
    assert "http" not in re.sub(r"data:image/[^\"]*", "", html)
    assert "@import" not in html
    assert "url(" not in html
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 18
    assert all(len(image["alt"] or "") > 20 for image in images)
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 3
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert ("html", {"lang": "en"}) in page.tags
    assert "Of 10 rows labelled as anomalies, 10 were found: 100.0 %" in html


def test_names_of_files_cannot_write_into_the_page(bundle: Path) -> None:
    with load(bundle, device="cpu") as vae:
        found = find(vae, ROWS[:3], ['<script>alert("x")</script>.png'] * 3)
        html = render(vae, ROWS[:3], found, source="<b>today</b>")
    assert "<script" not in html
    assert "<b>today" not in html


def test_two_bundles_are_set_side_by_side(bundle: Path) -> None:
    with load(bundle, device="cpu") as vae:
        a, b = _found(vae), find(vae, ROWS, KINDS.tolist(), head="elbo", labels=LABELS)
        html = render(vae, ROWS, a, source="today", other=("old.vaeb", b))
    assert "B is old.vaeb" in html
    assert f'<td class="n">{100 * a.anomalies.share:.1f} %</td>' in html
    assert f"{int((a.flagged & ~b.flagged).sum())} rows are anomalies to A alone" in html


def test_unlike_rows_are_said_to_have_drifted(bundle: Path) -> None:
    brighter = np.clip(pictures(60, seed=3).astype(int) + 40, 0, 255).astype(np.uint8)
    with load(bundle, device="cpu") as vae:
        same = find(vae, pictures(60, seed=4), ["x"] * 60)
        moved = find(vae, brighter, ["x"] * 60)
        assert same.drift is not None
        assert moved.drift is not None
        assert same.drift.p_value > 0.01 > moved.drift.p_value
        assert "They are higher" in render(vae, brighter, moved, source="today")


def test_another_language_is_one_complete_file(bundle: Path, tmp_path: Path) -> None:
    english = json.loads(ENGLISH.read_text())
    german = tmp_path / "de.json"
    german.write_text(json.dumps(english | {"summary": "Kurz gesagt"}))
    with load(bundle, device="cpu") as vae:
        html = render(vae, ROWS, _found(vae), source="heute", texts=read_texts(german))
    assert '<html lang="de">' in html
    assert "Kurz gesagt" in html
    for spoil, said in (
        ({"summary": None}, "object of texts"),
        ({"extra": "x"}, "unknown key 'extra'"),
        ({"title": "{nobody}"}, "asks for"),
        ({"title": "{name"}, "does not close"),
        ({"title": re.sub(r"\{(\w+)", r"{\1!r:>999999999", english["title"])}, "asks for|999999999"),
        ({"title": english["title"].replace("{", "{0.__class__}{", 1)}, "asks for"),
    ):
        german.write_text(json.dumps(english | spoil))
        with pytest.raises(DataError, match=said):
            read_texts(german)
    german.write_text("{}")
    with pytest.raises(DataError, match="lacks key"):
        read_texts(german)


def test_names_of_strangers_can_turn_no_line_around_and_any_file_name_is_reported(
    world: World, cli: Cli, tmp_path: Path
) -> None:
    rows = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff\xe2\x80\xae.npz"))
    rows.write_bytes((world.folder / "labelled.npz").read_bytes())
    done = cli("report", world.bundle, rows, "-o", tmp_path / "r.html", "--compare", world.bundle)
    assert done.code == 0, done.err
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "x\\udcff\\u202e.npz" in html
    assert "\u202e" not in html


def test_a_table_gets_its_series_its_channels_and_its_worst_rows(world: World, cli: Cli, tmp_path: Path) -> None:
    done = cli("report", world.bundle, world.folder / "labelled.npz", "-o", tmp_path / "r.html", "--json")
    assert done.code == 0, done.err
    assert done.json()["rows"] == 200
    page = _Page((tmp_path / "r.html").read_text())
    titles = [a.get("aria-label") or "" for tag, a in page.tags if tag == "svg"]
    assert len([title for title in titles if title.startswith("Channel ")]) == 4
    assert any(title.startswith("Scores of 200 rows in their order") for title in titles)
    again = cli("report", world.bundle, world.folder / "labelled.npz", "-o", tmp_path / "r.html")
    assert (again.code, again.out) == (2, "")


def test_text_stands_out_from_its_background() -> None:
    def light(colour: str) -> float:
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    style = (ENGLISH.parents[1] / "page.html.j2").read_text()
    for text, paper in (("#222222", "#f2f7fb"), ("#555555", "#ffffff"), ("#a33600", "#ffffff"), ("#005a8c", "#ffffff")):
        assert text in style or f"#{text[1]}{text[3]}{text[5]}" in style
        ratio = (light(paper) + 0.05) / (light(text) + 0.05)
        assert ratio >= 4.5, text


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_chromium_shows_the_page_without_scrolling_sideways(bundle: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    image = pytest.importorskip("PIL.Image")
    with load(bundle, device="cpu") as vae:
        html = render(vae, ROWS, _found(vae), source="today")
    measured = html.replace(
        "<body>", '<body><script>onload=()=>document.title="W"+document.documentElement.scrollWidth</script>'
    )
    (tmp_path / "page.html").write_text(html)
    (tmp_path / "measured.html").write_text(measured)
    # Headless Chromium has no window below 500 pixels: the page is laid out in a frame of the width instead.
    frame = f'<body style="margin:0"><iframe src="page.html" width="{width}" height="3000" style="border:0"></iframe>'
    (tmp_path / "frame.html").write_text(frame)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               f"--window-size={max(width, 500)},3000", f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    shot = tmp_path / "page.png"
    subprocess.run([browser, *options, f"--screenshot={shot}", (tmp_path / "frame.html").as_uri()],
                   check=True, capture_output=True, timeout=120)  # fmt: skip
    pixels = np.asarray(image.open(shot).convert("RGB")).astype(int)[:, :width]
    inked = (pixels.sum(-1) < 600).mean()
    assert inked > 0.02, "the page is blank"
    assert (pixels[:, -4:].sum(-1) < 600).mean() < 0.2, "something runs into the right edge"
    dom = subprocess.run([browser, *options, "--dump-dom", (tmp_path / "measured.html").as_uri()],
                         check=True, capture_output=True, text=True, timeout=120).stdout  # fmt: skip
    found = re.search(r"<title>W(\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= max(width, 500)
