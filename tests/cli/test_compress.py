"""``compress``, ``decompress``, ``info`` of a .vaez file, and the same of ``python -m vae_edge_runtime``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle, windows
from shell import Cli, World

from vae_edge.cli import _tables
from vae_edge_runtime import Bundle, load
from vae_edge_runtime.__main__ import main as device
from vae_edge_runtime.codec.container import Frames
from vae_edge_runtime.compression_tables import AUTO_BOUNDS


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, windows(30, 4))
    return path


def test_rows_go_through_a_file_and_come_back_equal(cli: Cli, rows: Path, tmp_path: Path) -> None:
    day, back = tmp_path / "day.vaez", tmp_path / "back.npz"
    done = cli("compress", window_bundle(), rows, "--exact", "--scores", "-o", day)
    assert done.code == 0, done.err
    assert "30 rows in" in done.out
    done = cli("decompress", window_bundle(), day, "-o", back)
    assert done.code == 0, done.err
    with np.load(back) as loaded:
        np.testing.assert_array_equal(loaded["x"], np.load(rows))
        assert {"kind", "bound", "score", "p_value", "status"} <= set(loaded.files)
    facts = cli("info", day, "--json").json()
    assert (facts["rows"], facts["complete"], facts["size_bytes"]) == (30, True, day.stat().st_size)
    assert "30 in 1 block, complete" in (told := cli("info", day).out)
    assert "30 rows within a bound or exactly (line" in told


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".jsonl"])
def test_triage_and_every_output_format(cli: Cli, rows: Path, tmp_path: Path, suffix: str) -> None:
    day, back = tmp_path / "day.vaez", tmp_path / f"back{suffix}"
    done = cli("compress", window_bundle(), rows, "--triage", "--bound", "0.05", "-o", day, "--json")
    assert done.json()["raw_bytes"] == 30 * 400
    document = cli("decompress", window_bundle(), day, "-o", back, "--json").json()
    assert sum(document["kinds"].values()) == document["rows"] == 30
    if suffix == ".jsonl":
        lines = [json.loads(line) for line in back.read_text().splitlines()]
        assert len(lines) == 30 * 20
        assert set(lines[0]) == {*"vwxyz", "row", "kind", "bound", "score", "p_value", "status"}


def test_a_torn_file_is_refused_or_gives_its_whole_blocks_and_says_so(cli: Cli, rows: Path, tmp_path: Path) -> None:
    day, back = tmp_path / "day.vaez", tmp_path / "back.npy"
    with load(window_bundle(), device="cpu") as vae, vae.compress_file(day, exact=True, block_rows=10) as writer:
        writer.write(np.load(rows))
    day.write_bytes(day.read_bytes()[:-30])
    refused = cli("decompress", window_bundle(), day, "-o", back)
    assert refused.code == 2
    assert "has no end mark" in refused.err
    assert "20 rows before can be read with --allow-torn" in refused.err
    assert list(tmp_path.iterdir()) == [day]
    taken = cli("decompress", window_bundle(), day, "-o", back, "--allow-torn")
    assert (taken.code, np.load(back).shape) == (0, (20, 20, 5))
    assert "has no end mark" in taken.err


def test_the_device_refuses_a_torn_file_as_well(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, back = tmp_path / "day.vaez", tmp_path / "back.npy"
    with load(window_bundle(), device="cpu") as vae, vae.compress_file(day, exact=True, block_rows=10) as writer:
        writer.write(np.load(rows))
    day.write_bytes(day.read_bytes()[:-30])
    line = ["decompress", str(window_bundle()), str(day), "-o", str(back)]
    assert device(line) == 2
    assert "--allow-torn" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [day]
    assert device([*line, "--allow-torn"]) == 0
    assert "bytes of a torn block were dropped" in capsys.readouterr().err
    assert len(np.load(back)) == 20


def test_what_cannot_be_done_is_said(cli: Cli, rows: Path, tmp_path: Path) -> None:
    day, picture = tmp_path / "day.vaez", tmp_path / "picture.npy"
    with load(CORPUS / "v1-picture.vaeb", device="cpu") as vae:
        np.save(picture, np.zeros((1, *vae.manifest.input.shape), vae.manifest.input.dtype))
    for arguments, problem in (
        ((window_bundle(), rows), "say one of --bound"),
        ((window_bundle(), rows, "--bound", "9"), "no tables for '9'; it has latents, 0.3, 0.05, exact"),
        (
            (CORPUS / "v1-window.vaeb", rows, "--exact"),
            "no tables to compress with: vae-edge recalibrate BUNDLE NORMAL_ROWS --compress 0.1 -o NEW",
        ),
        ((CORPUS / "v1-picture.vaeb", picture, "--latents"), "NORMAL_ROWS --compress latents -o NEW"),
    ):
        done = cli("compress", *arguments, "-o", day)
        assert done.code == 2
        assert problem in done.err
    done = cli("decompress", window_bundle(), rows, "-o", tmp_path / "back.npy")
    assert done.code == 2
    assert "does not begin with VAEZ" in done.err


@pytest.mark.parametrize("text", ["0", "-1", "0.1,0.1", "auto,0.1", "wide", "1e400", "0.1;0.2"])
def test_modes_that_are_none_are_refused(cli: Cli, tmp_path: Path, text: str, rows: Path) -> None:
    done = cli("recalibrate", CORPUS / "v1-window.vaeb", rows, "--compress", text, "-o", tmp_path / "x.vaeb")
    assert done.code == 2
    assert "compress is" in done.err


def test_recalibrate_shows_a_table_and_auto_takes_one_bound(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", windows(120, 5))
    done = cli(
        "recalibrate", CORPUS / "v1-window.vaeb", tmp_path / "rows.npy", "--compress", "auto", "-o",
        tmp_path / "x.vaeb", "--false-positive-rate", "0.1", "--compress-rows", tmp_path / "rows.npy",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "decisions flipped" in done.out
    modes: list[dict[str, Any]] = cli("info", tmp_path / "x.vaeb", "--json").json()["manifest"]["compression"]["modes"]
    assert [mode["kind"] for mode in modes] == ["latents", "bounded"]
    assert modes[1]["flipped"] == 0 or modes[1]["name"] == "0.003"
    assert "compression" in cli("info", tmp_path / "x.vaeb").out


def test_rows_that_fit_no_table_are_counted(cli: Cli, rows: Path, tmp_path: Path) -> None:
    x = np.load(rows)
    x[3] = np.nan
    x[5] += np.float32(0.001)  # off the grid of 1/100
    np.save(tmp_path / "x.npy", x)
    done = cli("compress", window_bundle(), tmp_path / "x.npy", "--exact", "-o", tmp_path / "x.vaez")
    assert "warning: 2 of 30 rows fit no table" in done.err
    assert "warning" not in cli("compress", window_bundle(), rows, "--exact", "-o", tmp_path / "y.vaez").err


def table(out: str) -> dict[str, list[str]]:
    """The lines of the table of compression, by their first cell; cells are two spaces apart."""
    lines = out[out.index("compression ") :].splitlines()
    rows = [re.split(r"  +", line) for line in lines]
    return {row[0]: row[1:] for row in rows if len(row) == len(rows[0])}


def test_export_shows_every_bound_with_bytes_error_predictor_and_flipped_decisions(
    cli: Cli, world: World, tmp_path: Path
) -> None:
    path, normal = tmp_path / "x.vaeb", world.folder / "normal.csv"
    done = cli("export", world.folder / "run", "--calibration", normal, "--compress", "0.3,0.1,0.03", "-o", path)
    assert done.code == 0, done.err
    shown = table(done.out)
    assert shown.pop("compression") == [
        "bytes a row", "of them latents", "predictor", "largest error", "decisions flipped",
    ]  # fmt: skip
    assert list(shown) == ["latents", "0.3 of the spread", "0.1 of the spread", "0.03 of the spread"]
    sizes = [float(cells[0]) for cells in shown.values()]
    assert sizes == sorted(sizes)
    assert {cells[2] for cells in shown.values()} <= {"vae", "near"}
    assert all(float(cells[3].split()[0]) <= 1 for name, cells in shown.items() if name != "latents")
    rows = np.loadtxt(normal, np.float32, delimiter=",", skiprows=1)
    with load(path, device="cpu") as vae:
        assert vae.manifest.compression is not None
        for name, cells in list(shown.items())[1:]:
            bound = name.split()[0]
            back = vae.decompress(vae.compress(rows, bound=bound)).rows
            assert float(cells[0]) == pytest.approx(
                np.mean([len(vae.packet(row, bound=bound)) for row in rows]), rel=0.1
            )
            # The threshold is the score of one of these rows, which counts or not by the last bit of its score.
            flipped = int((vae.score(back).is_anomaly != vae.score(rows).is_anomaly).sum())
            assert abs(int(cells[4]) - flipped) <= 1


def test_auto_takes_the_widest_bound_that_flips_no_decision_or_says_that_none_does(
    cli: Cli, world: World, tmp_path: Path
) -> None:
    path, normal = tmp_path / "x.vaeb", world.folder / "normal.csv"
    done = cli("export", world.folder / "run", "--calibration", normal, "--compress", "auto", "-o", path, "--json")
    assert done.code == 0, done.err
    latents, bounded = done.json()["report"]["compression"]["modes"]
    assert latents["kind"] == "latents"
    tried = [name for name in AUTO_BOUNDS if float(name) >= float(bounded["name"])]
    # Whether a wider bound would have flipped none:
    done = cli("export", world.folder / "run", "--calibration", normal, "--compress", ",".join(tried), "-o", path,
               "--json", "--force")  # fmt: skip
    *wider, last = done.json()["report"]["compression"]["modes"][1:]
    assert all(mode["flipped"] > 0 for mode in wider)
    assert last == bounded
    assert last["flipped"] == 0 or last["name"] == AUTO_BOUNDS[-1]


def test_auto_that_keeps_not_every_decision_warns(capsys: pytest.CaptureFixture[str]) -> None:
    with Bundle.open(window_bundle()) as bundle:
        section = bundle.manifest.compression
    assert section is not None
    flips = dataclasses.replace(section.modes[1], flipped=3)
    for wish, said in (("auto", True), ("0.3", False)):
        _tables.compression(dataclasses.replace(section, modes=(section.modes[0], flips)), wish)
        assert ("no bound that keeps every decision: 0.3 of the spread" in capsys.readouterr().err) == said


def test_the_device_commands_write_and_read_the_same_files(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, back, bundle = tmp_path / "day.vaez", tmp_path / "back.npz", str(window_bundle())
    assert device(["compress", bundle, str(rows), "--bound", "0.3", "-o", str(day), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 30
    assert device(["info", str(day)]) == 0
    assert json.loads(capsys.readouterr().out)["pair_id"]
    assert device(["decompress", bundle, str(day), "-o", str(back), "--device", "cpu"]) == 0
    capsys.readouterr()
    with np.load(back) as loaded:
        assert set(loaded["kind"].tolist()) == {"bounded"}
    assert device(["decompress", bundle, str(day), "-o", str(tmp_path / "back.txt")]) == 2
    assert device(["compress", bundle, str(rows), "--exact", "-o", str(day)]) == 2  # it exists


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".jsonl"])
def test_a_file_without_a_row_yet_gives_a_table_without_rows(cli: Cli, tmp_path: Path, suffix: str) -> None:
    day, back = tmp_path / "day.vaez", tmp_path / f"back{suffix}"
    with load(window_bundle(), device="cpu") as vae:
        vae.compress_file(day, exact=True).close()
    done = cli("decompress", window_bundle(), day, "-o", back)
    assert (done.code, "0 rows (none)" in done.out) == (0, True), done.err
    assert suffix != ".csv" or back.read_text().startswith("v,w,x,y,z,row,")
    if suffix == ".npz":
        assert device(["decompress", str(window_bundle()), str(day), "-o", str(tmp_path / "device.npz")]) == 0


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that opens and does not read")
def test_a_disk_that_fails_is_an_error_in_one_line(
    cli: Cli, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("decompress", window_bundle(), "/proc/self/mem", "-o", tmp_path / "x.npy")
    assert (done.code, "/proc/self/mem cannot be read: Input/output error" in done.err) == (2, True), done.err
    with load(window_bundle(), device="cpu") as vae, vae.compress_file(tmp_path / "d.vaez", exact=True) as writer:
        writer.write(np.load(rows))

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Frames, "_next", failing)
    done = cli("decompress", window_bundle(), tmp_path / "d.vaez", "-o", tmp_path / "x.npy")
    assert (done.code, "after 0 rows the file cannot be read: Input/output error" in done.err) == (2, True), done.err
    assert not (tmp_path / "x.npy").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_a_file_is_refused_and_never_waited_for(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "day.vaez")
    for ended in (
        cli("decompress", window_bundle(), tmp_path / "day.vaez", "-o", tmp_path / "back.npy"),
        cli("decode", window_bundle(), tmp_path / "day.vaez", "-o", tmp_path / "back.npy"),
    ):
        assert (ended.code, "no regular file" in ended.err) == (2, True), ended.err
