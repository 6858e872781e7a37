"""``--isolate``, ``--deadline`` and ``--max-memory`` on both command lines."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from codec_bundles import window_bundle, windows
from shell import Cli, World

from vae_edge.cli import _app
from vae_edge_runtime import load
from vae_edge_runtime.__main__ import main
from vae_edge_runtime.backends.ort import OrtBackend

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process is isolated on Linux and macOS only")
LIMITS = ("--isolate", "--deadline", "60") + (("--max-memory", "2147483648") if sys.platform == "linux" else ())


def test_isolated_commands_say_so_and_give_the_same_results(world: World, cli: Cli, tmp_path: Path) -> None:
    here, there = (cli("score", world.bundle, world.data, "--device", "cpu", *more) for more in ((), LIMITS))
    assert there.code == 0, there.err
    assert here.out == there.out
    assert "in a process of its own" in there.err
    assert "in a process of its own" not in here.err
    verified = cli("verify", world.bundle, *LIMITS)
    assert verified.code == 0, verified.err
    drawn = cli("sample", world.bundle, "-o", tmp_path / "s.npy", "--device", "cpu", *LIMITS)
    assert drawn.code == 0, drawn.err
    assert "in a process of its own" in drawn.err


LINES = {
    "score": "score {w} {rows}",
    "explain": "explain {w} {rows}",
    "watch": "watch {w} {table}",
    "evaluate": "evaluate {w} {labelled}",
    "report": "report {w} {rows} -o {new}.html",
    "bench": "bench {w} --rounds 1 --starts 1 --batches 1 --threads 1",
    "compare": "compare {w} {t}",
    "recalibrate": "recalibrate {w} {rows} --compress 0.3 --false-positive-rate 0.1 -o {new}.vaeb",
    "sample": "sample {w} -n 2 -o {new}.npy",
    "reconstruct": "reconstruct {w} {rows} -o {new}.npy",
    "encode": "encode {w} {rows} -o {new}.npz",
    "decode": "decode {w} {z} -o {new}.npy",
    "interpolate": "interpolate {w} {rows} -o {new}.npy",
    "traverse": "traverse {w} -o {new}.npy",
    "compress": "compress {w} {rows} --triage --bound 0.05 -o {new}.vaez",
    "decompress": "decompress {w} {day} -o {new}.npz",
    "verify": "verify {w}",
}
"""Of every command that runs a bundle; ``doctor BUNDLE`` isolates without being asked."""


def test_every_command_that_runs_a_bundle_can_isolate_its_engine() -> None:
    offered = set()
    for command in _app.app.registered_commands:
        assert command.callback is not None
        parameters = inspect.signature(command.callback).parameters
        if "isolate" in parameters:
            offered.add(command.name)
            assert {"deadline", "max_memory"} <= set(parameters)
        elif {"device", "devices"} & set(parameters):
            assert command.name in _app._NOT_ISOLATED, f"{command.name} runs a bundle"
    assert offered == set(LINES)


@pytest.mark.parametrize("command", LINES)
def test_no_engine_is_opened_in_the_process_of_an_isolated_command(
    command: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"w": window_bundle(), "new": tmp_path / "new", "t": tmp_path / "other.vaeb"}
    files["t"].write_bytes(window_bundle().read_bytes())
    files |= {name: tmp_path / f"{name}.npy" for name in ("rows", "z")} | {"day": tmp_path / "day.vaez"}
    files |= {"labelled": tmp_path / "labelled.npz", "table": tmp_path / "table.csv"}
    rows = windows(40, 4)
    np.save(files["rows"], rows)
    np.savetxt(files["table"], rows.reshape(-1, 5), delimiter=",", header="v,w,x,y,z", comments="")
    np.savez(files["labelled"], x=rows, y=np.arange(40) % 9 == 0)
    with load(files["w"], device="cpu") as vae:
        np.save(files["z"], vae.encode(rows).mean)
        files["day"].write_bytes(vae.compress(rows, exact=True))

    def refused(*_: object) -> None:
        raise AssertionError("an engine in the process of the command")

    monkeypatch.setattr(OrtBackend, "__init__", refused)
    done = cli(*LINES[command].format(**files).split(), *LIMITS)
    assert done.code == 0, done.err


def test_a_doctor_outlives_a_bundle_that_ends_its_engine(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("an engine in the process of the doctor")

    monkeypatch.setattr(OrtBackend, "__init__", refused)
    assert "golden outputs are right" in cli("doctor", window_bundle()).out


@pytest.mark.parametrize("limit", [("--deadline", "5"), ("--max-memory", "999999999")])
def test_a_limit_without_a_process_of_its_own_is_refused(
    world: World, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path, limit: tuple[str, str]
) -> None:
    for command in (
        ("score", world.bundle, world.data), ("verify", world.bundle), ("watch", world.bundle, "-"),
        ("sample", world.bundle, "-o", tmp_path / "s.npy"),
    ):  # fmt: skip
        done = cli(*command, *limit)
        assert (done.code, done.out) == (2, "")
        assert "--isolate" in done.err
    assert main(["verify", str(world.bundle), *limit]) == 2
    assert "need --isolate" in capsys.readouterr().err
    for name in ("compress", "decompress"):
        assert main([name, str(world.bundle), str(world.data), "-o", str(tmp_path / "x.npz"), *limit]) == 2
        assert "need --isolate" in capsys.readouterr().err


def test_a_deadline_that_is_missed_and_memory_that_is_too_little_are_typed_errors(
    world: World, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    deadline = ("--isolate", "--deadline", "0.0000001")
    for _ in range(20):  # an answer that is there when it is first looked for came in time
        late = cli("score", world.bundle, world.data, "--device", "cpu", *deadline)
        if late.code:
            break
    assert (late.code, late.out) == (4, "")
    assert "DeadlineExceeded: the engine did not finish" in late.err
    assert any(main(["score", str(world.bundle), str(world.data), *deadline]) == 4 for _ in range(20))
    assert "DeadlineExceeded" in capsys.readouterr().err
    for option, value in (("--deadline", "-1"), ("--deadline", "nan"), ("--max-memory", "1")):
        refused = cli("verify", world.bundle, "--isolate", option, value)
        assert refused.code == 2, refused.err
