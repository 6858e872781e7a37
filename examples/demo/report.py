"""The demo's figures in one table, as Markdown and as JSON, and its pictures."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from pictures import draw

from vae_edge_export.agreement import auroc
from vae_edge_runtime import Bundle


def measure(folder: Path) -> dict[str, Any]:
    """Everything the steps before left in ``folder``, as plain values."""
    held_out = np.load(folder / "data" / "held_out.npz")
    device, torch = np.load(folder / "device.npz"), np.load(folder / "pytorch.npz")
    figures = {name: _read(folder / f"{name}.json") for name in ("export", "device", "pytorch", "cold_start")}
    labels = held_out["y"].astype(bool)
    difference = np.abs(device["score"].astype(np.float64) - torch["score"])
    size = (folder / "digits.vaeb").stat().st_size
    with Bundle.open(folder / "digits.vaeb") as bundle:
        variant = bundle.manifest.variants["fp32"]
    assert variant.calibration
    return {
        "rows": {"normal": int((~labels).sum()), "anomalous": int(labels.sum())},
        "parity": {name: [p.max_absolute, p.max_relative] for name, p in variant.parity.items()},
        "score_parity": {
            "max_absolute": float(difference.max()),
            "max_relative": float((difference / np.abs(torch["score"])).max()),
            "flipped": int(
                (
                    (device["score"] > variant.calibration.threshold)
                    != (torch["score"] > variant.calibration.threshold)
                ).sum()
            ),
        },
        "auroc": {"bundle": auroc(device["score"], labels), "pytorch": auroc(torch["score"], labels)},
        "threshold": variant.calibration.threshold,
        "false_positive_rate": {
            "asked": variant.calibration.false_positive_rate,
            "found": float(device["is_anomaly"][~labels].mean()),
        },
        "anomalies_found": float(device["is_anomaly"][labels].mean()),
        "size_bytes": {
            "bundle": size,
            "weights": figures["export"]["report"]["weight_bytes"],
            "stored_weights": figures["export"]["report"]["stored_weight_bytes"],
            "safetensors": (folder / "run" / "weights.safetensors").stat().st_size,
        },
        "latency_ms": {"bundle": figures["device"]["latency_ms"], "pytorch": figures["pytorch"]["latency_ms"]},
        "cold_start": figures["cold_start"],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "engine": f"Python {platform.python_version()}, onnxruntime {figures['device']['info']['engine_version']}",
    }


def table(m: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of (what, bundle, PyTorch)."""
    latency, cold, size = m["latency_ms"], m["cold_start"], m["size_bytes"]
    rows = [
        ("AUROC, held-out digits", f"{m['auroc']['bundle']:.4f}", f"{m['auroc']['pytorch']:.4f}"),
        ("anomalies found", f"{m['anomalies_found']:.1%}", ""),
        (
            f"false alarms (asked: {m['false_positive_rate']['asked']:.0%})",
            f"{m['false_positive_rate']['found']:.1%}",
            "",
        ),
        ("score, largest relative difference", f"{m['score_parity']['max_relative']:.1e}", "reference"),
        ("decisions that differ", str(m["score_parity"]["flipped"]), "reference"),
        ("file size", f"{size['bundle'] / 1e6:.2f} MB", f"{size['safetensors'] / 1e6:.2f} MB (weights only)"),
        ("file size / bytes of the weights it needs", f"{size['bundle'] / size['weights']:.3f}", ""),
        ("each weight is stored", f"{size['stored_weights'] / size['weights']:.2f} times", ""),
    ]
    for n in ("1", "32"):
        cells = [f"{latency[side][n]['p50']:.2f} / {latency[side][n]['p95']:.2f} ms" for side in ("bundle", "pytorch")]
        rows.append((f"score of {n} frame{'s' if n != '1' else ''}, p50 / p95, 1 thread", *cells))
    rows.append(
        ("cold start to the first score", *(f"{cold[side]['seconds']:.2f} s" for side in ("bundle", "pytorch")))
    )
    rows.append(
        ("peak memory of that", *(f"{cold[side]['peak_bytes'] / 1e6:.0f} MB" for side in ("bundle", "pytorch")))
    )
    return rows


def markdown(m: dict[str, Any]) -> str:
    """The report, with two tables."""
    lines = ["| | bundle | PyTorch |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in table(m)]
    lines += ["", f"Measured on {m['machine']}, {m['engine']}.", ""]
    lines += ["| graph.output | largest absolute difference from PyTorch | largest relative |", "|---|---|---|"]
    lines += [f"| {name} | {absolute:.1e} | {relative:.1e} |" for name, (absolute, relative) in m["parity"].items()]
    return "\n".join(lines) + "\n"


def _print(m: dict[str, Any]) -> None:
    rows = [("", "bundle", "PyTorch"), *table(m)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    print()
    for i, row in enumerate(rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if i == 0:
            print("  " + "  ".join("-" * width for width in widths))
    print("\n  largest relative difference from PyTorch, per output")
    for name, (_, relative) in m["parity"].items():
        print(f"  {name.ljust(widths[0])}  {relative:.1e}")
    print(f"\n  {m['machine']}, {m['engine']}\n")


def _read(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    measured = measure(folder)
    _print(measured)
    (folder / "report.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(measured), encoding="utf-8")
    pictures = draw(
        folder, np.load(folder / "data" / "held_out.npz"), np.load(folder / "device.npz"), measured["threshold"]
    )
    print("  " + "\n  ".join(str(path) for path in [folder / "report.md", *pictures]))


if __name__ == "__main__":
    main()
