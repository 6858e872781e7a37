"""The command itself, over files, with a session that needs no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_session import FakeVAE, labelled_rows

from vae_edge.cli import evaluate
from vae_edge.cli._app import _with_shared_options
from vae_edge_runtime import DataError, InputError, OptionError
from vae_edge_runtime.format.specs import InputSpec

pytest.importorskip("sklearn")
pytest.importorskip("typer")

Run = Any


@pytest.fixture
def vae() -> FakeVAE:
    return FakeVAE()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, vae: FakeVAE) -> Run:
    monkeypatch.setattr(evaluate, "load", lambda *_, **__: vae)
    command = _with_shared_options("evaluate", evaluate.run)

    def call(path: Path, **options: Any) -> None:
        command(verbose=False, quiet=False, bundle=Path("fake.vaeb"), path=path, **{"bootstrap": 0, **options})

    return call


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    x, labels = labelled_rows()
    np.savez(tmp_path / "held_out.npz", x=x, y=labels, kind=np.where(labels, np.arange(60) % 2 + 1, 0))
    return tmp_path / "held_out.npz"


def table(path: Path, n: int = 60) -> Path:
    """The same rows as a table with their labels and kinds in words."""
    x, labels = labelled_rows(n)
    kinds = np.where(labels, "crack", "")
    lines = [",".join((*map(repr, r.tolist()), str(y), k)) for r, y, k in zip(x, labels, kinds, strict=True)]
    path.write_text("a,b,c,bad,kind\n" + "\n".join(lines) + "\n")
    return path


def test_one_line_per_head_with_interval_and_promise(
    run: Run, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(held_out, bootstrap=100)
    out, err = capsys.readouterr()
    header, elbo, peak = out.splitlines()
    assert header.split()[:4] == ["head", "normal", "anomalous", "AUROC"]
    assert elbo.split()[:3] == ["elbo", "40", "20"]
    assert elbo.split()[-1] == "0.05"
    assert peak.split()[-1] == "0.1"
    assert err.startswith("fake.vaeb: ")


def test_json_is_one_document_with_everything(run: Run, held_out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(held_out, json=True, heads="peak", ranges=True, class_column="kind", bootstrap=100, seed=4)
    found = json.loads(capsys.readouterr().out)
    assert (found["command"], found["rows"], found["bootstrap"], found["seed"]) == ("evaluate", 60, 100, 4)
    assert [f["anomaly_class"] for f in found["figures"]] == [None, "1", "2"]
    assert list(found["ranges"]) == ["peak"]
    assert found["ranges"]["peak"]["events"] == 1


def test_three_definitions_over_time_stand_side_by_side_with_the_warning(
    run: Run, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(held_out, ranges=True, heads="elbo")
    out, err = capsys.readouterr()
    assert [line.split()[-4] for line in out.splitlines()[-3:]] == ["range-based", "point-wise", "point-adjusted"]
    assert "point-adjusted F1 flatters" in err


def test_labels_and_classes_come_from_columns_of_a_table(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(table(tmp_path / "t.csv"), columns="a,b,c", label_column="bad", class_column="kind", heads="elbo")
    lines = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["elbo", "all", "40", "20"], ["elbo", "crack", "40", "20"]]


def test_labels_of_another_file_count_whatever_its_kind(
    run: Run, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = 1 - labelled_rows()[1]
    np.save(tmp_path / "y.npy", labels)
    np.savez(tmp_path / "y.npz", y=labels)
    (tmp_path / "y.csv").write_text("\n".join(map(str, labels)) + "\n")
    (tmp_path / "named.csv").write_text("bad\n" + "\n".join(map(str, labels)) + "\n")
    outputs = []
    for name in ("y.npy", "y.npz", "y.csv", "named.csv"):
        run(held_out, labels=tmp_path / name)
        outputs.append(capsys.readouterr().out)
    assert outputs[0].splitlines()[1].split()[:3] == ["elbo", "20", "40"]
    assert outputs == outputs[:1] * 4


def test_labels_of_a_parquet_table(run: Run, held_out: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    labels = labelled_rows()[1]
    columns = {"bad": labels, "kind": ["leak" if y else "" for y in labels]}
    parquet.write_table(arrow.table(columns), tmp_path / "y.parquet")
    run(held_out, labels=tmp_path / "y.parquet", label_column="bad", class_column="kind")


def test_a_window_takes_the_label_of_its_last_row(
    run: Run, vae: FakeVAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae.manifest.input = InputSpec((5, 3), "float32", "time_features", 0.0, 1.0, ("a", "b", "c"))
    path = table(tmp_path / "t.csv")
    run(path, label_column="bad", ranges=True, heads="elbo", json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["figures"][0]["normal"], found["figures"][0]["anomalous"]) == (56, 36, 20)
    np.save(tmp_path / "y.npy", labelled_rows()[1])
    run(path, labels=tmp_path / "y.npy", stride=4, heads="elbo", json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["figures"][0]["anomalous"]) == (14, labelled_rows()[1][4::4].sum())
    np.save(tmp_path / "y.npy", np.zeros(50))
    with pytest.raises(DataError, match="50 values for 56 windows of 5 rows"):
        run(path, labels=tmp_path / "y.npy")


def test_sub_folders_of_images_are_classes(
    run: Run, vae: FakeVAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    vae.manifest.input = InputSpec((4, 4, 1), "uint8", "nhwc", 0, 255, ())
    for i, folder in enumerate(["good", "good", "hole", "scratch", "scratch"]):
        (tmp_path / "test" / folder).mkdir(parents=True, exist_ok=True)
        image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / "test" / folder / f"{i}.png")
    masks = np.zeros((5, 4, 4), np.uint8)
    masks[2:, :2] = 1
    np.save(tmp_path / "masks.npy", masks)
    run(tmp_path / "test", normal="good", heads="elbo", masks=tmp_path / "masks.npy")
    lines = [line.split()[:5] for line in capsys.readouterr().out.splitlines()]
    assert [line[1:4] for line in lines[1:4]] == [["all", "2", "3"], ["hole", "2", "1"], ["scratch", "2", "2"]]
    assert lines[-1][0] == "map"
    with pytest.raises(DataError, match=r"no sub-folder 'fine'; there are good, hole, scratch"):
        run(tmp_path / "test", normal="fine")
    with pytest.raises(DataError, match="--normal"):
        run(tmp_path / "test")


def test_masks_of_another_size_are_refused_before_scoring(run: Run, vae: FakeVAE, tmp_path: Path) -> None:
    vae.manifest.input = InputSpec((4, 4, 1), "float32", "nhwc", 0, 1, ())
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4, 4, 1), np.float32), y=[0, 1])
    np.save(tmp_path / "masks.npy", np.zeros((2, 8, 8)))
    with pytest.raises(InputError, match=r"\(2, 8, 8\), the maps have \(2, 4, 4\)"):
        run(tmp_path / "x.npz", masks=tmp_path / "masks.npy")
    assert vae.calls == []


def test_a_plot_is_written_once_and_again_only_by_force(run: Run, held_out: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "roc.png"
    run(held_out, plot=target)
    assert target.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match="exists"):
        run(held_out, plot=target)
    run(held_out, plot=target, force=True)
    with pytest.raises(OptionError, match=r"\.png"):
        run(held_out, plot=tmp_path / "roc.pdf")


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"range_alpha": 0.5}, OptionError, "pass --ranges too"),
        ({"ranges": True, "range_bias": "middle"}, OptionError, "valid are flat, front, back"),
        ({"bootstrap": 5}, OptionError, "at least 100"),
        ({"normal": "good"}, OptionError, "is a file"),
        ({"normal": "good", "label_column": "y"}, OptionError, "leave out the other"),
        ({"label_column": "z"}, DataError, "has no 'z': name one of x, y, kind"),
        ({"label_column": "kind"}, DataError, "0 .normal. or 1"),
        ({"labels": Path("nowhere.npy")}, DataError, "is no file"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_scoring(
    run: Run, vae: FakeVAE, held_out: Path, options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        run(held_out, **options)
    assert vae.calls == []


def test_data_without_labels_says_how_to_give_them(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", labelled_rows()[0])
    with pytest.raises(DataError, match="--labels FILE or --label-column"):
        run(tmp_path / "x.npy")
