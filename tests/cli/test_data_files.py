"""Tables and pictures of strangers through the commands: never wrong without a word on stderr and in the JSON."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from shell import Cli

NAMES = ("time_s", "temp", "vib")
SMALL = ("--latent", 2, "--width", 8, "--depth", 1, "--epochs", 2)


class Meter(NamedTuple):
    """A bundle of a table with a clock that float32 would lose, and what was said on the way."""

    folder: Path
    trained: str
    exported: str


def rows(seed: int, n: int = 200) -> np.ndarray:
    r = np.random.default_rng(seed).normal(size=(n, 3))
    return np.stack([1.7e9 + 5 * r[:, 0], 20 + r[:, 1], r[:, 1] + 0.1 * r[:, 2]], axis=1)


def write(path: Path, x: np.ndarray, *, first: int | None = None, names: tuple[str, ...] = NAMES) -> Path:
    head = [*([""] if first is not None else []), *names]
    lines = [[*([first + i] if first is not None else []), *map(repr, row)] for i, row in enumerate(x.tolist())]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])
    return path


def scores(out: str) -> np.ndarray:
    return np.array([float(line["score"]) for line in csv.DictReader(io.StringIO(out))])


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Meter:
    folder = tmp_path_factory.mktemp("meter")
    data = write(folder / "train.csv", rows(0), first=0)
    subtract = ("--subtract", "time_s=1700000000")
    trained = cli("train", "mlp", "--data", data, *SMALL, *subtract, "-o", folder / "run")
    assert trained.code == 0, trained.err
    write(folder / "good.csv", rows(1), first=0)
    exported = cli("export", folder / "run", "--calibration", folder / "good.csv", "-o", folder / "m.vaeb", "--json")
    assert exported.code == 0, exported.err
    return Meter(folder, trained.err, exported.out)


def test_what_was_taken_and_left_out_is_said_and_in_the_document(meter: Meter) -> None:
    assert (
        "train.csv: 200 rows, 3 columns time_s (minus 1700000000.0), temp, vib; names from the first" in meter.trained
    )
    assert "  left out Unnamed: 0: it has no name and counts rows (0 to 199)" in meter.trained
    (report,) = json.loads(meter.exported)["data"]
    assert report["columns"] == ["time_s (minus 1700000000.0)", "temp", "vib"]
    assert report["left_out"] == [{"name": "Unnamed: 0", "reason": "no feature of the model"}]
    assert report["rows"] == 200


def test_tomorrows_row_numbers_and_another_order_change_no_score(cli: Cli, meter: Meter, tmp_path: Path) -> None:
    today, bundle = rows(2), meter.folder / "m.vaeb"
    plain = cli("score", bundle, write(tmp_path / "a.csv", today))
    numbered = cli("score", bundle, write(tmp_path / "b.csv", today, first=90_000))
    turned = cli("score", bundle, write(tmp_path / "c.csv", today[:, ::-1], names=NAMES[::-1]))
    semicolons = (tmp_path / "a.csv").read_text().replace(",", ";").replace(".", ",")
    (tmp_path / "d.csv").write_text(semicolons)
    german = cli("score", bundle, tmp_path / "d.csv", "--columns", "vib,time_s,temp")
    assert plain.code == numbered.code == turned.code == 0
    for other in (numbered, turned):
        np.testing.assert_array_equal(scores(other.out), scores(plain.out))
    assert "left out Unnamed: 0: no feature of the model" in numbered.err
    # Names of the model in another place would be taken for other features.
    assert german.code == 2
    right = cli("score", bundle, tmp_path / "d.csv")
    np.testing.assert_array_equal(scores(right.out), scores(plain.out))
    # The clock counts: its changes are not rounded away.
    moved = today + np.array([60, 0, 0])
    assert (scores(cli("score", bundle, write(tmp_path / "e.csv", moved)).out) > scores(plain.out)).mean() > 0.9


def test_a_stream_subtracts_what_the_bundle_says(cli: Cli, meter: Meter, tmp_path: Path) -> None:
    path, bundle = write(tmp_path / "a.csv", rows(3, 50), first=7), meter.folder / "m.vaeb"
    watched = cli("watch", bundle, path, "--no-drift")
    assert watched.code == 0, watched.err
    events = [json.loads(line) for line in watched.out.splitlines()]
    np.testing.assert_allclose([e["score"] for e in events], scores(cli("score", bundle, path).out), rtol=1e-5)
    assert "left out : no feature of the model" in watched.err.replace("''", "")
    lines = "\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows(3, 50).tolist())
    (tmp_path / "a.jsonl").write_text(lines)
    again = cli("watch", bundle, tmp_path / "a.jsonl", "--no-drift")
    np.testing.assert_allclose([json.loads(s)["score"] for s in again.out.splitlines()], [e["score"] for e in events])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((), "time_s: float32 keeps 1 different values of 200 rows. Subtract"),
        (("--subtract", "time_s"), "write COLUMN=NUMBER"),
        (("--subtract", "time=5"), "no column that is taken"),
        (("--drop-columns", "clock"), "has no column 'clock'"),
        (("--decimal", ";"), "valid are"),
    ],
)
def test_a_column_that_float32_loses_stops_training_with_its_remedy(
    cli: Cli, tmp_path: Path, change: tuple[str, ...], said: str
) -> None:
    done = cli("train", "mlp", "--data", write(tmp_path / "t.csv", rows(0)), *SMALL, *change, "-o", tmp_path / "run")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_the_list_in_the_message_is_the_list_that_helps(cli: Cli, tmp_path: Path) -> None:
    lines = [f"{i},2024-01-{i % 28 + 1:02},{a},{b},7" for i, (_, a, b) in enumerate(rows(0).tolist())]
    (tmp_path / "t.csv").write_text("\n".join(["id,at,temp,vib,setpoint", *lines]))
    arguments = ("train", "mlp", "--data", tmp_path / "t.csv", *SMALL, "-o", tmp_path / "run")
    first = cli(*arguments)
    assert first.code == 2
    assert "--drop-columns 'at,id'" in first.err
    second = cli(*arguments, "--drop-columns", "at,id")
    assert second.code == 2
    assert "--drop-columns 'setpoint'" in second.err
    third = cli(*arguments, "--drop-columns", "at,id,setpoint")
    assert third.code == 0, third.err
    assert "left out at, id, setpoint: as --drop-columns says" in third.err


def test_rows_with_missing_cells_are_left_out_on_request(cli: Cli, tmp_path: Path) -> None:
    text = write(tmp_path / "t.csv", rows(0)[:, 1:], names=NAMES[1:]).read_text().splitlines()
    text[5] = "NA,1.0"
    (tmp_path / "t.csv").write_text("\n".join(text))
    arguments = ("train", "mlp", "--data", tmp_path / "t.csv", *SMALL, "-o", tmp_path / "run")
    refused = cli(*arguments)
    assert refused.code == 2
    assert "training row 4 holds NaN" in refused.err
    done = cli(*arguments, "--drop-missing", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["data"][0]["rows_left_out"] == [
        {"what": "1 row", "reason": "a cell is missing (--drop-missing)"}
    ]


def test_labels_of_a_semicolon_table_are_read_like_its_rows(cli: Cli, meter: Meter, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    x = rows(4)
    x[1::2, 1] += 9
    text = ["bad;" + ";".join(NAMES)]
    text += [
        f"{i % 2};" + ";".join(map(repr, row))
        for i, row in enumerate((x + [[0, 9, 0]] * (np.arange(200) % 2)[:, None]).tolist())
    ]
    (tmp_path / "t.csv").write_text("\n".join(text).replace(".", ","))
    done = cli("evaluate", meter.folder / "m.vaeb", tmp_path / "t.csv", "--label-column", "bad", "--bootstrap", 0)
    assert done.code == 0, done.err
    assert "100" in done.out


def test_pictures_that_do_not_fit_are_told_which_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for folder, shape in (("train", (16, 16, 3)), ("large", (24, 24, 3)), ("grey", (16, 16))):
        (tmp_path / folder).mkdir()
        for i in range(140 if folder == "train" else 2):
            image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / folder / f"{i:03}.png")
    (tmp_path / "train" / "notes.txt").write_text("x")
    trained = cli("train", "conv", "--data", tmp_path / "train", "--latent", 2, "--width", 4, "--depth", 1,
                  "--epochs", 1, "-o", tmp_path / "run")  # fmt: skip
    assert trained.code == 0, trained.err
    assert "left out 1 of 141 files: they are no pictures: .txt 1" in trained.err
    bundle = tmp_path / "p.vaeb"
    assert (
        cli("export", tmp_path / "run", "--calibration", tmp_path / "train", "--allow-poor-fit", "-o", bundle).code == 0
    )
    large = cli("score", bundle, tmp_path / "large")
    assert large.code == 2
    assert "2 pictures of 24x24 pixels" in large.err
    assert "--image-size 16x16" in large.err
    grey = cli("score", bundle, tmp_path / "grey")
    assert grey.code == 0
    assert "grey pictures became colour" in grey.err
    assert cli("score", bundle, tmp_path / "train" / "000.png").code == 0
