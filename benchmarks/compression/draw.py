"""The picture of docs/compression.md: a week of a sensor before and after triage, with its anomaly.

python benchmarks/compression/draw.py build/compression/week docs/images/compression.png
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vae_edge_runtime import load, recalibrate

DAY, WINDOW = 1440, 60
"""Minutes."""
ROOT = Path(__file__).resolve().parents[2]


def week(weeks: int, seed: int) -> np.ndarray:
    """Minutes (n, 2) of a heating loop: supply and return temperature, a daily cycle, a pump that starts and stops."""
    rng = np.random.default_rng(seed)
    t = np.arange(7 * DAY * weeks)
    daily = np.sin(2 * np.pi * (t / DAY - 0.3)) + 0.4 * np.sin(4 * np.pi * t / DAY)
    cycle = 0.5 * (1 + np.sign(np.sin(2 * np.pi * t / 47)))
    slow = np.convolve(cycle, np.exp(-np.arange(60) / 12) / 12, "same")
    supply = 55 + 6 * daily + 5 * slow + rng.normal(0, 0.25, len(t))
    back = 42 + 4 * np.roll(daily, 20) + 2.5 * np.roll(slow, 6) + rng.normal(0, 0.25, len(t))
    return np.round(np.stack([supply, back], 1), 2).astype(np.float32)


def windows(x: np.ndarray) -> np.ndarray:
    """Windows of an hour."""
    return x[: len(x) // WINDOW * WINDOW].reshape(-1, WINDOW, x.shape[1])


def main() -> None:
    """Train, compress, draw."""
    folder, picture = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    bare, bundle = folder / "bare.vaeb", folder / "week.vaeb"
    normal = windows(week(8, 1))
    if not bundle.is_file():
        np.save(folder / "train.npy", windows(week(26, 2)))
        np.save(folder / "normal.npy", normal)
        command = [sys.executable, "-m", "vae_edge"]
        run = ["train", "sequence", "--data", folder / "train.npy", "--latent", "6", "--epochs", "25", "--force", "-q"]
        subprocess.run([*command, *map(str, run), "-o", str(folder / "run")], check=True, cwd=ROOT)
        export = ["export", folder / "run", "--calibration", folder / "normal.npy", "-o", bare, "--force", "-q"]
        subprocess.run([*command, *map(str, export)], check=True, cwd=ROOT)
        recalibrate(bare, bundle, rows=normal, compress="0.03", compress_rows=windows(week(26, 2)), force=True)
    x = week(1, 3)
    begin = 4 * DAY + 800
    x[begin : begin + 150, 0] += np.hanning(150).astype(np.float32) * 5  # the valve hunts for two hours and a half
    x[begin : begin + 150, 0] += 2.5 * np.sin(np.arange(150) * 1.1).astype(np.float32)
    with load(bundle, device="cpu", threads=1) as vae:
        data = vae.compress(windows(x), bound="0.03", triage=True)
        back = vae.decompress(data)
    rows, flagged = back.rows.reshape(-1, 2), np.repeat(back.kind != "latents", WINDOW)
    draw(picture, x, rows, flagged, begin, len(data))


def draw(picture: Path, x: np.ndarray, rows: np.ndarray, flagged: np.ndarray, begin: int, size: int) -> None:
    """Two strips of the week, and the hours around the anomaly below."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    days, part = np.arange(len(x)) / DAY, slice(begin - 240, begin + 390)
    figure, axes = plt.subplots(3, 1, figsize=(8, 6), gridspec_kw={"height_ratios": (1, 1, 1.5)})
    for axis, values, title in (
        (axes[0], x, f"before: a week of two sensors, {x.nbytes:,} bytes"),
        (axes[1], rows, f"after: {size:,} bytes; hours that were flagged (grey) came back within ±0.03 spreads"),
    ):
        axis.plot(days, values, linewidth=0.5)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlim(0, 7)
        axis.fill_between(days, 0, 1, where=flagged, transform=axis.get_xaxis_transform(), color="0.6", alpha=0.4)
    axes[2].plot(days[part], x[part, 0], linewidth=2.5, color="0.75", label="before")
    axes[2].plot(days[part], rows[part, 0], linewidth=0.8, color="C3", label="after")
    axes[2].fill_between(
        days[part], 0, 1, where=flagged[part], transform=axes[2].get_xaxis_transform(), color="0.6", alpha=0.25
    )
    axes[2].set_title("the anomaly, and the normal hours around it", fontsize=9, loc="left")
    axes[2].set_xlabel("days")
    axes[2].legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80)
    Image.open(buffer).convert("RGB").quantize(40).save(picture, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    main()
