"""``watch`` and ``explain`` on a real bundle of windows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shell import Cli

from vae_edge_runtime import load

LENGTH = 20


def signals(n: int, seed: int) -> np.ndarray:
    """Three sensors that follow one oscillation, 100 rows a second."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * 1.7 * np.arange(n) / 100 + rng.uniform(0, 6)
    return np.stack([np.sin(phase), np.cos(phase), np.sin(phase + 1)], 1) + 0.05 * rng.normal(size=(n, 3))


def write(path: Path, rows: np.ndarray, header: str = "a,b,c", time_s: np.ndarray | None = None) -> Path:
    lines = [",".join("" if np.isneginf(v) else f"{v:.5f}" for v in row) for row in rows]
    if time_s is not None:
        header, lines = f"t,{header}", [f"{t:.3f},{line}" for t, line in zip(time_s, lines, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture(scope="session")
def pump(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A folder with pump.vaeb and live.csv: 600 rows with one anomaly, a NaN, an empty cell and a gap."""
    folder = tmp_path_factory.mktemp("watch")
    write(folder / "train.csv", signals(6000, 0))
    write(folder / "good.csv", signals(6000, 1))
    window = ("--window", LENGTH, "--stride", 10)
    trained = cli("train", "mlp", "--data", folder / "train.csv", *window, "--latent", 3, "--width", 32, "--epochs", 8,
                  "-o", folder / "run")  # fmt: skip
    assert trained.code == 0, trained.err
    exported = cli(
        "export", folder / "run", "--calibration", folder / "good.csv", *window, "--heads", "elbo,peak,mahalanobis",
        "--period-s", 0.01, "--false-positive-rate", 0.005, "-o", folder / "pump.vaeb",
    )  # fmt: skip
    assert exported.code == 0, exported.err
    x = signals(600, 2)
    x[200:240, 1] += 0.9
    x[305, 2], x[410, 0] = np.nan, -np.inf  # written as an empty cell
    write(folder / "live.csv", x, time_s=np.arange(600) * 0.01 + (np.arange(600) >= 500))
    return folder


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_window_is_a_line_and_faults_are_no_anomalies(pump: Path, cli: Cli) -> None:
    done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "--time-column", "t", "--heads", "peak")
    assert done.code == 0, done.err
    found = {e["index"]: e for e in events(done.out)}
    assert list(found) == list(range(19, 600, 20))
    assert found[219]["is_anomaly"]
    assert sum(bool(e["is_anomaly"]) for e in found.values()) <= 3
    top = found[219]["top"]
    assert isinstance(top, list)
    assert top[0]["name"] == "b"
    assert found[319]["faults"] == ["non_finite"]
    assert found[319]["fault_features"] == ["c"]
    assert found[319]["score"] is None
    assert found[419]["faults"] == ["gap"]
    assert found[419]["fault_features"] == ["a"]
    assert found[519]["faults"] == ["gap"]
    assert found[519]["time"] == pytest.approx(6.19)
    assert "600 rows, 30 decisions:" in done.err
    assert "3 without a score (gap 2, non_finite 1)" in done.err
    with load(pump / "pump.vaeb") as vae:  # what the stream says is what score says of the same windows
        rows = np.genfromtxt(pump / "live.csv", delimiter=",", skip_header=1)[:, 1:].astype(np.float32)
        scores = vae.score(rows[:300].reshape(15, LENGTH, 3), heads="peak")
    np.testing.assert_allclose([found[i]["score"] for i in range(19, 300, 20)], scores.score, rtol=1e-5)
    peaks = [found[i]["heads"]["peak"]["score"] for i in range(19, 300, 20)]  # type: ignore[index]
    np.testing.assert_allclose(peaks, scores.heads["peak"].score, rtol=1e-5)


def test_only_what_changes_or_only_anomalies(pump: Path, cli: Cli) -> None:
    everything = events(cli("watch", pump / "pump.vaeb", pump / "live.csv").out)
    changes = events(cli("watch", pump / "pump.vaeb", pump / "live.csv", "--only", "changes").out)
    anomalies = events(cli("watch", pump / "pump.vaeb", pump / "live.csv", "--only", "anomalies").out)
    assert len(everything) == 30
    assert 4 <= len(changes) < 12
    for event in (*everything, *anomalies):
        del event["seq"], event["stream"]  # of one run
    assert [e for e in everything if e["is_anomaly"]] == [e for e in anomalies if e["is_anomaly"]]
    assert {"raised", "cleared"} <= {str(e["alarm"]) for e in changes}
    assert cli("watch", pump / "pump.vaeb", pump / "live.csv", "--only", "gossip").code == 2


def test_alarm_rules_stride_limit_and_imputation_can_be_given(pump: Path, cli: Cli) -> None:
    one = ("watch", pump / "pump.vaeb", pump / "live.csv", "--impute", "--stride", 5, "--alarm", "40/40")
    done = cli(*one, "--limit", 450)
    found = events(done.out)
    assert done.code == 0, done.err
    assert {e["alarm"] for e in found} == {"off"}
    assert "1 imputed" not in done.err  # four windows of 20 rows share the empty cell at stride 5
    assert [e["imputed"] for e in found if "imputed" in e] == [1, 1, 1, 1]
    assert cli(*one[:-1], "3/2").code == 2


def test_rows_come_as_json_lines_from_a_pipe(pump: Path) -> None:
    lines = [
        json.dumps({"time": i / 100, "c": c, "b": b, "a": a}) for i, (a, b, c) in enumerate(signals(60, 3).tolist())
    ]
    done = subprocess.run(
        [sys.executable, "-m", "vae_edge", "watch", str(pump / "pump.vaeb"), "-"],
        input="\n".join(lines), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [e["index"] for e in events(done.stdout)] == [19, 39, 59]


def test_a_pipe_that_falls_silent_is_stale_and_can_be_left(pump: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vae_edge", "watch", str(pump / "pump.vaeb"), "-", "--stale", "0.5"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for row in signals(20, 3).tolist():
        process.stdin.write(json.dumps(row) + "\n")
    process.stdin.flush()
    found = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGTERM)  # while a thread waits for stdin
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Fatal" not in said
    assert [e["kind"] for e in found] == ["decision", "stale"]
    assert found[1]["figures"]["silence_s"] >= 0.5


def test_a_reader_that_goes_away_is_an_error_and_no_traceback(pump: Path) -> None:
    command = f"{sys.executable} -m vae_edge watch {pump / 'pump.vaeb'} {pump / 'live.csv'} --stride 1 | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "nobody reads the events on stdout any more" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_followed_file_is_left_cleanly(pump: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    source, output = tmp_path / "live.csv", tmp_path / "events.jsonl"
    source.write_text((pump / "live.csv").read_text())
    process = subprocess.Popen(
        [sys.executable, "-m", "vae_edge", "watch", pump / "pump.vaeb", source, "--follow", "-o", output],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # Whoever runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (output.exists() and output.read_text().count("\n") >= 30):
        time.sleep(0.05)
    with source.open("a") as file:
        file.write("7.00,0.1,0.2")  # half a line
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "600 rows, 30 decisions" in said
    text = output.read_text()
    assert text.endswith("}\n")
    assert len(events(text)) == 30


def test_events_are_appended_and_anomalies_drawn(pump: Path, cli: Cli, tmp_path: Path) -> None:
    output, maps = tmp_path / "events.jsonl", tmp_path / "maps"
    for _ in range(2):
        done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "-o", output, "--maps", maps)
        assert done.code == 0, done.err
        assert done.out == ""
    found = events(output.read_text())
    assert len(found) == 60
    assert {int(p.name[:12]) for p in maps.iterdir()} == {e["index"] for e in found if e["is_anomaly"]}
    with output.open("a") as file:
        file.write('{"kind": "decis')  # as a power cut leaves it
    done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "-o", output, "--limit", 20)
    assert "15 bytes of it were cut off" in done.err
    assert len(events(output.read_text())) == 61


def test_what_cannot_be_watched_is_said_before_anything_is_written(pump: Path, cli: Cli, tmp_path: Path) -> None:
    bundle = pump / "pump.vaeb"
    for arguments in (
        (bundle, tmp_path / "absent.csv"), (bundle, pump / "live.csv", "-o", tmp_path),
        (bundle, pump / "live.csv", "--columns", "a,b"), (bundle, tmp_path), (pump / "live.csv", pump / "live.csv"),
        (bundle, pump / "live.csv", "--stale", 5),
    ):  # fmt: skip
        done = cli("watch", *arguments)
        assert (done.code, done.out) == (2, ""), done.err


def test_a_state_of_something_else_is_refused_and_a_new_bundle_takes_over_when_told(
    pump: Path, cli: Cli, tmp_path: Path
) -> None:
    state, output, live = tmp_path / "state", tmp_path / "events.jsonl", tmp_path / "live.csv"
    text = (pump / "live.csv").read_text()
    live.write_text("".join(text.splitlines(keepends=True)[:231]))  # the alarm is on
    options = ("--state", state, "-o", output, "--time-column", "t")
    assert cli("watch", pump / "pump.vaeb", live, *options).code == 0
    before = events(output.read_text())
    assert before[-1]["alarm"] in ("raised", "on")
    other = tmp_path / "other.vaeb"
    good = (pump / "good.csv", "--columns", "a,b,c")
    made = cli("recalibrate", pump / "pump.vaeb", *good, "--false-positive-rate", 0.01, "-o", other)
    assert made.code == 0, made.err
    live.write_text(text)
    for arguments, problem in (
        ((other, live, *options), "pass --take-over"),
        ((pump / "pump.vaeb", live, *options, "--stride", 5), "written with --stride None"),
        ((pump / "pump.vaeb", pump / "live.csv", *options), "give each its own --state"),
        ((pump / "pump.vaeb", live, *options, "--limit", 5), "--limit stops in the middle"),
        ((pump / "pump.vaeb", live, "--take-over"), "name it with --state"),
        ((pump / "pump.vaeb", live, "--rotate-at", 5000), "name it with -o"),
    ):
        done = cli("watch", *arguments)
        assert done.code == 2
        assert problem in done.err
    done = cli("watch", other, live, *options, "--take-over")
    assert done.code == 0, done.err
    after = events(output.read_text())
    assert after[: len(before)] == before
    assert [event["seq"] for event in after] == list(range(30))
    assert [event["index"] for event in after] == list(range(19, 600, 20))
    assert len({event["stream"] for event in after}) == 1
    assert len({event["bundle"] for event in after}) == 2
    alarms = [event["alarm"] for event in after if event["alarm"] in ("raised", "cleared")]
    assert alarms[:2] == ["raised", "cleared"]  # over the restart and the new model
    for damage, problem in ((b"x", "is damaged"), (b"", "no state of this version")):
        state.write_bytes(state.read_bytes() + damage if damage else b"")
        done = cli("watch", other, live, *options)
        assert done.code == 2
        assert problem in done.err


def test_only_alarms_and_a_file_of_something_else(pump: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "--only", "alarms")
    assert {event["alarm"] for event in events(done.out)} == {"raised", "cleared"}
    notes = tmp_path / "notes.txt"
    notes.write_text("to do: nothing\n")
    done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "-o", notes)
    assert done.code == 2
    assert "holds something else than events" in done.err
    assert notes.read_text() == "to do: nothing\n"


def test_events_say_where_they_come_from(pump: Path, cli: Cli) -> None:
    done = cli("watch", pump / "pump.vaeb", pump / "live.csv", "--limit", 20)
    with load(pump / "pump.vaeb") as vae:
        expected = {"bundle": vae.info.bundle_id, "release": vae.manifest.release, "host": os.uname().nodename}
    (event,) = events(done.out)
    assert {name: event[name] for name in expected} == expected
    assert event["seq"] == 0
    assert event["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_file_of_events_rotates_and_sighup_opens_it_anew(pump: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "live.csv", tmp_path / "events.jsonl"
    lines = (pump / "live.csv").read_text().splitlines(keepends=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "vae_edge", "watch", pump / "pump.vaeb", source, "--follow", "-o", output,
         "--rotate-at", "4096", "--rotate-keep", "3", "--state", tmp_path / "state"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    until = time.monotonic() + 60
    while time.monotonic() < until and "waiting for" not in process.stderr.readline():
        pass  # the file is not there yet
    source.write_text("".join(lines[:301]))
    while time.monotonic() < until and not (tmp_path / "events.jsonl.1").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    output.rename(tmp_path / "aside")
    process.send_signal(signal.SIGHUP)
    with source.open("a") as file:
        file.writelines(lines[301:341])
    while time.monotonic() < until and not (output.exists() and output.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    texts = [path.read_text() for path in (*sorted(tmp_path.glob("events.jsonl.*"), reverse=True),
                                           tmp_path / "aside", output)]  # fmt: skip
    assert all(len(text) <= 4096 for text in texts)
    assert [event["seq"] for text in texts for event in events(text)] == list(range(17))


def test_explain_takes_the_highest_score_apart(pump: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "explain",
        pump / "pump.vaeb",
        pump / "live.csv",
        "--columns",
        "a,b,c",
        "--json",
        "--picture",
        tmp_path / "p.png",
    )
    assert done.code == 0, done.err
    found = done.json()
    assert found["status"] == "ok"
    first, _, last = found["row_id"].partition("..")
    assert int(first) < 240
    assert int(last) >= 200
    assert found["top"][0]["name"] == "b"
    assert found["score"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-5)
    assert found["regions"][0]["peak"] == pytest.approx(found["heads"]["peak"], rel=1e-5)
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    text = cli("explain", pump / "pump.vaeb", pump / "live.csv", "--columns", "a,b,c", "--row", "0..19")
    assert text.code == 0, text.err
    assert text.out.startswith("row 0..19: ok, score")
    assert cli("explain", pump / "pump.vaeb", pump / "live.csv", "--columns", "a,b,c", "--row", "x").code == 2
    np.save(tmp_path / "none.npy", np.zeros((0, 20, 3), np.float32))
    done = cli("explain", pump / "pump.vaeb", tmp_path / "none.npy", "--row", "0")
    assert (done.code, "there is no row '0': the file holds none" in done.err) == (2, True), done.err
