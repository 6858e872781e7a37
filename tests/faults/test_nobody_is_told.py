"""No command asks a name server, opens a connection, or writes a file outside its target."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Commands of one line each, run in a folder that holds tiny.vaeb, rows.npy and labelled.npz.
RUNTIME = [f"vae_edge_runtime {line}" for line in ("info tiny.vaeb", "verify tiny.vaeb", "score tiny.vaeb rows.npy")]
ON_BUNDLES = [
    f"vae_edge {line}"
    for line in (
        "info tiny.vaeb",
        "verify tiny.vaeb",
        "score tiny.vaeb rows.npy -o out/scores.csv",
        "score tiny.vaeb rows.npy --device openvino",
        "explain tiny.vaeb rows.npy",
        "sample tiny.vaeb -n 3 --seed 1 -o out/samples.npy",
        "reconstruct tiny.vaeb rows.npy -o out/rebuilt.npy",
        "encode tiny.vaeb rows.npy -o out/latents.npz",
        "recalibrate tiny.vaeb rows.npy -o out/new.vaeb",
    )
]
WITH_CHILDREN = [
    "vae_edge doctor",
    "vae_edge_runtime doctor",
    "vae_edge bench tiny.vaeb --rounds 1 --starts 1",
    "vae_edge compare tiny.vaeb tiny.vaeb --rows rows.npy",
]
WITH_TORCH = [
    f"vae_edge {line}"
    for line in (
        "train mlp --data rows.npy --latent 2 --width 8 --depth 1 --epochs 2 -o out/run",
        "export out/run --calibration rows.npy --precision fp16,int8 --allow-poor-fit -o out/trained.vaeb",
        "lint out/trained.vaeb --target ort-cpu",
        "inspect out/run --calibration rows.npy",
        "evaluate out/trained.vaeb labelled.npz",
        "watch out/trained.vaeb rows.csv -o out/events.jsonl",
        "tune out/trained.vaeb --rows rows.npy --devices cpu --threads 1 --rounds 12 --dry-run",
    )
]

# Python's own view: an audit hook sees every look-up, connection and opened file that Python makes.
PROGRAM = """
import os, sys
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        os.write(2, f"TOLD {event} {arguments}\\n".encode())
sys.addaudithook(hook)
import vae_edge.cli as c, vae_edge_runtime.__main__ as r
for line in sys.argv[1:]:
    module, *arguments = line.split()
    try:
        code = c.main(arguments) if module == "vae_edge" else r.main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    if code:
        os.write(2, f"FAILED {code}: {line}\\n".encode())
"""


class Place:
    """A home, a folder for temporary files and a working folder that were empty."""

    def __init__(self, top: Path) -> None:
        from tiny_bundle import TinyBundle

        self.top = top
        self.work, self.home, self.temporary = top / "work", top / "home", top / "temporary"
        for folder in (self.work, self.home, self.temporary, self.work / "out"):
            folder.mkdir()
        TinyBundle(self.work / "tiny.vaeb").write()
        rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        np.save(self.work / "rows.npy", rows)
        np.savetxt(self.work / "rows.csv", rows, delimiter=",", header="a,b,c,d", comments="")
        np.savez(self.work / "labelled.npz", x=rows, y=np.repeat([0, 1], 150))

    def environment(self) -> dict[str, str]:
        told = ("XDG_", "ORT_DISABLE", "CI", "TF_BUILD", "JENKINS_URL", "VAE_EDGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
        return kept | {"HOME": str(self.home), "TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, lines: list[str], *before: str) -> str:
        done = subprocess.run(
            [*before, sys.executable, "-c", PROGRAM, *lines],
            cwd=self.work, env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "FAILED" not in done.stderr, done.stderr
        return done.stderr

    def left_outside(self) -> list[str]:
        """Files in the home and among the temporary ones, and new ones beside the target."""
        outside = [path for folder in (self.home, self.temporary) for path in folder.rglob("*") if path.is_file()]
        beside = [path for path in self.work.iterdir() if path.suffix not in (".vaeb", ".npy", ".npz", ".csv", "")]
        return sorted(str(path.relative_to(self.top)) for path in outside + beside)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_commands_on_bundles_ask_nobody_and_write_nowhere_else(place: Place) -> None:
    assert "TOLD" not in place.run(RUNTIME + ON_BUNDLES)
    assert place.left_outside() == []


def test_an_engine_without_our_import_would_be_caught_by_this_test(place: Place) -> None:
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=place.environment(), check=True)
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 32):
        assert any("deviceid" in name for name in place.left_outside())


def _strace() -> str | None:
    path = shutil.which("strace")
    if path and subprocess.run([path, "-o", os.devnull, "true"], check=False, capture_output=True).returncode == 0:
        return path
    return None


@pytest.mark.slow
@pytest.mark.parametrize("lines", [RUNTIME, ON_BUNDLES, WITH_CHILDREN, WITH_TORCH], ids=lambda lines: lines[0][:20])
def test_the_system_sees_no_look_up_no_connection_and_no_file_elsewhere(place: Place, lines: list[str]) -> None:
    tracer = _strace()
    if tracer is None:
        pytest.skip("strace is not installed, or this system does not let it trace")
    if lines is WITH_TORCH:
        pytest.importorskip("torch")
    trace = place.top / "trace"
    said = place.run(lines, tracer, "-f", "-qq", "-e", "trace=network,openat,open,creat,mkdir", "-o", str(trace))
    assert "TOLD" not in said
    assert place.left_outside() == []
    text = trace.read_text(errors="replace")
    asked = [line for line in text.splitlines() if re.search(r"sin6?_addr|resolv\.conf|/etc/hosts", line)]
    assert asked == []
    written = re.findall(r'(?:open|openat|creat)\([^"]*"([^"]+)"[^)]*O_(?:WRONLY|RDWR)[^)]*O_CREAT', text)
    # The last one is the clock of libuuid, which writes it as root where a library asks for a UUID by time.
    own = (str(place.work), str(place.temporary), "/dev/", "/proc/self/", "out/", "/var/lib/libuuid/")
    assert [path for path in written if not path.startswith(own)] == []
