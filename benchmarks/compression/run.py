"""Compression beside its peers: trains, exports with --compress, measures held-out rows, and writes the page.

    python benchmarks/compression/run.py --sources FOLDER --work build/compression [--sets pump,ecg]

``--sources`` holds what ``row_sets.rows_of`` names. Bundles and rows that lie in ``--work`` are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers
from compression_page import page
from row_sets import SETS, RowSet, planted_day, rows_of

from vae_edge_runtime import VAE, load, recalibrate

ROOT = Path(__file__).resolve().parents[2]
ALONE = 200


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
        # Where calibration rows are few, training rows help to fit the tables; test rows are never seen.
        few = calibration.size < 400_000 and row_set.kind != "conv"
        recalibrate(
            bare, path, rows=calibration, compress=row_set.modes, compress_rows=train[:3000] if few else None,
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
        packet_s = min(_seconds(lambda row=row, how=how: vae.packet(row, **how)) for row in test[:50])
        listed.append({
            "mode": mode.name, "kind": mode.kind, "predictor": mode.predictor, "packet": float(np.mean(alone)),
            "block": len(data) / len(test), "in_mb_s": test.nbytes / min(t for t, _ in times) / 1e6,
            "out_mb_s": test.nbytes / min(t for _, t in times) / 1e6, "packet_ms": 1e3 * packet_s,
            "broken": None if mode.kind == "latents" else int((~promised).sum()), "flipped": mode.flipped,
            "rms": float(np.sqrt(np.mean(np.square(error / np.array(section.spread))))), "figure_rows": mode.rows,
            "step": (2 * np.array(mode.bound)).tolist() if mode.bound else None,
        })  # fmt: skip
    return listed


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


def main() -> None:
    """Measure, and write the document and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, default=ROOT / "build" / "compression" / "sources")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "compression")
    parser.add_argument("--sets", default=",".join(row_set.name for row_set in SETS))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "compression-benchmark.md")
    options = parser.parse_args()
    document: dict[str, Any] = {"sets": {}, "missing": []}
    for row_set in SETS:
        if row_set.name not in options.sets.split(","):
            continue
        parts = rows_of(row_set.name, options.sources)
        if parts is None:
            document["missing"].append(f"set {row_set.name}: its source is not there")
            continue
        path = bundle_of(row_set, parts, options.work)
        train, _, test = parts
        with load(path, device="cpu", threads=1) as vae:
            modes = measured(vae, test)
            beside: dict[str, Any] = {}
            for mode in modes:
                if mode["kind"] == "latents" and row_set.kind == "conv":
                    beside[mode["mode"]], missing = peers.pictures(test)
                elif mode["kind"] != "latents":
                    exact = mode["kind"] == "exact"
                    step = np.array(mode["step"] or {"pump": 1e-4}.get(row_set.name, 1.0))
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
    (options.work / "figures.json").write_text(json.dumps(document, indent=1))
    options.page.write_text(page(document))


if __name__ == "__main__":
    main()
