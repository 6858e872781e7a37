"""Cold start and peak memory of one score, from C and from Python, in interleaved fresh processes.

    python benchmarks/cpp/run.py [--rounds 9]

Prints the table of benchmarks/cpp/README.md. Both run one row of one small bundle on one ONNX Runtime, with one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "cpp")]

from building import BUILD, CPP, compiler, onnxruntime_library, shared_library  # noqa: E402

BUNDLE = ROOT / "tests" / "corpus" / "v1-gaussian.vaeb"
PYTHON = """
import sys
import numpy as np
from vae_edge_runtime import load
vae = load(sys.argv[1], device="cpu", threads=1)
x = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(1, *vae.manifest.input.shape)
print(vae.score(x).score[0])
"""


def measured(command: list[str], rows: bytes, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from start to exit, and peak resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    assert process.stdin
    process.stdin.write(rows)
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    from vae_edge_runtime import Bundle

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cxx, onnxruntime = compiler(), onnxruntime_library()
    if cxx is None or onnxruntime is None:
        raise SystemExit("this needs g++, and an onnxruntime wheel of 1.20 or newer")
    library = shared_library(BUILD / "bench", cxx, "-O2")
    program = BUILD / "bench" / "score"
    link = [f"-I{CPP / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]
    subprocess.run(["gcc", "-O2", str(CPP / "examples" / "score.c"), "-o", str(program), *link], check=True)
    with Bundle.open(BUNDLE) as bundle:
        rows = bytes(4 * bundle.manifest.input.shape[0])
    path = os.pathsep.join([str(ROOT / "runtime"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "VAE_EDGE_ONNXRUNTIME": str(onnxruntime), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    commands = {"C": [str(program), str(BUNDLE)], "Python": [sys.executable, "-c", PYTHON, str(BUNDLE)]}
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(measured(command, rows, environment))
    print("| from | start to exit, median | best | peak memory, median |\n|---|---|---|---|")
    for name, runs in figures.items():
        seconds, megabytes = zip(*runs, strict=True)
        print(f"| {name} | {statistics.median(seconds) * 1e3:.0f} ms | {min(seconds) * 1e3:.0f} ms "
              f"| {statistics.median(megabytes):.0f} MB |")  # fmt: skip
    size = library.stat().st_size / 1e6
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {onnxruntime.name}, {rounds} rounds, load "
          f"{os.getloadavg()[0]:.0f}; libvaeedge.so has {size:.2f} MB.")  # fmt: skip


if __name__ == "__main__":
    main()
