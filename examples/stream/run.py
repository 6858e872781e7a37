"""A day of six sensors through ``vae-edge watch``: what was found, how fast, in how much memory."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = "current,pressure,flow,vib_x,vib_y,temp"
SAMPLE_S = 0.5


def steps(out: Path, seconds: int, normal_seconds: int, epochs: int) -> list[list[str]]:
    """The commands before the stream itself."""
    window = ("--window", 100, "--columns", COLUMNS)
    return [
        _python("day.py", "--output", out, "--seconds", seconds, "--normal-seconds", normal_seconds),
        _vae_edge("train", "sequence", "--data", out / "train.csv", *window, "--stride", 37,
                  "--latent", 8, "--epochs", epochs, "-o", out / "run", "--force"),
        _vae_edge("export", out / "run", "--calibration", out / "good.csv", *window, "--stride", 100,
                  "-o", out / "pump.vaeb", "--heads", "elbo,mahalanobis", "--false-positive-rate", 0.001,
                  "--period-s", 0.01, "--force"),
    ]  # fmt: skip


def watched(out: Path) -> tuple[list[float], float]:
    """Run the stream; resident memory in MB every half second, and seconds."""
    events = out / "events.jsonl"
    events.unlink(missing_ok=True)
    command = _vae_edge(
        "watch", out / "pump.vaeb", out / "day.csv", "--time-column", "time", "-o", events, "--threads", 1
    )
    print(f"$ {shlex.join(command)}", flush=True)
    start, memory = time.perf_counter(), []
    process = subprocess.Popen(command)
    while process.poll() is None:
        memory.append(_resident_mb(process.pid))
        time.sleep(SAMPLE_S)
    if process.returncode:
        raise SystemExit(process.returncode)
    return [mb for mb in memory if mb > 0], time.perf_counter() - start


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def _vae_edge(*arguments: object) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / "vae-edge"), *map(str, arguments)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/day"))
    parser.add_argument("--seconds", type=int, default=86_400)
    parser.add_argument("--normal-seconds", type=int, default=7_200)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    for command in steps(options.output, options.seconds, options.normal_seconds, options.epochs):
        print(f"$ {shlex.join(command)}", flush=True)
        subprocess.run(command, check=True)
    memory, seconds = watched(options.output)
    warm = memory[min(len(memory) // 10 + 4, len(memory) - 1) :]
    judged = subprocess.run(
        _python("judge.py", options.output / "events.jsonl", options.output / "planted.json"),
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rows = options.seconds * 100
    figures = (
        f"{seconds:.0f} s, {rows / seconds:,.0f} rows a second; resident memory {warm[0]:.0f} MB after a tenth of the "
        f"way, {warm[-1]:.0f} MB at the end, at most {max(memory):.0f} MB"
    )
    (options.output / "report.md").write_text(f"{judged}\n{figures}\n", encoding="utf-8")
    print(f"\n{judged}\n{figures}")


if __name__ == "__main__":
    main()
