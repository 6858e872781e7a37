"""Commands whose streams are closed, full, slow or interrupted: what is lost is said by the exit code."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BOTH = pytest.mark.parametrize("module", ["vae_edge", "vae_edge_runtime"])
ROWS = 20_001


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import TinyBundle

    folder = tmp_path_factory.mktemp("streams")
    TinyBundle(folder / "tiny.vaeb").write()
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32))
    np.save(folder / "few.npy", np.zeros((5, 4), np.float32))
    return folder


def shell(folder: Path, line: str) -> int:
    program = f"import sys, vae_edge.cli as c, vae_edge_runtime.__main__ as r\n{PROGRAM}"
    return subprocess.run(
        ["bash", "-c", line.replace("RUN", '"$0" -c "$1"'), sys.executable, program], cwd=folder, check=False
    ).returncode


# Several commands in one process, each with the streams that the shell gave or closed.
PROGRAM = """
codes = []
for line in sys.argv[1:]:
    module, *arguments = line.split()
    try:
        code = c.main(arguments) if module == 'vae_edge' else r.main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    codes.append(code)
wanted = [2 if 'none.vaeb' in line else 1 if 'broken' in line else 0 for line in sys.argv[1:]]
sys.exit(0 if codes == wanted else 99)
"""


@pytest.mark.parametrize(
    "closed",
    ["2>&-", "<&- >&- 2>&-", *(pytest.param(c, marks=pytest.mark.slow) for c in ("<&-", ">&-", "<&- >&-", ">&- 2>&-"))],
)
def test_closed_streams_change_no_exit_code(folder: Path, tmp_path: Path, closed: str) -> None:
    lines = [
        "vae_edge verify tiny.vaeb",
        "vae_edge info tiny.vaeb",
        f"vae_edge score tiny.vaeb few.npy -o {tmp_path / 'a.csv'}",
        "vae_edge score tiny.vaeb few.npy",
        "vae_edge info none.vaeb",
        "vae_edge_runtime verify tiny.vaeb",
        "vae_edge_runtime score tiny.vaeb few.npy",
        "vae_edge_runtime info none.vaeb",
    ]
    quoted = " ".join(f"'{line}'" for line in lines)
    assert shell(folder, f"RUN {quoted} {closed} {'' if '>&-' in closed else '>/dev/null'}") == 0
    # The messages did not go into the file that took a closed stream's number.
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 6
    assert (folder / "tiny.vaeb").read_bytes()[:2] == b"PK"


def environment(unbuffered: bool) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"} if unbuffered else dict(os.environ)


@BOTH
@pytest.mark.parametrize(
    "unbuffered", [pytest.param(False, id="buffered", marks=pytest.mark.slow), pytest.param(True, id="unbuffered")]
)
def test_a_disk_that_fills_up_in_the_middle_exits_with_3(
    folder: Path, tmp_path: Path, module: str, unbuffered: bool
) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", module, "score", "tiny.vaeb", "rows.npy"],
            cwd=folder, stdout=out, stderr=subprocess.PIPE, env=environment(unbuffered), preexec_fn=limit, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert b"StorageError: <stdout> could not be written" in done.stderr
    assert (tmp_path / "out").stat().st_size == 4096


@BOTH
@pytest.mark.parametrize("how", ["slow reader", pytest.param("stopped and continued", marks=pytest.mark.slow)])
def test_every_line_arrives_over_a_pipe_that_does_not_block(folder: Path, module: str, how: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, how != "slow reader")
    running = subprocess.Popen(
        [sys.executable, "-m", module, "score", "tiny.vaeb", "rows.npy"],
        cwd=folder, stdout=writing, stderr=subprocess.DEVNULL, env=environment(True),
    )  # fmt: skip
    os.close(writing)
    received = os.read(reading, 4096)  # waits for the first bytes, then the pipe fills up
    time.sleep(0.2)
    if how == "stopped and continued":
        running.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        running.send_signal(signal.SIGCONT)
    with os.fdopen(reading, "rb") as file:
        received += file.read()
    assert running.wait() == 0
    header = 1 if module == "vae_edge" else 0
    assert received.count(b"\n") == ROWS + header


SLOW_WRITE = """
import signal, sys, time
import vae_edge.cli as c, vae_edge_runtime.recalibration as r
r._read_back = lambda path: (print("writing", file=sys.stderr, flush=True), time.sleep(60))
signal.signal(signal.SIGHUP, signal.SIG_DFL)
c.main(["recalibrate", "tiny.vaeb", "rows.npy", "-o", "new.vaeb"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_to_end_leaves_no_part_of_a_file_and_ends_as_that_signal(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for name in ("tiny.vaeb", "rows.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with subprocess.Popen([sys.executable, "-c", SLOW_WRITE], cwd=tmp_path, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        while b"writing" not in (line := running.stderr.readline()):
            assert line
        assert len(list(tmp_path.glob(".*.part"))) == 1
        running.send_signal(number)
        assert running.wait() == -number
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.npy", "tiny.vaeb"]


SWALLOWED = """
import os, sys
import vae_edge.cli as c, vae_edge.cli.score as s, vae_edge_runtime.__main__ as m
from vae_edge_runtime.errors import MissingDependency

def load(*_, **__):
    try:
        os.kill(os.getpid(), int(sys.argv[2]))
        os.getpid()
    except BaseException:
        raise (MissingDependency("onnxruntime", extra="cpu", why="x") if sys.argv[3] == "typed"
               else ImportError("initialization failed"))

s.load = m.load = load
line = ["score", "tiny.vaeb", "rows.npy"]
sys.exit(m.main(line)) if sys.argv[1] == "runtime" else c.main(line)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["typed", "bare"])
@pytest.mark.parametrize("module", ["runtime", "front"])
def test_a_signal_that_an_import_turns_into_an_error_is_still_that_signal(
    folder: Path, module: str, kind: str, number: signal.Signals
) -> None:
    """As pybind11 does while onnxruntime is being imported: 5 of 131 signals at random moments ended with exit 70."""
    command = [sys.executable, "-c", SWALLOWED, module, str(int(number)), kind]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == (130 if number == signal.SIGINT else -number), done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr
