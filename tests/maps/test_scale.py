"""One colour scale per bundle: defects show and normal pictures do not, whatever head decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_pictures import picture_bundle, pictures, spoilt

from vae_edge.maps import picture_regions, scale_of
from vae_edge.maps.colours import as_pixels, over_picture
from vae_edge.maps.places import places_of
from vae_edge_runtime import load

HEADS = ("elbo", "top", "peak", "ssim", "gradient")


@pytest.mark.parametrize("head", HEADS)
def test_a_map_shows_the_defect_and_nothing_else_by_every_default_head(head: str, tmp_path: Path) -> None:
    normal, bad = pictures(8, seed=1), spoilt(pictures(8, seed=1))
    with load(picture_bundle(tmp_path / "waves.vaeb", head), device="cpu") as vae:
        scale, spec = scale_of(vae), vae.manifest.input
        before = places_of(vae.score(normal, maps=True).map, spec)
        after = places_of(vae.score(bad, maps=True).map, spec)
    for picture, places in zip(normal, before, strict=True):
        shown = over_picture(as_pixels(picture, spec), places, scale.top).astype(int)
        assert np.abs(shown - picture).mean() < 12, "a normal picture glows"
    for picture, places in zip(bad, after, strict=True):
        shown = over_picture(as_pixels(picture, spec), places, scale.top).astype(int)
        changed = np.abs(shown - picture).sum(-1)
        assert changed[4:7, 9:12].min() > 60, "the defect is not shown"
        outside = np.ones(changed.shape, bool)
        outside[4:7, 9:12] = False
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 20, "the map is one solid colour"
        assert np.median(changed[outside]) < 20, "the whole picture glows"


def test_the_scale_is_that_of_peak_whatever_decides_where_the_bundle_has_it(tmp_path: Path) -> None:
    with load(picture_bundle(tmp_path / "a.vaeb", "ssim", "peak"), device="cpu") as vae:
        scale = scale_of(vae)
        assert scale.threshold == vae.calibrations["peak"].threshold
        assert scale.top == 2 * vae.calibrations["peak"].threshold


def test_contours_of_normal_pictures_are_as_rare_as_peak_promises(tmp_path: Path) -> None:
    with load(picture_bundle(tmp_path / "a.vaeb", "peak"), device="cpu") as vae:
        scale, spec = scale_of(vae), vae.manifest.input
        places = places_of(vae.score(pictures(200, seed=2), maps=True).map, spec)
    assert scale.threshold is not None
    contoured = sum(bool(picture_regions(p, scale.threshold)) for p in places)
    assert contoured <= 22, "more than twice the promised 5 % of 200"
