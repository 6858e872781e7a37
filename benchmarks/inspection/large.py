"""Memory and time of ``vae-edge score`` on one picture of 10,000 x 10,000 pixels, by tiles.

python benchmarks/inspection/large.py                # 10,000 and 2,500 pixels a side, from a mapped .npy
python benchmarks/inspection/large.py --tiff         # the same from tiled TIFF files; needs tifffile
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_edge_runtime.dependencies import require

TILE, OVERLAP, BAND = 128, 32, 500
POLL_S = 0.02


@dataclass(frozen=True)
class Cost:
    """Of one command.

    Attributes:
        anonymous_mib: largest memory of its own; pages of the mapped file, which the system may drop, are not in it.
        resident_mib: largest memory with these pages.
    """

    seconds: float
    cpu_seconds: float
    anonymous_mib: float
    resident_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="2500,10000", help="pixels a side of the pictures, comma separated")
    parser.add_argument("--tiff", action="store_true", help="take tiled TIFF files instead of .npy")
    parser.add_argument("--keep", type=Path, help="a folder to keep the model in, for the next run")
    parser.add_argument("--maps", action="store_true", help="write maps too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(options.keep or folder)
        for side in map(int, options.sides.split(",")):
            picture = make_picture(folder, side, tiff=options.tiff)
            words = ["score", bundle, picture, "--head", "top", "-o", folder / f"{side}.csv", "--threads", 1]
            words += ["--maps", folder / f"maps-{side}"] if options.maps else []
            cost = measured(*words)
            print(json.dumps({"side": side, "file": picture.name, "bytes": picture.stat().st_size} | vars(cost)))


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Colour (height, width, 3) uint8 with stripes and noise."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    light = 120 + 40 * np.sin(rows / 7 + rng.uniform(0, 6)) + 20 * np.sin(columns / 11)
    noisy = light[:, :, None] * np.array([1.0, 0.8, 0.6], np.float32) + rng.normal(0, 4, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def make_bundle(folder: Path) -> Path:
    """A small model of tiles; what it finds is not asked here."""
    run, bundle = folder / "run", folder / "tiles.vaeb"
    if bundle.exists():
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, count in (("training", 12), ("calibration", 130)):
        np.save(folder / f"{name}.npy", np.stack([texture(rng, 144, 144) for _ in range(count)]))
    tiles = ["--layout", "nhwc", "--tile", TILE, "--overlap", OVERLAP]
    command("train", "conv", "--data", folder / "training.npy", *tiles, "--epochs", 2, "-o", run)
    command("export", run, "--calibration", folder / "calibration.npy", *tiles, "--allow-poor-fit", "-o", bundle)
    return bundle


def make_picture(folder: Path, side: int, *, tiff: bool) -> Path:
    """One picture, written band by band."""
    path = folder / f"{side}.npy"
    rng = np.random.default_rng(side)
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(1, side, side, 3))
    for top in range(0, side, BAND):
        whole[0, top : top + BAND] = texture(rng, min(BAND, side - top), side)
    whole.flush()
    if not tiff:
        return path
    tifffile = require("tifffile", extra="tiff", why="this benchmark")
    tifffile.imwrite(path.with_suffix(".tif"), whole[0], tile=(256, 256), compression="zlib", photometric="rgb")
    path.unlink()
    return path.with_suffix(".tif")


def command(*words: object) -> None:
    """Run it, and end with its message where it fails."""
    done = subprocess.run(vae_edge(*words), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def vae_edge(*words: object) -> list[str]:
    return [sys.executable, "-m", "vae_edge", *map(str, words)]


def measured(*words: object) -> Cost:
    """Run it and look at its memory every 20 ms, as Linux has it."""
    start = time.perf_counter()
    process = subprocess.Popen(vae_edge(*words), stderr=subprocess.PIPE, text=True)
    anonymous = resident = ticks = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            used = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        fields = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("RssAnon", "VmHWM")))
        anonymous = max(anonymous, int(fields.get("RssAnon", "0").split()[0]))
        resident = max(resident, int(fields.get("VmHWM", "0").split()[0]))
        ticks = int(used[11]) + int(used[12])
        time.sleep(POLL_S)
    message = process.communicate()[1]
    if process.returncode:
        raise SystemExit(message)
    return Cost(round(time.perf_counter() - start, 1), ticks / 100, round(anonymous / 1024), round(resident / 1024))


if __name__ == "__main__":
    main()
