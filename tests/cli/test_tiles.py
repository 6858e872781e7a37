"""A bundle of tiles: pictures larger than the model's rows, scored and calibrated as a whole by every command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_pictures import SIDE, large_pictures
from shell import Cli
from tiled_bundle import export_tiled, spoilt

from vae_edge.evaluation import judge
from vae_edge.evaluation.scored import score_rows
from vae_edge_runtime import CalibrationError, InputError, OptionError, load, recalibrate, verify

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiled(tmp_path_factory.mktemp("tiles") / "tiles.vaeb")


def test_thresholds_are_of_whole_pictures_and_defects_are_found_on_seams(bundle: Path) -> None:
    assert verify(bundle).ok
    with load(bundle, device="cpu") as vae:
        assert vae.manifest.input.shape == (SIDE, SIDE, 3)
        assert vae.calibrations["top"].n == 32
        normal = large_pictures(60, 61, 50, seed=1)
        scores = vae.score(normal, heads="all", maps=True)
        assert scores.map.shape == normal.shape
        for head in vae.heads:
            assert scores.heads[head].is_anomaly.mean() <= 0.2, head
        np.testing.assert_allclose(scores.map.sum((1, 2, 3)), scores.reconstruction, rtol=1e-4)
        bad = vae.score(spoilt(normal), heads="all", maps=True)
        assert bad.heads["top"].is_anomaly.all()
        assert bad.heads["peak"].is_anomaly.all()
        row, column = np.unravel_index(bad.map[0].sum(2).argmax(), (61, 50))
        assert 30 <= row <= 32
        assert 20 <= column <= 22
        np.testing.assert_allclose(
            vae.score(normal[:1]).score, [vae.score(normal[i : i + 1]).score[0] for i in range(1)], rtol=1e-6
        )
        with pytest.raises(InputError):
            vae.score(normal[:, : SIDE - 1])
        assert vae.explain(spoilt(normal[:1])).regions is not None


def test_verify_checks_what_the_tiles_of_a_picture_make_together(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = [check for check in verify(bundle).checks if check.graph == "picture"]
    assert {check.output for check in picture} == {"score", "top", "peak"}
    assert all(check.passed and check.max_relative < 1e-3 for check in picture)
    monkeypatch.setattr("vae_edge_runtime.scoring.tiling.ramp", lambda size, overlap: np.ones(size, np.float32))
    without_a_ramp = {check.output: check.passed for check in verify(bundle).checks if check.graph == "picture"}
    assert not without_a_ramp["top"]


def test_a_mapped_array_is_scored_as_its_copy_is(bundle: Path, tmp_path: Path) -> None:
    x = spoilt(large_pictures(2, 100, 90, seed=2))
    np.save(tmp_path / "x.npy", x)
    with load(bundle, device="cpu") as vae:
        mapped = vae.score(np.load(tmp_path / "x.npy", mmap_mode="r"), heads="all")
        loaded = vae.score(x, heads="all")
        for head in vae.heads:
            np.testing.assert_array_equal(mapped.heads[head].score, loaded.heads[head].score)


def test_commands_take_pictures_of_any_larger_size(bundle: Path, cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    x = large_pictures(6, 61, 50, seed=3)
    x[3:] = spoilt(x[3:])
    for i, row in enumerate(x):
        folder = tmp_path / "test" / ("good" if i < 3 else "square")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row).save(folder / f"{i}.png")
        if i >= 3:
            mask = np.zeros((61, 50), np.uint8)
            mask[30:33, 20:23] = 255
            (tmp_path / "masks" / "square").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "masks" / "square" / f"{i}_mask.png")
    done = cli("score", bundle, tmp_path / "test", "--head", "top", "--maps", tmp_path / "maps", "--regions",
               tmp_path / "r.csv", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json()["anomalies"] >= 3
    assert len(list((tmp_path / "maps").iterdir())) == 6
    assert (tmp_path / "r.csv").read_text().count("square/") >= 3
    judged = cli("evaluate", bundle, tmp_path / "test", "--normal", "good", "--masks", tmp_path / "masks",
                 "--bootstrap", 0, "--json")  # fmt: skip
    assert judged.code == 0, judged.err
    assert judged.json()["pixels"]["auroc"] > 0.99
    again = cli("recalibrate", bundle, tmp_path / "test" / "good", "--false-positive-rate", "0.5", "-o",
                tmp_path / "again.vaeb", "--json")  # fmt: skip
    assert again.code == 0, again.err
    page = cli("report", bundle, tmp_path / "test", "--normal", "good", "-o", tmp_path / "r.html")
    assert page.code == 0, page.err
    html = (tmp_path / "r.html").read_text("utf-8")
    assert f"pictures of at least {SIDE} x {SIDE} pixels, colour, in tiles of that size" in html


def test_a_head_that_adds_up_tiles_warns_of_pictures_of_another_size(bundle: Path, cli: Cli, tmp_path: Path) -> None:
    same, larger = large_pictures(2, 61, 50, seed=1), large_pictures(130, 90, 80, seed=2)
    with load(bundle, device="cpu") as vae:
        assert vae.manifest.input.calibrated_size == (61, 50)
        assert {head.warning for head in vae.score(same, heads="all").heads.values()} == {None}
        scores = vae.score(larger[:2], heads="all")
        assert {head for head, of in scores.heads.items() if of.warning} == {"elbo"}
        assert scores.warning is not None
        assert "pictures of 61 x 50 pixels, and this one has 90 x 80" in scores.warning
        assert scores.decided_by("top").warning is None
        assert scores.decided_by("elbo", 1.0).warning is None
        assert vae.score(larger[:2], threshold=1.0).warning is None
        labels = np.array([0, 1])
        judged = judge(score_rows(vae, larger[:2], heads="all"), labels, bootstrap=0)
        assert [text for text in judged.warnings if "grows" in text] == [scores.warning]
        stream = vae.stream(larger[:1], drift=False)
        list(stream)
        assert stream.warning == scores.warning
    np.save(tmp_path / "larger.npy", larger)
    note = f"note: {scores.warning}"
    assert note in cli("score", bundle, tmp_path / "larger.npy", "-o", tmp_path / "1.csv").err
    assert note in cli("report", bundle, tmp_path / "larger.npy", "-o", tmp_path / "r.html").err
    assert "grows with the picture" in (tmp_path / "r.html").read_text("utf-8")
    by_top = cli("score", bundle, tmp_path / "larger.npy", "--head", "top", "-o", tmp_path / "2.csv")
    assert (by_top.code, "note:" in by_top.err) == (0, False)
    again = recalibrate(bundle, tmp_path / "again.vaeb", rows=larger)
    with load(again.path, device="cpu") as vae:
        assert vae.manifest.input.calibrated_size == (90, 80)
        assert vae.score(larger[:1]).warning is None


def test_a_picture_of_many_pixels_is_drawn_as_an_overview_with_windows(
    bundle: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr("vae_edge.maps.large.LARGEST_WHOLE", 61 * 50 - 1)
    monkeypatch.setattr("vae_edge.maps.large.OVERVIEW_SIDE", 31)
    monkeypatch.setattr("vae_edge.maps.large.WINDOW_SIDE", 32)
    monkeypatch.setattr("vae_edge_runtime.storage.scratch.IN_MEMORY_BYTES", 1000)  # the map lies in a file
    np.save(tmp_path / "x.npy", spoilt(large_pictures(1, 61, 50, seed=3)))
    words = ["score", bundle, tmp_path / "x.npy", "--head", "top", "--regions", tmp_path / "r.csv", "--force"]
    done = cli(*words, "--maps", tmp_path / "maps", "-o", tmp_path / "s.csv")
    assert done.code == 0, done.err
    regions = (tmp_path / "r.csv").read_text()
    (file,) = (tmp_path / "maps").iterdir()
    sheet = np.asarray(Image.open(file).convert("RGB")).astype(int)
    assert (np.abs(sheet - (0, 229, 255)).sum(-1) < 3).sum() >= 8, "no contour"
    monkeypatch.undo()
    assert cli(*words, "-o", tmp_path / "whole.csv").code == 0
    assert (tmp_path / "r.csv").read_text() == regions
    assert (tmp_path / "s.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_recalibrated_on_its_calibration_pictures_a_bundle_keeps_its_scores(bundle: Path, tmp_path: Path) -> None:
    rows = large_pictures(30, 61, 50, seed=4)
    recalibrate(bundle, tmp_path / "again.vaeb", rows=rows)
    with load(bundle, device="cpu") as before, load(tmp_path / "again.vaeb", device="cpu") as after:
        np.testing.assert_array_equal(before.score(rows).score, after.score(rows).score)
        assert after.calibrations["elbo"].n == 30
        assert after.score(rows).is_anomaly.mean() <= 0.05


def test_training_on_tiles_takes_every_tile(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", large_pictures(4, 61, 50, seed=5))
    options = [
        "--layout",
        "nhwc",
        "--tile",
        16,
        "--overlap",
        4,
        "--epochs",
        1,
        "--width",
        4,
        "--depth",
        1,
        "--latent",
        2,
    ]
    done = cli("train", "conv", "--data", tmp_path / "x.npy", *options, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert "80 rows of [16, 16, 3]" in done.err


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"overlap": 13}, OptionError, "half of a tile"),
        ({"tile": None}, OptionError, "how large a tile is"),
        ({"precisions": ("fp32", "fp16")}, OptionError, "fp32 alone"),
        ({"heads": ("elbo", "mahalanobis")}, OptionError, "no rule for tiles"),
        ({"tile": 64}, InputError, "no shorter"),
        ({"false_positive_rate": 0.01}, CalibrationError, "at least 99"),
    ],
)
def test_what_tiles_cannot_do_is_refused_by_name(
    tmp_path: Path, options: dict[str, object], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        export_tiled(tmp_path / "x.vaeb", **options)
    assert not (tmp_path / "x.vaeb").exists()
