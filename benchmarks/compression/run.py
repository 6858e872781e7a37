"""Compression beside its peers: trains, exports with --compress, measures held-out rows, and writes the page.

    python benchmarks/compression/run.py --sources FOLDER --work build/compression [--sets pump,ecg]

``--sources`` holds what ``row_sets.rows_of`` names. Bundles and rows that lie in ``--work`` are taken as they are. The
peers are zstandard, pcodec, pysz, zfpy and imagecodecs; the page says which of them were not installed. Figures go to
figures.json, which ``tests/test_compression_benchmark.py`` compares with the page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import peers
from compression_page import page
from row_sets import SETS, RowSet, planted_day, rows_of

from vae_edge_runtime import VAE, load, recalibrate
from vae_edge_runtime.codec.rans import varints

ROOT = Path(__file__).resolve().parents[2]
FIGURES = Path(__file__).with_name("figures.json")
ALONE, MOST_TESTED = 200, 1000
"""Test rows that are sent alone, and in a block."""


def bundle_of(row_set: RowSet, parts: tuple[np.ndarray, ...], work: Path) -> Path:
    """A bundle with compression tables, trained and exported where there is none."""
    folder = work / row_set.name
    folder.mkdir(parents=True, exist_ok=True)
    bare, path = folder / "bare.vaeb", folder / f"{row_set.name}.vaeb"
    train, calibration, _ = parts
    if not bare.is_file():
        for name, rows in (("train", train), ("calibration", calibration)):
            np.save(folder / f"{name}.npy", rows)
        command = [sys.executable, "-m", "vae_edge"]
        run = [*command, "train", row_set.kind, "--data", folder / "train.npy", *row_set.train, "--patience", "8"]
        subprocess.run([*map(str, run), "-o", str(folder / "run"), "--force", "-q"], check=True, cwd=ROOT)
        export = [*command, "export", folder / "run", "--calibration", folder / "calibration.npy", "-o", bare]
        subprocess.run([*map(str, export), "--false-positive-rate", str(row_set.rate), "-q"], check=True, cwd=ROOT)
    if not path.is_file():
        # Where calibration rows are few, training rows fit the tables too, and set the spreads. Test rows do not.
        few = calibration.size < 400_000 and row_set.kind != "conv"
        recalibrate(
            bare, path, rows=calibration, compress=row_set.modes, compress_rows=train if few else None,
            false_positive_rate=row_set.rate,
        )  # fmt: skip
    return path


def measured(vae: VAE, test: np.ndarray) -> list[dict[str, Any]]:
    """Bytes really written of every mode, and what came back."""
    section = vae.manifest.compression
    assert section is not None
    listed = []
    for mode in section.modes:
        how: dict[str, Any] = {"bounded": {"bound": mode.name}}.get(mode.kind, {mode.kind: True})
        alone = [len(vae.packet(row, **how)) for row in test[:ALONE]]
        times = []
        for _ in range(2):
            start = time.process_time()
            data = vae.compress(test, **how)
            middle = time.process_time()
            back = vae.decompress(data)
            times.append((middle - start, time.process_time() - middle))
        error = np.abs(back.rows.astype(np.float64) - test)
        promised = error <= np.array(mode.bound) if mode.kind == "bounded" else error == 0
        packet_s = np.median([_seconds(lambda row=row, how=how: vae.packet(row, **how)) for row in test[:100]])
        listed.append({
            "mode": mode.name, "kind": mode.kind, "predictor": mode.predictor, "packet": float(np.mean(alone)),
            "block": len(data) / len(test), "in_mb_s": test.nbytes / min(t for t, _ in times) / 1e6,
            "out_mb_s": test.nbytes / min(t for _, t in times) / 1e6, "packet_ms": 1e3 * packet_s,
            "broken": None if mode.kind == "latents" else int((~promised).sum()), "flipped": mode.flipped,
            "over_code_length": _over_code_length(vae, mode.name, test),
            "psnr_db": _psnr_db(back.rows, test) if test.dtype == np.uint8 else None,
            "rms": float(np.sqrt(np.mean(np.square(error / np.array(section.spread))))), "figure_rows": mode.rows,
            "bound": list(mode.bound),
        })  # fmt: skip
    return listed


def _over_code_length(vae: VAE, name: str, rows: np.ndarray) -> float:
    """Share that a block of these rows takes beyond what its symbols take by their tables."""
    codec = vae._codec()
    mode = codec._mode([mode.name for mode in codec.section.modes].index(name))
    coded = mode.coded(rows, codec._latents(mode, rows, None), None)
    symbols = mode.columns(coded, follow=True)
    code_bytes = float((symbols.bits - np.log2(symbols.freq)).sum() / 8) + len(varints(symbols.escapes))
    return len(mode.block(coded)) / code_bytes - 1


def _psnr_db(rows: np.ndarray, test: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(rows.astype(np.float64) - test))))


def peer_step(row_set: RowSet, mode: dict[str, Any]) -> np.ndarray:
    """What the peers' whole numbers are worth: as wide as the bound allows, on a grid of whole numbers too."""
    bound = np.array(mode["bound"])
    if mode["kind"] == "exact":
        return np.array({"pump": 1e-4}.get(row_set.name, 1.0))
    return 2 * np.floor(bound) + 1 if mode["mode"].endswith("u") else 2 * bound


def _seconds(call: Any) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def triage(vae: VAE) -> dict[str, Any]:
    """The planted day of the pump with triage, and what re-scored latents alone would have lost."""
    rows = planted_day()
    flagged = vae.score(rows).is_anomaly
    data = vae.compress(rows, bound="0.01", triage=True)
    back = vae.decompress(data)
    mode = vae.manifest.compression.mode("0.01")  # type: ignore[union-attr]
    assert mode is not None
    kept = np.abs(back.rows[flagged].astype(np.float64) - rows[flagged]) <= np.array(mode.bound)
    again = vae.score(vae.decompress(vae.compress(rows, latents=True)).rows).is_anomaly
    return {
        "rows": len(rows), "flagged": int(flagged.sum()), "bytes": len(data) / len(rows),
        "broken": int((~kept).sum()), "not_latents": int((back.kind != "latents").sum()),
        "lost_by_latents": float(1 - again[flagged].mean()),
    }  # fmt: skip


def cpu_name() -> str:
    """Of the first core."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Of what is measured, where it is installed."""
    names = ("numpy", "onnxruntime", "zstandard", "pcodec", "pysz", "zfpy", "imagecodecs")
    return {name: version(name) for name in names if find_spec(name)}


def main() -> None:
    """Measure, and write the document and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, default=ROOT / "build" / "compression" / "sources")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "compression")
    parser.add_argument("--sets", default=",".join(row_set.name for row_set in SETS))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "compression-benchmark.md")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0], "packages": versions(), "sets": {}, "missing": [],
    }  # fmt: skip
    for row_set in SETS:
        if row_set.name not in options.sets.split(","):
            continue
        parts = rows_of(row_set.name, options.sources)
        if parts is None:
            document["missing"].append(f"set {row_set.name}: its source is not there")
            continue
        path = bundle_of(row_set, parts, options.work)
        train, test = parts[0], parts[2][:MOST_TESTED]
        with load(path, device="cpu", threads=1) as vae:
            modes = measured(vae, test)
            beside: dict[str, Any] = {}
            for mode in modes:
                if mode["kind"] == "latents" and row_set.kind == "conv":
                    beside[mode["mode"]], missing = peers.pictures(test)
                elif mode["kind"] != "latents":
                    exact, step = mode["kind"] == "exact", peer_step(row_set, mode)
                    beside[mode["mode"]], missing = peers.numeric(train, test, step, exact=exact)
                else:
                    continue
                document["missing"] = sorted({*document["missing"], *missing})
            document["sets"][row_set.name] = {
                "what": row_set.what, "raw": int(test[0].nbytes), "rows": len(test), "modes": modes, "peers": beside,
            }  # fmt: skip
            if row_set.name == "pump":
                document["triage"] = triage(vae)
        print(row_set.name, json.dumps(document["sets"][row_set.name]), flush=True)
    FIGURES.write_text(json.dumps(document, indent=1) + "\n")
    options.page.write_text(page(document))


if __name__ == "__main__":
    main()
