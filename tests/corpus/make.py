"""Make the corpus: one small bundle for each kind of model, and the figures that later versions are held to.

    python tests/corpus/make.py                  # all of them, into this folder
    python tests/corpus/make.py table codes      # these alone

Run it once per schema version, when that version is released, and commit what it writes. **The bundles of a released
version are never made again**: they are what devices hold. Add those of the next version beside them (the names start
with the version) and an upgrade to ``vae_edge_runtime/format/upgrade.py``. Until the first release, version 1 may be
made again after a change of the format.

Everything is seeded, so one machine with one set of packages writes the same bytes each time. It needs the packages
of ``vae-edge[export]`` and takes about two minutes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "zoo"))

import handmade as h
from figures import FIGURES, FOLDER, figures, format_now, frozen
from handmade_codes import Quantised

from vae_edge_export import ExportConfig, export
from vae_edge_export.gates import Gate
from vae_edge_runtime import Bundle
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import SCHEMA_VERSION

ROWS = 120
LARGEST_BUNDLE, LARGEST_CORPUS = 60_000, 600_000
"""Bytes."""
TABLE_HEADS = tuple(name for name, head in HEADS.items() if not head.images_only)
OPEN = Gate(
    min_rank_correlation=0.0, min_decision_agreement=0.0, max_auroc_change=1.0, min_psnr_db=0.0, min_ssim=0.0,
    max_latent_error=1e6,
)  # fmt: skip
"""Random weights are no network to hold to a gate; what matters here is that the file is read and runs."""


class Picture(nn.Module):
    """A convolutional VAE of colour pictures 12 x 12; the decoder gives logits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.SiLU(), nn.Conv2d(4, 4, 4, 2, 1), nn.Flatten())
        self.fc_mu, self.fc_var = nn.Linear(36, 4), nn.Linear(36, 4)
        self.decoder = nn.Sequential(
            nn.Linear(4, 36), nn.Unflatten(1, (4, 3, 3)), nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.SiLU(),
            nn.ConvTranspose2d(4, 3, 4, 2, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(x)
        mean, logvar = self.fc_mu(hidden), self.fc_var(hidden)
        return self.decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * logvar))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Case:
    """One bundle: a model with random weights, rows it is calibrated on, and how it is exported."""

    model: Callable[[], nn.Module]
    rows: Callable[[np.random.Generator], np.ndarray]
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    condition: Callable[[np.random.Generator], np.ndarray] | None = None


def features(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, h.FEATURES)).astype(np.float32)


def unit(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROWS, h.FEATURES)).astype(np.float32)


def classes(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 8, (ROWS, h.FEATURES)).astype(np.float32)


def grey(rng: np.random.Generator) -> np.ndarray:
    return rng.random((ROWS, 1, 16, 16)).astype(np.float32)


def frames(rng: np.random.Generator) -> np.ndarray:
    rising = np.linspace(60, 180, 12)[None, :, None, None] + rng.normal(0, 20, (ROWS, 1, 1, 3))
    return (rising + rng.normal(0, 6, (ROWS, 12, 12, 3))).clip(0, 255).astype(np.uint8)


def windows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(5.0, 2.0, size=(ROWS, 20, 5)).astype(np.float32)


def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, h.LabelConditional.classes, ROWS)


def vectors(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, 5)).astype(np.float32)


TABLE = {"layout": "features"}
CODES: dict[str, Any] = {"encode": lambda m, x: m.quantise(x), "decode": lambda m, i: m.paint(i)}
CASES: dict[str, Case] = {
    "table": Case(h.Logvar, features, TABLE | {"heads": TABLE_HEADS, "draws": 3, "top_share": 0.4,
                                              "names": tuple("abcdef"), "metrics": {"auroc": 0.5}}),
    "picture": Case(Picture, frames, {
        "layout": "nhwc", "scale": (255.0,), "output_dtype": "uint8", "likelihood": "bernoulli", "logits": True,
        "heads": ("elbo", "ssim", "top", "peak", "gradient"), "map_sigma": 1.0,
    }),
    "window": Case(h.Temporal, windows, {
        "layout": "time_features", "offset": (5.0,) * 5, "scale": (2.0, 2.0, 2.0, 2.0, 4.0), "period_s": 0.01,
        "heads": ("elbo", "top", "mahalanobis"), "names": tuple("vwxyz"),
    }),
    "recurrent": Case(lambda: h.Recurrent(nn.GRU), windows, {"layout": "time_features", "offset": (5.0,)}),
    "label": Case(h.LabelConditional, features, TABLE | {"heads": ("elbo", "reconstruction_probability"), "draws": 2},
                  condition=labels),
    "vector": Case(h.VectorConditional, features, TABLE, condition=vectors),
    "codes": Case(Quantised, grey, {"layout": "nchw"}, CODES),
    "groups": Case(h.Ladder, grey, {"layout": "nchw", "heads": ("elbo", "mahalanobis")}),
    "autoencoder": Case(h.PlainAutoencoder, features, TABLE | {
        "transform": "sqrt", "heads": ("reconstruction", "mahalanobis", "typicality", "ranks"),
    }),
    "unsampled": Case(h.PlainAutoencoder, features, TABLE | {"threshold": 9.0}, {"prior": "none"}),
    "half": Case(h.Logvar, features, TABLE | {
        "precisions": ("fp32", "fp16"), "gates": {"fp16": OPEN}, "heads": ("elbo", "mahalanobis"),
    }),
    "integers": Case(h.Logvar, features, TABLE | {
        "precisions": ("int8", "int8-cpu"), "gates": {"int8": OPEN, "int8-cpu": OPEN},
    }),
    "convolutions": Case(Picture, frames, {
        "layout": "nhwc", "scale": (255.0,), "precisions": ("int8-cpu",), "gates": {"int8-cpu": OPEN},
    }),
    "bernoulli": Case(h.Probabilities, unit, TABLE | {"likelihood": "bernoulli"}),
    "gaussian": Case(h.Logvar, features, TABLE | {"likelihood": "gaussian", "variance": 0.5, "kl_weight": 0.25,
                                                 "reconstruction_weight": 2.0}),
    "variance": Case(h.LearnedVariance, features, TABLE | {"likelihood": "gaussian"}),
    "laplace": Case(h.Logvar, features, {"likelihood": "laplace"}),
    "beta": Case(h.BetaLikelihood, unit, TABLE | {"likelihood": "beta"}),
    "categorical": Case(h.Discrete, classes, TABLE | {"likelihood": "categorical"}),
    "tail": Case(h.Logvar, lambda rng: np.concatenate([features(rng) for _ in range(6)]),
                 TABLE | {"threshold_method": "tail", "false_positive_rate": 0.001}),
}  # fmt: skip


def make(name: str) -> Path:
    """Export one case."""
    case = CASES[name]
    path = FOLDER / f"v{SCHEMA_VERSION}-{name}.vaeb"
    torch.manual_seed(0)
    model = case.model()
    rng = np.random.default_rng(0)
    rows = case.rows(rng)
    given = {} if case.condition is None else {"condition": case.condition(rng)}
    config = {"name": name, "licence": "CC0-1.0", "golden_rows": 2, "false_positive_rate": 0.05} | case.config
    export(
        model,
        path,
        calibration=rows,
        config=ExportConfig(allow_poor_fit=True, **config),
        force=True,
        **case.options,
        **given,
    )
    return path


def main(names: list[str]) -> None:
    stored = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    if not names:  # figures of other versions stay
        stored = {name: value for name, value in stored.items() if not name.startswith(f"v{SCHEMA_VERSION}-")}
    for name in names or CASES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter; what matters is in the report
            path = make(name)
        with Bundle.open(path) as bundle:
            variants = sorted(bundle.manifest.variants)
            stored[path.name] = {"bundle_id": bundle.bundle_id, "pair_id": bundle.manifest.pair_id}
        stored[path.name]["variants"] = {variant: figures(path, variant) for variant in variants}
        print(f"{path.stat().st_size:7d} {path.name}")  # noqa: T201
        assert path.stat().st_size < LARGEST_BUNDLE, path
    total = sum(path.stat().st_size for path in FOLDER.glob(f"v{SCHEMA_VERSION}-*.vaeb"))
    assert total < LARGEST_CORPUS, f"{total} bytes in all"
    FIGURES.write_text(json.dumps(_short(stored), sort_keys=True).replace('"v', '\n"v') + "\n")
    frozen(SCHEMA_VERSION).write_text(json.dumps(format_now(), indent=1, sort_keys=True) + "\n")


def _short(value: Any) -> Any:
    """Floats with nine digits, which tell one float32 from the next."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(sys.argv[1:])
