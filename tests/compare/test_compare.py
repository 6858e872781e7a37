"""``compare`` on real bundles of 5 kB: figures against their definitions, gates, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from second_variant import add_variant
from shell import Cli
from tiny_bundle import TinyBundle, forward

from vae_edge.bench.rows import Rows
from vae_edge.compare.facts import check_same_rows
from vae_edge.compare.report import Comparison
from vae_edge.compare.run import compare
from vae_edge_runtime import InputError, load
from vae_edge_runtime.format.manifest import Manifest


@pytest.fixture
def rows() -> np.ndarray:
    x = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32)
    x[200:] *= 2
    return x


@pytest.fixture
def data(tmp_path: Path, rows: np.ndarray) -> Path:
    """300 rows with labels; the last 100 are anomalies."""
    np.savez(tmp_path / "data.npz", x=rows, y=np.repeat([0, 1], (200, 100)))
    return tmp_path / "data.npz"


def _compare(path: Path, x: np.ndarray, a: str = "fp32", b: str = "int8") -> Comparison:
    labels = np.repeat([False, True], (len(x) - len(x) // 3, len(x) // 3))
    with load(path, variant=a) as one, load(path, variant=b) as other:
        return compare(one, other, Rows(x, None, labels, "x", "file"), sizes=(1, 2)).comparison


def test_figures_are_those_of_their_definitions(pair_path: Path, rows: np.ndarray) -> None:
    found = _compare(pair_path, rows)
    with load(pair_path, variant="fp32") as a, load(pair_path, variant="int8") as b:
        one, other = a.score(rows), b.score(rows)
        hat_a, hat_b = a.reconstruct(rows), b.reconstruct(rows)
        peak = a.manifest.input.high - a.manifest.input.low
    differ = np.flatnonzero(one.is_anomaly != other.is_anomaly)
    assert found.decisions.decisions_differ == len(differ) > 0
    assert found.decisions.differing_rows == tuple(differ[:20])
    assert found.decisions.agreement == 1 - len(differ) / 300
    assert found.reconstructions is not None
    psnr = 10 * np.log10(peak**2 / np.mean((hat_a.astype(float) - hat_b) ** 2, axis=1))
    assert found.reconstructions.psnr_db.worst == pytest.approx(psnr.min())
    assert found.reconstructions.psnr_db.median == pytest.approx(np.sort(psnr)[149])
    to_rows = 10 * np.log10(peak**2 / np.mean((rows.astype(float) - hat_a) ** 2, axis=1))
    assert found.reconstructions.psnr_a_db is not None
    assert found.reconstructions.psnr_a_db.worst == pytest.approx(to_rows.min())
    assert found.reconstructions.ssim is None  # no images
    assert found.latents is not None
    assert (found.latents.rows, found.latents.max_absolute) == (300, 0.0)  # only the decoders differ
    assert found.auroc is not None
    assert 0.7 < found.auroc.a < 1
    assert found.auroc.change == found.auroc.b - found.auroc.a != 0


def test_a_variant_agrees_with_itself_in_everything(pair_path: Path, rows: np.ndarray) -> None:
    found = _compare(pair_path, rows, "fp32", "fp32")
    assert (found.decisions.agreement, found.decisions.error_max) == (1.0, 0.0)
    assert found.reconstructions is not None
    assert found.reconstructions.psnr_db.worst == math.inf
    assert not any(fact.differs for fact in found.facts)
    assert found.to_dict()["facts"] == []


def test_more_rows_than_fit_at_once_are_all_compared(pair_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    whole = _compare(pair_path, x)
    monkeypatch.setattr("vae_edge.compare.run.ROWS_AT_ONCE", 7)
    pieces = _compare(pair_path, x)
    assert pieces.latents is not None
    assert (pieces.latents.rows, pieces.reconstructions) == (30, whole.reconstructions)


def test_rows_that_cannot_be_scored_are_left_out_of_reconstructions(pair_path: Path, rows: np.ndarray) -> None:
    rows[5, 1] = np.nan
    found = _compare(pair_path, rows)
    assert (found.rows, found.decisions.rows, found.decisions.scored_by_one) == (300, 299, 0)
    assert found.reconstructions is not None
    assert found.reconstructions.rows == 299


def test_nothing_scored_leaves_nothing_to_rebuild(pair_path: Path) -> None:
    x = np.full((3, 4), np.nan, np.float32)
    with load(pair_path, variant="fp32") as a, load(pair_path, variant="int8") as b:
        found = compare(a, b, Rows(x, None, None, "x", "file"), sizes=(1, 1)).comparison
    assert (found.reconstructions, found.latents, found.decisions.rows) == (None, None, 0)


def test_another_threshold_alone_changes_decisions_and_nothing_else(tmp_path: Path, rows: np.ndarray) -> None:
    tiny = TinyBundle(tmp_path / "moved.vaeb")
    scores = np.sort(forward(rows)["score"])
    add_variant(tiny, "int8", factor=1.0, threshold=float(scores[100:102].mean()))
    found = _compare(tiny.write(), rows)
    assert tiny.manifest
    fp32 = tiny.manifest.variants["fp32"].calibration
    assert fp32
    between = int(((scores > scores[100:102].mean()) != (scores > fp32.threshold)).sum())
    assert (found.decisions.error_max, found.decisions.decisions_differ) == (0.0, between)
    assert [f.what for f in found.facts if f.differs] == ["variant", "threshold elbo"]


def _manifest(**changes: object) -> Manifest:
    manifest = TinyBundle(Path("unused")).manifest
    assert manifest
    return dataclasses.replace(manifest, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shape": (5,), "names": ()}, r"shape \[4\] and \[5\]"),
        ({"dtype": "uint8"}, "dtype float32 and uint8"),
        ({"layout": "any"}, "layout features and any"),
        ({"names": ("a", "b", "x", "d")}, "feature 2 is 'c' and 'x'"),
    ],
)
def test_bundles_of_other_rows_are_refused_with_what_differs(changes: dict[str, object], problem: str) -> None:
    a = _manifest()
    b = dataclasses.replace(a.input, **changes)  # type: ignore[arg-type]
    other = object.__new__(Manifest)  # its graphs would have to fit; only the input is looked at
    for field in dataclasses.fields(a):
        object.__setattr__(other, field.name, b if field.name == "input" else getattr(a, field.name))
    with pytest.raises(InputError, match=problem):
        check_same_rows(a, other)


def test_another_range_or_missing_names_are_no_reason_to_refuse() -> None:
    a = _manifest()
    check_same_rows(a, dataclasses.replace(a, input=dataclasses.replace(a.input, names=(), low=-9.0)))


def test_the_command_shows_what_differs_and_exits_with_0(cli: Cli, pair_path: Path, data: Path) -> None:
    plot = pair_path.with_suffix(".png")
    done = cli("compare", pair_path, "--variant-b", "int8", "--rows", data, "--plot", plot)
    assert done.code == 0, done.err
    assert "rows decided differently, from 0: " in done.out
    assert "posterior mean: max error 0" in done.out
    assert "AUROC: a 0." in done.out
    assert f"{pair_path} int8" in done.out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_two_files_are_compared(cli: Cli, pair_path: Path, data: Path, tmp_path: Path) -> None:
    new = TinyBundle(tmp_path / "new.vaeb")
    assert new.manifest
    new.manifest = dataclasses.replace(new.manifest, release=2)
    found = cli("compare", pair_path, new.write(), "--rows", data, "--json").json()
    assert found["ok"] is True
    assert [f["what"] for f in found["facts"]] == ["release", "bundle id"]
    assert found["size_bytes"] == [pair_path.stat().st_size, new.path.stat().st_size]
    assert found["reconstructions"]["psnr_db"] == {"median": None, "worst": None}  # infinite: they are equal


def test_limits_turn_it_into_a_gate(cli: Cli, pair_path: Path, data: Path) -> None:
    options = ["--variant-b", "int8", "--rows", data]
    kept = cli("compare", pair_path, *options, "--fail-below-agreement", 0.5, "--max-auroc-change", 0.1)
    assert kept.code == 0, kept.err
    missed = cli("compare", pair_path, *options, "--fail-below-agreement", 1, "--max-auroc-change", 0, "--json")
    assert missed.code == 1
    assert missed.json()["ok"] is False
    assert len(missed.json()["missed"]) == 2
    assert "missed: agreement 9" in missed.err
    assert "AUROC changed by " in missed.err


def test_a_limit_on_what_was_not_measured_is_missed(pair_path: Path, rows: np.ndarray) -> None:
    found = _compare(pair_path, rows)
    bare = dataclasses.replace(found.decisions, agreement=None)
    unknown = dataclasses.replace(found, decisions=bare, auroc=None)
    assert unknown.missed(None, None) == ()
    assert unknown.missed(0.0, 0.1) == ("agreement unknown, at least 0.0000%", "AUROC unknown, change at most 0.1")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "there is nothing to compare"),
        (["--variant-b", "fp16"], "variant is 'fp16'; this bundle has fp32, int8"),
        (["--variant-b", "int8", "--max-auroc-change", 0.1], "needs labelled rows"),
        (["--variant-b", "int8", "--stride", 2], "--stride is about rows: pass --rows too"),
        (["--variant-b", "int8", "--plot", "c.pdf"], "ends with none of .png"),
    ],
)
def test_what_cannot_be_compared_is_refused(cli: Cli, pair_path: Path, options: list[object], problem: str) -> None:
    done = cli("compare", pair_path, *options)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err


def test_without_rows_it_says_how_few_the_golden_ones_are(cli: Cli, pair_path: Path) -> None:
    done = cli("compare", pair_path, "--variant-b", "int8")
    assert done.code == 0, done.err
    assert "all figures are of the 2 golden rows of the bundle: one decision that differs is 50.0%" in done.err


def test_labels_of_another_file_are_used(cli: Cli, pair_path: Path, rows: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows)
    np.savez(tmp_path / "truth.npz", y=np.repeat([0, 1], 150), other=np.zeros(300))
    (tmp_path / "truth.csv").write_text("wrong\n" + "\n".join(["0", "1"] * 150))
    options = ["--variant-b", "int8", "--rows", tmp_path / "x.npy", "--json"]
    assert cli("compare", pair_path, *options).json()["auroc"] is None
    by_key = cli("compare", pair_path, *options, "--labels", tmp_path / "truth.npz").json()["auroc"]
    by_column = cli("compare", pair_path, *options, "--labels", tmp_path / "truth.csv", "--label-column", "wrong")
    assert by_key["a"] > 0.55
    assert by_column.json()["auroc"]["a"] != by_key["a"]
    assert cli("compare", pair_path, *options, "--label-column", "y").code == 2  # an .npy has no columns
