"""A bundle of tiles of 24 pixels that overlap by 8, and the defect that its pictures get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plain_pictures import SIDE, Waves, large_pictures

from vae_edge_export import ExportConfig, export

OPTIONS: dict[str, object] = {
    "layout": "nhwc", "scale": (255.0,), "parity_rtol": 1e-3, "tile": SIDE, "overlap": 8, "false_positive_rate": 0.05,
}  # fmt: skip


def export_tiled(path: Path, **options: object) -> Path:
    """Calibrated on 40 pictures of 61 x 50; ``options`` of ``ExportConfig``."""
    export(
        Waves(), path, calibration=large_pictures(40, 61, 50, seed=0),
        config=ExportConfig(**(OPTIONS | options)),  # type: ignore[arg-type]
        encode=lambda model, x: model.encode(x), decode=lambda model, z: model.decode(z), scale_form="logvar",
    )  # fmt: skip
    return path


def spoilt(x: np.ndarray) -> np.ndarray:
    """A white square of 3 x 3 pixels on each."""
    x = x.copy()
    x[:, 30:33, 20:23] = 255
    return x
