"""What a bundle of the corpus gives for its rows, and what the format is made of: as plain values, for JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vae_edge_runtime import VAE, OptionError, load
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.manifest import SCHEMA_VERSION
from vae_edge_runtime.format.onnx_ops import ALLOWED
from vae_edge_runtime.format.schema import manifest_schema

FOLDER = Path(__file__).parent
FIGURES = FOLDER / "figures.json"
TOLERANCES = {"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-2, "int8-cpu": 5e-2}
"""By variant: of scores and outputs, relative to max(|value|, rms of the values).

Of fp32 that of an export's parity. Of int8 what one step of a quantised layer may change: CPUs round differently.
"""


def bundles() -> list[Path]:
    """The files of the corpus."""
    return sorted(FOLDER.glob("*.vaeb"))


def frozen(version: int) -> Path:
    """Where the format of one schema version is written down."""
    return FOLDER / f"frozen-v{version}.json"


def format_now() -> dict[str, Any]:
    """Keys, types and enumerations of the manifest, and the operators of graphs, as this runtime has them."""
    return {"manifest": _without_prose(manifest_schema()), "operators": sorted(ALLOWED), "version": SCHEMA_VERSION}


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_prose(v) for k, v in schema.items() if k not in ("description", "title") or k == v}
    return [_without_prose(item) for item in schema] if isinstance(schema, list) else schema


def rows_of(vae: VAE) -> tuple[np.ndarray, np.ndarray | None]:
    """The golden rows of a bundle, the same rows turned upside down in their range, and far away where they may be."""
    manifest = vae.manifest
    golden, row, condition = manifest.golden, manifest.input, manifest.condition
    x = np.frombuffer(vae.read_member(golden.input), row.dtype).reshape(-1, *row.shape)
    turned = (row.low + row.high - x).astype(row.dtype)
    far = [4 * x] if row.dtype == "float32" and LIKELIHOODS[manifest.score.likelihood].values == "real" else []
    rows = np.concatenate([x, turned, *far])
    if condition is None or golden.condition is None:
        return rows, None
    given = np.frombuffer(vae.read_member(golden.condition), condition.dtype).reshape(-1, *condition.shape)
    return rows, np.concatenate([given] * (len(rows) // len(x)))


def figures(path: Path, variant: str) -> dict[str, Any]:
    """What one variant gives: per head scores, p-values, decisions and threshold; means of what it codes and draws."""
    with load(path, device="cpu", variant=variant, threads=1) as vae:
        x, condition = rows_of(vae)
        scores = vae.score(x, condition=condition, heads="all", maps=True)
        heads = {
            name: {
                "threshold": head.threshold,
                "score": head.score.tolist(),
                "p_value": head.p_value.tolist(),
                "is_anomaly": head.is_anomaly.tolist(),
            }
            for name, head in scores.heads.items()
        }
        posterior = vae.encode(x, condition=condition)
        decoded = vae.decode(posterior, condition=condition)
        one = condition[0] if condition is not None else None
        try:
            drawn = _row_means(vae.sample(4, seed=7, condition=one))
        except OptionError:  # it has no prior
            drawn = None
        return {
            "heads": heads,
            "status": scores.status.tolist(),
            "map": _row_means(scores.map),
            "mean": _row_means(posterior.mean),
            "indices": None if posterior.indices is None else posterior.indices.reshape(len(x), -1).tolist(),
            "decoded": _row_means(decoded),
            "sample": drawn,
        }


def _row_means(values: np.ndarray) -> list[float]:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64).tolist()  # type: ignore[no-any-return]
