"""Compressed rows from this machine to aarch64 and back: every value within its bound, exact rows equal.

    python tests/arm64/codec.py send FOLDER         here: rows by ONNX Runtime, by OpenVINO, by a reduced variant
    python tests/arm64/codec.py answer FOLDER       under emulation: reads them, and compresses the rows itself
    python tests/arm64/codec.py receive FOLDER      here: reads the answer by ONNX Runtime and by OpenVINO

The last two print what they found as JSON. ``lane.py`` runs all three.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime import VAE, load

MODES: dict[str, dict[str, Any]] = {
    "wide": {"bound": "0.3"}, "narrow": {"bound": "0.05"}, "exact": {"exact": True}, "latents": {"latents": True},
    "triage": {"bound": "0.05", "triage": True},
}  # fmt: skip
ROWS, PACKETS = 400, 40


def engines() -> list[str]:
    """Of this machine, that decode in fp32."""
    return ["cpu", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def compressed(vae: VAE, x: np.ndarray, folder: Path, sender: str) -> None:
    """A file of each mode, and packets of some rows."""
    for mode, how in MODES.items():
        (folder / f"{sender}.{mode}.vaez").write_bytes(vae.compress(x, **how))
    packets = {mode: [vae.packet(row, **how).hex() for row in x[:PACKETS]] for mode, how in MODES.items()}
    (folder / f"{sender}.json").write_text(json.dumps(packets))


def read(vae: VAE, x: np.ndarray, folder: Path, sender: str) -> dict[str, Any]:
    """What came of a sender's files and packets."""
    section = vae.manifest.compression
    assert section is not None
    outside = stored = values = 0
    largest = 0.0
    packets = json.loads((folder / f"{sender}.json").read_text())
    for mode, how in MODES.items():
        whole = vae.decompress((folder / f"{sender}.{mode}.vaez").read_bytes())
        alone = [vae.unpack(bytes.fromhex(packet)) for packet in packets[mode]]
        bound = section.mode(str(how["bound"])) if "bound" in how else None
        for back, true in ((whole, x), *zip(alone, x[:PACKETS, None], strict=True)):
            stored += int((back.kind == "raw").sum())
            near = back.kind != "latents"
            error = np.abs(back.rows[near].astype(np.float64) - true[near])
            allowed = np.zeros(1) if bound is None else np.array(bound.bound)
            outside += int((error > allowed).sum())
            values += error.size
            if bound is not None and error.size:
                largest = max(largest, float((error / allowed).max()))
    return {"values": values, "outside": outside, "stored as they are": stored, "largest error of the bound": largest}


def send(folder: Path) -> None:
    """Bundles, rows, and what the engines here make of them."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
    from codec_bundles import CORPUS, window_bundle, windows

    from vae_edge_runtime import recalibrate

    (folder / "window.vaeb").write_bytes(window_bundle().read_bytes())
    x = windows(ROWS, 17)
    np.save(folder / "rows.npy", x)
    for engine in engines():
        with load(folder / "window.vaeb", device=engine, threads=1) as vae:
            compressed(vae, x, folder, engine)
    table = np.random.default_rng(1).normal(size=(ROWS, 6)).astype(np.float32)
    np.save(folder / "table.npy", table)
    recalibrate(
        CORPUS / "v1-half.vaeb", folder / "half.vaeb", rows=table, compress="0.1", false_positive_rate=0.1, force=True
    )
    with load(folder / "half.vaeb", device="cpu", variant="fp16") as vae:
        (folder / "half.vaez").write_bytes(vae.compress(table, bound="0.1"))


def answer(folder: Path) -> dict[str, Any]:
    """Read under emulation what was sent, and send the rows back."""
    x, table = np.load(folder / "rows.npy"), np.load(folder / "table.npy")
    with load(folder / "window.vaeb", device="cpu", threads=1) as vae:
        senders = [path.stem for path in sorted(folder.glob("*.json")) if path.stem != "aarch64"]
        figures = {f"{sender} to aarch64": read(vae, x, folder, sender) for sender in senders}
        compressed(vae, x, folder, "aarch64")
    with load(folder / "half.vaeb", device="cpu", variant="fp32", threads=1) as vae:
        section = vae.manifest.compression
        assert section is not None
        mode, back = section.modes[1], vae.decompress((folder / "half.vaez").read_bytes())
        error = np.abs(back.rows.astype(np.float64) - table) / np.array(mode.bound)
        figures["fp16 to aarch64"] = {
            "values": error.size,
            "outside": int((error > 1).sum()),
            "stored as they are": int((back.kind == "raw").sum()),
            "largest error of the bound": float(error.max()),
        }
    return figures


def receive(folder: Path) -> dict[str, Any]:
    """Read here what came back."""
    x, figures = np.load(folder / "rows.npy"), {}
    for engine in engines():
        with load(folder / "window.vaeb", device=engine, threads=1) as vae:
            figures[f"aarch64 to {engine}"] = read(vae, x, folder, "aarch64")
    return figures


def main() -> None:
    stage, folder = sys.argv[1], Path(sys.argv[2]) / "codec"
    folder.mkdir(parents=True, exist_ok=True)
    if stage == "send":
        for old in folder.iterdir():
            old.unlink()
        send(folder)
    elif stage == "answer" and platform.machine() != "aarch64":
        raise SystemExit(f"this is no aarch64 but {platform.machine()}")
    else:
        print(json.dumps(answer(folder) if stage == "answer" else receive(folder)))


if __name__ == "__main__":
    main()
