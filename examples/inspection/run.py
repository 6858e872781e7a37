"""Inspection from pictures to a report: train, export, choose a head, maps, regions, tiles.

python examples/inspection/run.py parts      # less than five minutes on two cores
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import make_parts


def commands(folder: Path, epochs: int) -> list[list[str | Path]]:
    """What is run, in order."""
    run, bundle, test = folder / "run", folder / "parts.vaeb", folder / "test"
    tiles, tiled = folder / "run-tiles", folder / "tiles.vaeb"
    return [
        ["train", "conv", "--data", folder / "train", "--epochs", str(epochs), "-o", run],
        ["export", run, "--calibration", folder / "calibration", "--name", "flower", "-o", bundle],
        ["evaluate", bundle, test, "--normal", "good", "--masks", folder / "ground_truth", "--bootstrap", "200"],
        ["score", bundle, test, "--head", "top", "--maps", folder / "maps", "--regions", folder / "regions.csv",
         "-o", folder / "scores.csv"],
        ["recalibrate", bundle, "--default-head", "top", "-o", folder / "parts-top.vaeb"],
        ["report", folder / "parts-top.vaeb", test, "--normal", "good", "--compare", bundle,
         "-o", folder / "report.html"],
        ["train", "conv", "--data", folder / "train", "--tile", "24", "--overlap", "8", "--width", "16",
         "--latent", "32", "--depth", "2", "--epochs", str(max(1, epochs // 3)), "-o", tiles],
        ["export", tiles, "--calibration", folder / "calibration", "--tile", "24", "--overlap", "8", "--allow-poor-fit",
         "-o", tiled],
        ["score", tiled, test, "--head", "top", "-o", folder / "tile-scores.csv"],
    ]  # fmt: skip


def main(folder: Path, epochs: int = 24) -> None:
    """Make the pictures, and run every command; the first that fails ends it."""
    make_parts.main(folder)
    for command in commands(folder, epochs):
        words = [str(word) for word in command]
        print("$ vae-edge " + " ".join(words), flush=True)
        subprocess.run([sys.executable, "-m", "vae_edge", *words], check=True)
    print(f"open {folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "parts"), *map(int, sys.argv[2:3]))
