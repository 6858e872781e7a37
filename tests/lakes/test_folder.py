"""A folder of tables is scored once, file by file: whole files only, and again only where something changed."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import Cli, Outcome
from shell import run as run_command
from tiny_bundle import FEATURES, TinyBundle

from vae_edge.lakes import folder as lakes_folder
from vae_edge.lakes.done import read_record, record_path
from vae_edge.lakes.writing import file_chunks
from vae_edge_runtime import load

ROOT = Path(__file__).parents[2]
NAMES = ("a", "b", "c", "d")


def _rows(seed: int, n: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, FEATURES)).astype(np.float32)


def _write_csv(path: Path, rows: np.ndarray, names: tuple[str, ...] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(names), *(",".join(map(repr, row.tolist())) for row in rows)]) + "\n")


def _write_parquet(path: Path, rows: np.ndarray, **columns: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {**{name: rows[:, i] for i, name in enumerate(NAMES)}, **columns}
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(table), path)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Four tables in two folders, and files that are none."""
    source = tmp_path / "in"
    for i, name in enumerate(("a.csv", "b.csv", "day=1/a.csv", "day=2/c.csv")):
        _write_csv(source / name, _rows(i))
    (source / "_SUCCESS").write_text("")
    (source / "day=1" / ".a.csv.crc").write_text("x")
    (source / "notes.txt").write_text("x")
    return source


def _outputs(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in _outputs(folder) if not Path(name).name.startswith("."))


def _score(bundle: Path, source: Path, target: Path, *more: object) -> Outcome:
    return run_command("score", bundle, source, "-o", target, "--device", "cpu", "--threads", 1, *more)


def test_each_table_gets_the_scores_that_it_gets_alone(tiny_path: Path, lake: Path, tmp_path: Path, cli: Cli) -> None:
    done = _score(tiny_path, lake, tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert _visible(tmp_path / "out") == ["a.csv", "b.csv", "day=1/a.csv", "day=2/c.csv"]
    for name in _visible(tmp_path / "out"):
        alone = cli("score", tiny_path, lake / name, "--device", "cpu", "--threads", 1)
        assert (tmp_path / "out" / name).read_text() == alone.out
    document = done.json()
    assert (document["scored"], document["done"], document["failed"], document["rows"]) == (4, 0, 0, 80)
    assert [file["state"] for file in document["files"]] == ["scored"] * 4
    assert sum(file["anomalies"] for file in document["files"]) == document["anomalies"]
    assert "left out 2 files: their name, or that of a folder, begins with a point or _" in done.err
    assert "left out 1 file, which are none of .csv, .jsonl, .parquet: .txt 1" in done.err


def test_what_is_done_is_skipped_and_said(tiny_path: Path, lake: Path, tmp_path: Path) -> None:
    _score(tiny_path, lake, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    again = _score(tiny_path, lake, tmp_path / "out", "--json")
    assert (again.code, again.json()["scored"], again.json()["done"], again.json()["rows"]) == (0, 0, 4, 80)
    assert "4 files: 0 scored, 4 were done before, 0 failed" in again.err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before
    os.utime(lake / "a.csv")  # neither the time of a file nor its place counts
    (lake / "a.csv").rename(lake / "moved.csv")
    (lake / "moved.csv").rename(lake / "a.csv")
    assert _score(tiny_path, lake, tmp_path / "out", "--json").json()["done"] == 4


def _other_input(bundle: TinyBundle, lake: Path, out: Path) -> None:
    _write_csv(lake / "a.csv", _rows(9))


def _other_bundle(bundle: TinyBundle, lake: Path, out: Path) -> None:
    values = bundle.plain
    values["release"] = 2
    bundle.write(values)


def _other_output(bundle: TinyBundle, lake: Path, out: Path) -> None:
    (out / "a.csv").write_bytes((out / "a.csv").read_bytes()[:-1])


def _no_output(bundle: TinyBundle, lake: Path, out: Path) -> None:
    (out / "a.csv").unlink()


def _damaged_record(bundle: TinyBundle, lake: Path, out: Path) -> None:
    record = record_path(out / "a.csv")
    record.write_bytes(record.read_bytes()[:40])


CHANGES: dict[str, tuple[Callable[[TinyBundle, Path, Path], None], int]] = {
    "the input changed": (_other_input, 1),
    "the bundle is another": (_other_bundle, 4),
    "the output changed": (_other_output, 1),
    "the output is gone": (_no_output, 1),
    "its record is missing or damaged": (_damaged_record, 1),
}


@pytest.mark.parametrize("why", CHANGES)
def test_what_changed_is_scored_again_and_nothing_else(tiny: TinyBundle, lake: Path, tmp_path: Path, why: str) -> None:
    bundle, out = tiny.write(), tmp_path / "out"
    _score(bundle, lake, out)
    change, count = CHANGES[why]
    change(tiny, lake, out)
    again = _score(bundle, lake, out, "--json")
    assert (again.code, again.json()["scored"], again.json()["done"]) == (0, count, 4 - count)
    assert f"a.csv was scored again: {why}" in again.err
    fresh = tmp_path / "fresh"
    _score(bundle, lake, fresh)
    assert {n: d for n, d in _outputs(out).items() if n.endswith(".csv")} == {
        n: d for n, d in _outputs(fresh).items() if n.endswith(".csv")
    }
    assert _score(bundle, lake, out, "--json").json()["done"] == 4


@pytest.mark.parametrize("option", [("--threshold", 0.5), ("--drop-missing",), ("--heads", "elbo")])
def test_other_options_are_other_scores(
    tiny_path: Path, lake: Path, tmp_path: Path, option: tuple[object, ...]
) -> None:
    _score(tiny_path, lake, tmp_path / "out")
    again = _score(tiny_path, lake, tmp_path / "out", *option, "--json")
    assert (again.code, again.json()["scored"]) == (0, 4)
    assert "a.csv was scored again: the options are others" in again.err
    assert _score(tiny_path, lake, tmp_path / "out", *option, "--json").json()["done"] == 4


def test_a_file_that_cannot_be_read_stops_no_other(tiny_path: Path, lake: Path, tmp_path: Path) -> None:
    _write_csv(lake / "a.csv", _rows(0), ("a", "b", "x", "d"))
    (lake / "b.csv").write_bytes(b"")
    done = _score(tiny_path, lake, tmp_path / "out", "--json")
    assert done.code == 2
    assert (done.json()["scored"], done.json()["failed"], done.json()["rows"]) == (2, 2, 40)
    assert "2 of 4 files could not be scored, first a.csv:" in done.err
    assert "lacks the column 'c'" in done.err
    assert _visible(tmp_path / "out") == ["day=1/a.csv", "day=2/c.csv"]
    _write_csv(lake / "a.csv", _rows(0))
    (lake / "b.csv").unlink()
    again = _score(tiny_path, lake, tmp_path / "out", "--json")
    assert (again.code, again.json()["scored"], again.json()["done"]) == (0, 1, 2)


def test_a_failure_keeps_the_older_output(tiny_path: Path, lake: Path, tmp_path: Path) -> None:
    _score(tiny_path, lake, tmp_path / "out")
    before = _outputs(tmp_path / "out")
    (lake / "a.csv").write_bytes(b"\x00\x01 no table")
    assert _score(tiny_path, lake, tmp_path / "out").code == 2
    assert _outputs(tmp_path / "out") == before


def test_parquet_with_the_same_types_in_every_file(tiny_path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    source, out = tmp_path / "in", tmp_path / "out"
    bad = _rows(0)
    bad[:] = np.nan
    for name, rows in (("full", _rows(1)), ("unscored", bad), ("empty", _rows(2)[:0])):
        _write_parquet(source / f"{name}.parquet", rows, id=np.arange(len(rows)), nested=[{"x": [1]}] * len(rows))
    done = _score(tiny_path, source, out, "--json")
    assert done.code == 0, done.err
    schemas = [parquet.read_schema(out / f"{name}.parquet") for name in ("full", "unscored", "empty")]
    assert schemas[0] == schemas[1] == schemas[2]
    assert [str(t) for t in schemas[0].types] == ["string", "float", "float", "float", "double", "bool", "string"]
    with load(tiny_path, device="cpu", threads=1) as vae:
        expected = vae.score(_rows(1))
    table = parquet.read_table(out / "full.parquet").to_pydict()
    np.testing.assert_array_equal(np.float32(table["score"]), expected.score)
    assert table["is_anomaly"] == expected.is_anomaly.tolist()
    unscored = parquet.read_table(out / "unscored.parquet").to_pydict()
    assert unscored["score"] == unscored["p_value"] == unscored["is_anomaly"] == [None] * 20
    assert set(unscored["status"]) == {"non_finite_input"}
    assert parquet.read_table(out / "empty.parquet").num_rows == 0
    assert _score(tiny_path, source, out, "--json").json()["done"] == 3


def test_dictionaries_are_numbers_and_nested_columns_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in").mkdir()
    columns = {name: arrow.array([1.0, 2.0, 1.0]) for name in NAMES}
    encoded = {**columns, "a": columns["a"].dictionary_encode()}
    nested = {**columns, "a": arrow.array([[1.0], [2.0], [1.0]])}
    for name, table in (("plain", columns), ("encoded", encoded), ("nested", nested)):
        parquet.write_table(arrow.table(table), tmp_path / "in" / f"{name}.parquet")
    done = _score(tiny_path, tmp_path / "in", tmp_path / "out", "--json")
    assert (done.code, done.json()["scored"], done.json()["failed"]) == (2, 2, 1)
    assert "nested.parquet" in done.err
    assert "list<" in done.err
    plain, coded = (parquet.read_table(tmp_path / "out" / f"{n}.parquet") for n in ("plain", "encoded"))
    assert plain.equals(coded)


def test_rows_are_written_in_parts_and_add_up(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, out = _rows(5, 1000), {}
    for ending, write in ((".csv", _write_csv), (".parquet", _write_parquet)):
        write(tmp_path / "in" / f"x{ending}", rows)  # type: ignore[operator]
    for at_once in (1 << 16, 7):
        monkeypatch.setattr(lakes_folder, "_MOST_ROWS", at_once)
        assert _score(tiny_path, tmp_path / "in", tmp_path / f"out{at_once}").code == 0
        out[at_once] = tmp_path / f"out{at_once}"
    with (out[7] / "x.csv").open() as some, (out[1 << 16] / "x.csv").open() as whole:
        few, many = list(csv.DictReader(some)), list(csv.DictReader(whole))
    assert [row["row_id"] for row in few] == [row["row_id"] for row in many] == [str(i) for i in range(1000)]
    np.testing.assert_allclose([float(r["score"]) for r in few], [float(r["score"]) for r in many], rtol=1e-6)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(out[7] / "x.parquet").column("row_id").to_pylist() == [str(i) for i in range(1000)]
    columns = {"row_id": ["0"], "score": np.float32([1.5])}
    assert b"".join(file_chunks(Path("x.jsonl"), [columns, columns])) == b'{"row_id": "0", "score": 1.5}\n' * 2


def test_windows_of_a_table_are_scored_within_each_file(tmp_path: Path) -> None:
    bundle = ROOT / "tests" / "corpus" / "v1-window.vaeb"
    with load(bundle, device="cpu", threads=1) as vae:
        (steps, features), names = vae.manifest.input.shape, vae.manifest.input.names
    for i in range(2):
        rows = np.random.default_rng(i).normal(size=(steps + 4, features))
        _write_csv(tmp_path / "in" / f"{i}.csv", rows, names)
    done = _score(bundle, tmp_path / "in", tmp_path / "out", "--json")
    assert (done.code, done.json()["rows"]) == (0, 10), done.err


def test_folders_and_options_that_cannot_be_are_refused_before_any_work(
    tiny_path: Path, lake: Path, tmp_path: Path
) -> None:
    out, foreign = tmp_path / "out", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a.csv").write_text("mine")
    (tmp_path / "file").write_text("")
    for target, more, message in (
        (lake, (), "which this command reads: name another output"),
        (lake / "scores", (), "its outputs would be inputs of the next run"),
        (tmp_path / "x.csv", (), "name a folder with --output"),
        (tmp_path / "file", (), "is a file; a folder of tables is scored into a folder"),
        (foreign, (), "was not written by vae-edge score (1 such files): pass --force"),
        (out, ("--maps", tmp_path / "maps"), "--maps is not for a folder of tables"),
    ):
        refused = _score(tiny_path, lake, target, *more)
        assert (refused.code, message in refused.err) == (2, True), refused.err
    assert run_command("score", tiny_path, lake).code == 2
    assert run_command("score", tiny_path, lake, lake, "-o", out).code == 2
    assert not out.exists()
    assert (foreign / "a.csv").read_text() == "mine"
    assert _score(tiny_path, lake, foreign, "--force", "-q").code == 0
    assert _score(tiny_path, lake, foreign, "--json").json()["done"] == 4


def test_a_changed_input_is_noticed_while_it_is_scored(
    tiny_path: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lakes_folder.score_columns

    def growing(*args: Any) -> Any:
        with (lake / "a.csv").open("a") as file:
            file.write("1,1,1,1\n")
        return real(*args)

    monkeypatch.setattr(lakes_folder, "score_columns", growing)
    done = _score(tiny_path, lake, tmp_path / "out")
    assert done.code == 2
    assert "a.csv changed while it was scored" in done.err
    assert _visible(tmp_path / "out") == ["b.csv", "day=1/a.csv", "day=2/c.csv"]


PROGRAM = """
import os, sys
from vae_edge_runtime.storage import files
from vae_edge.lakes import done, folder

step, nth, calls = sys.argv[1], int(sys.argv[2]), 0

def dying(real):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), int(sys.argv[3]))
        return real(*args, **options)
    return call

owner = {"score_columns": folder, "write_record": folder}.get(step, os)
setattr(owner, step, dying(getattr(owner, step)))
from vae_edge.cli import main
main(sys.argv[4:])
"""


@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT", "SIGTERM"])
@pytest.mark.parametrize(("step", "nth"), [("score_columns", 2), ("fsync", 5), ("fsync", 7), ("write_record", 3)])
def test_killed_at_any_step_the_next_run_ends_with_every_row_once(
    tiny_path: Path, lake: Path, tmp_path: Path, number: str, step: str, nth: int
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    arguments = ["score", tiny_path, lake, "-o", out, "--device", "cpu", "--threads", 1]
    command = [sys.executable, "-c", PROGRAM, step, nth, getattr(signal, number).value, *arguments]
    died = subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=60)
    assert died.returncode != 0
    _score(tiny_path, lake, fresh)
    whole = {name: data for name, data in _outputs(fresh).items() if name.endswith(".csv")}
    left = _outputs(out)
    for name in _visible(out):
        assert left[name] == whole[name]  # whole, or not there
    parts = [name for name in left if name.endswith(".part")]
    if number != "SIGKILL":
        assert parts == []
    again = _score(tiny_path, lake, out, "--json")
    assert (again.code, again.json()["scored"] + again.json()["done"]) == (0, 4)
    assert again.json()["done"] >= 1
    assert {name: _outputs(out)[name] for name in _visible(out)} == whole
    assert again.json()["rows"] == 80


@pytest.mark.parametrize("nth", range(1, 10))
def test_a_full_disk_at_each_write_leaves_whole_files_and_the_next_run_ends(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Two files, for each: record and output, each with its folder."""
    source, out, fresh, calls = tmp_path / "in", tmp_path / "out", tmp_path / "fresh", 0
    for i in range(2):
        _write_csv(source / f"{i}.csv", _rows(i))
    _score(tiny_path, source, fresh)
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        stopped = _score(tiny_path, source, out)
    of_a_file = nth in (1, 2, 5, 6)  # else of a folder: the file has its name already, and a line in the log says so
    expected = (3, 1) if of_a_file else (0, 0)
    assert (stopped.code, stopped.err.count("No space left on device")) == expected, stopped.err
    assert [name for name in _outputs(out) if name.endswith(".part")] == []
    for name in _visible(out):
        assert _outputs(out)[name] == _outputs(fresh)[name]
    again = _score(tiny_path, source, out, "--json")
    assert (again.code, again.json()["rows"], again.json()["failed"]) == (0, 40, 0)
    assert _outputs(out) == _outputs(fresh)


def test_names_that_are_long_or_no_text(tiny_path: Path, tmp_path: Path) -> None:
    for name in ("x" * 251 + ".csv", os.fsdecode(b"\xff.csv"), "new\nline.csv"):
        _write_csv(tmp_path / "in" / name, _rows(1))
    first = _score(tiny_path, tmp_path / "in", tmp_path / "out", "--json")
    assert (first.code, first.json()["scored"]) == (0, 3), first.err
    assert _score(tiny_path, tmp_path / "in", tmp_path / "out", "--json").json()["done"] == 3


def test_two_runs_at_once_leave_every_row_once(tiny_path: Path, lake: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vae_edge", "score", str(tiny_path), str(lake), "-o", str(tmp_path / "out"), "-q"]
    command += ["--device", "cpu", "--threads", "1"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in runs:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    again = _score(tiny_path, lake, tmp_path / "out", "--json")
    assert (again.json()["done"], again.json()["rows"]) == (4, 80)


def test_a_record_says_what_the_scores_depend_on(tiny_path: Path, lake: Path, tmp_path: Path) -> None:
    _score(tiny_path, lake, tmp_path / "out")
    done = read_record(tmp_path / "out" / "a.csv")
    assert done is not None
    assert len(done.settings["bundle_id"]) == 64
    assert done.counts.rows == 20
    assert done.output.size_bytes == (tmp_path / "out" / "a.csv").stat().st_size
