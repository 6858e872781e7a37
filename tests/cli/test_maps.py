"""``score --maps --regions --head`` on pictures, and a bundle that decides by another head."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from plain_pictures import SIDE, picture_bundle, pictures, spoilt
from shell import Cli

from vae_edge_runtime import Bundle, OptionError, load, recalibrate, verify

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle ``waves.vaeb``, and ``today``: good pictures, and bad ones with a square."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("maps")
    picture_bundle(folder / "waves.vaeb", "elbo", "top", "peak", "kl")
    for kind, rows in (("good", pictures(3, seed=5)), ("bad", spoilt(pictures(3, seed=6)))):
        (folder / "today" / kind).mkdir(parents=True)
        for i, row in enumerate(rows):
            Image.fromarray(row).save(folder / "today" / kind / f"{kind} {i}.png")
    return folder


def test_maps_keep_the_name_of_the_picture_and_show_three_panels(folder: Path, cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    done = cli("score", folder / "waves.vaeb", folder / "today", "--maps", tmp_path / "maps", "--regions",
               tmp_path / "regions.csv", "-o", tmp_path / "s.csv")  # fmt: skip
    assert done.code == 0, done.err
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [
        "bad_bad_0.png", "bad_bad_1.png", "bad_bad_2.png", "good_good_0.png", "good_good_1.png", "good_good_2.png",
    ]  # fmt: skip
    sheet = np.asarray(Image.open(tmp_path / "maps" / "bad_bad_0.png").convert("RGB")).astype(int)
    factor = -(-256 // SIDE)
    assert sheet.shape[1] >= 3 * factor * SIDE
    assert (np.abs(sheet - (0, 229, 255)).sum(-1) < 3).sum() >= 4 * 2 * factor, "no contour"
    with (tmp_path / "regions.csv").open() as file:
        lines = list(csv.DictReader(file))
    first = [line for line in lines if line["region"] == "1"]
    bad = [line for line in first if line["row_id"].startswith("bad")]
    assert {line["row_id"] for line in bad} == {f"bad/bad {i}.png" for i in range(3)}
    assert {tuple(int(line[k]) for k in ("top", "left", "bottom", "right", "area")) for line in bad} == {
        (4, 9, 7, 12, 9)
    }


def test_the_caption_says_what_decided_and_how_sure_it_is(folder: Path) -> None:
    from vae_edge.cli._maps import caption

    with load(folder / "waves.vaeb", device="cpu") as vae:
        scores = vae.score(spoilt(pictures(2, seed=6)), heads="all").decided_by("top")
    title, figures = caption("bad/0.png", scores, 0, "top", 1)
    assert title == "bad/0.png: ANOMALY"
    assert figures.startswith(f"top {scores.score[0]:.4g}, threshold {scores.threshold:.4g}, p-value ")
    assert figures.endswith(", 1 region")


def test_files_of_two_pictures_that_differ_in_their_ending_do_not_meet() -> None:
    from vae_edge.cli._maps import file_name

    taken: set[str] = set()
    assert [file_name(name, taken) for name in ("a.png", "a.jpg", "A.PNG", "Möbel/ä 1.png", "17")] == [
        "a.png", "a~2.png", "A~3.png", "Möbel_ä_1.png", "17.png",
    ]  # fmt: skip


def test_score_decides_by_any_head_and_at_any_rate(folder: Path, cli: Cli) -> None:
    with load(folder / "waves.vaeb", device="cpu") as vae:
        expected = vae.threshold_for(0.1, head="top")
        own = vae.calibrations["top"].threshold
    done = cli("score", folder / "waves.vaeb", folder / "today", "--head", "top", "--json").json()
    assert (done["head"], done["threshold"], done["anomalies"]) == ("top", own, 3)
    done = cli(
        "score", folder / "waves.vaeb", folder / "today", "--head", "top", "--false-positive-rate", "0.1", "--json"
    )
    assert done.json()["threshold"] == expected
    done = cli("score", folder / "waves.vaeb", folder / "today", "--head", "ssim")
    assert (done.code, done.out) == (2, "")
    assert "no head 'ssim'" in done.err
    both = cli("score", folder / "waves.vaeb", folder / "today", "--threshold", "1", "--false-positive-rate", "0.1")
    assert (both.code, both.out) == (2, "")


def test_a_bundle_decides_by_another_stored_head_without_a_new_export(folder: Path, cli: Cli, tmp_path: Path) -> None:
    old, new = folder / "waves.vaeb", tmp_path / "top.vaeb"
    done = cli("recalibrate", old, "--default-head", "top", "-o", new)
    assert done.code == 0, done.err
    assert "it decides by top" in done.out
    x = np.concatenate([pictures(4, seed=7), spoilt(pictures(4, seed=8))])
    with load(old, device="cpu") as before, load(new, device="cpu") as after:
        assert (before.heads[0], after.heads[0]) == ("elbo", "top")
        a, b = before.score(x, heads="all"), after.score(x)
        np.testing.assert_array_equal(a.heads["top"].score, b.score)
        assert b.threshold == a.heads["top"].threshold
        assert b.is_anomaly.tolist() == [False] * 4 + [True] * 4
        np.testing.assert_array_equal(a.heads["top"].p_value, b.p_value)
        np.testing.assert_array_equal(after.score(x, heads="all").heads["elbo"].score, a.score)
    assert verify(new).ok
    back = recalibrate(new, tmp_path / "back.vaeb", default_head="elbo")
    with Bundle.open(old) as first, Bundle.open(back.path) as last:
        assert last.manifest.score == first.manifest.score
        assert b"decides_by" not in last.manifest.to_json()


def test_new_rows_and_another_head_go_together(folder: Path, tmp_path: Path) -> None:
    rows = pictures(60, seed=9)
    recalibrate(folder / "waves.vaeb", tmp_path / "new.vaeb", rows=rows, default_head="peak")
    with load(tmp_path / "new.vaeb", device="cpu") as vae:
        assert vae.heads == ("peak", "elbo", "top", "kl")
        assert vae.calibrations["peak"].n == 60
        assert vae.score(rows).is_anomaly.mean() <= 0.05


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to calibrate from"),
        ({"default_head": "ssim"}, "no head 'ssim'"),
        ({"default_head": "kl"}, "must not decide"),
        ({"default_head": "top", "false_positive_rate": 0.1}, "nothing to calibrate from"),
    ],
)
def test_what_cannot_decide_is_refused(folder: Path, tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        recalibrate(folder / "waves.vaeb", tmp_path / "x.vaeb", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "x.vaeb").exists()


def test_a_bundle_with_a_fit_does_the_same_to_pictures_of_any_size(cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    bundle = picture_bundle(tmp_path / "pad.vaeb", "elbo", fit="pad")
    wide = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    wide[:, SIDE // 2 : -SIDE // 2] = pictures(1, seed=5)[0]
    (tmp_path / "today").mkdir()
    Image.fromarray(wide).save(tmp_path / "today" / "wide.png")
    scored = cli("score", bundle, tmp_path / "today", "--json").json()["scores"]
    assert [row["status"] for row in scored] == ["ok"]
    watched = cli("watch", bundle, tmp_path / "today")
    assert watched.code == 0, watched.err
    assert f'"score": {scored[0]["score"]}'[:14] in watched.out
    exact = cli("score", picture_bundle(tmp_path / "exact.vaeb", "elbo"), tmp_path / "today")
    assert (exact.code, exact.out) == (2, "")
