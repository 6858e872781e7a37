"""Maps of colour pictures: a wrong colour of the same lightness stands out of texture and noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_pictures import SIDE, Waves, pictures

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import OptionError, load

OPTIONS: dict[str, object] = {"layout": "nhwc", "scale": (255.0,), "parity_rtol": 1e-3, "false_positive_rate": 0.05}


def _grainy(n: int, *, seed: int) -> np.ndarray:
    """Normal pictures whose noise is of light: the same in each channel, beside a little of each channel's own."""
    grain = 12 * np.random.default_rng(seed).normal(size=(n, SIDE, SIDE, 1))
    return np.clip(np.round(pictures(n, seed=seed) + grain), 0, 255).astype(np.uint8)


def _wrong_colour(x: np.ndarray) -> np.ndarray:
    """A square of 5 x 5 pixels: 8 levels more red, and less green, at the same lightness."""
    x = x.astype(int)
    x[:, 8:13, 10:15] += (12, -6, 0)
    return np.clip(x, 0, 255).astype(np.uint8)


def _export(path: Path, **options: object) -> Path:
    export(
        Waves(), path, calibration=_grainy(100, seed=0),
        config=ExportConfig(**(OPTIONS | options)),  # type: ignore[arg-type]
        encode=lambda model, x: model.encode(x), decode=lambda model, z: model.decode(z), scale_form="logvar",
    )  # fmt: skip
    return path


def test_a_wrong_colour_is_found_by_whitened_channels_and_not_by_their_sum(tmp_path: Path) -> None:
    normal, bad = _grainy(40, seed=1), _wrong_colour(_grainy(40, seed=2))
    share = {}
    for channels in ("plain", "whitened"):
        with load(_export(tmp_path / f"{channels}.vaeb", map_channels=channels), device="cpu") as vae:
            assert vae.manifest.score.map_channels == channels
            good, found = vae.score(normal, heads="all"), vae.score(bad, heads="all", maps=True)
            share[channels] = found.heads["top"].is_anomaly.mean()
            assert good.heads["top"].is_anomaly.mean() <= 0.2
            np.testing.assert_allclose(found.score, found.reconstruction + found.kl, rtol=1e-5)
            if channels == "whitened":
                places = found.map.sum(3)
                inside = places[:, 8:13, 10:15].mean()
                places[:, 6:15, 8:17] = 0
                assert inside > 8 * places.sum() / (40 * (SIDE**2 - 81))
    assert share["plain"] < 0.5
    assert share["whitened"] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [({"likelihood": "laplace"}, "needs a residual"), ({"map_channels": "best"}, "valid are plain, whitened")],
)
def test_what_has_no_residual_is_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        _export(tmp_path / "x.vaeb", **({"map_channels": "whitened"} | options))
