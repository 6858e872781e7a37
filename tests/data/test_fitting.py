"""Pictures of another size: stretched, padded or cropped by one rule, at training and on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image

from vae_edge.data import read
from vae_edge.data.fitting import check_fit, placed, size_for
from vae_edge.evaluation.mask_folders import read_mask_folder
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.specs import InputSpec


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A picture of 20 x 40 pixels, left half red, right half blue."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


@pytest.mark.parametrize("have", [(20, 40), (40, 20), (17, 91), (64, 64), (1, 500)])
@pytest.mark.parametrize("want", [(64, 64), (16, 48)])
def test_pad_keeps_all_and_crop_fills_all(have: tuple[int, int], want: tuple[int, int]) -> None:
    source, (top, left, height, width) = placed(have, want, "pad")
    assert source == (0, 0, *have)
    assert (height == want[0]) or (width == want[1])
    assert 0 <= top <= top + height <= want[0]
    assert 0 <= left <= left + width <= want[1]
    (up, west, down, east), target = placed(have, want, "crop")
    assert target == (0, 0, *want)
    assert 0 <= up < down <= have[0]
    assert 0 <= west < east <= have[1]
    assert (down - up == have[0]) or (east - west == have[1])


def test_the_three_rules_on_a_picture_twice_as_wide(wide: Path) -> None:
    stretched, padded, cropped = (
        read(wide, image_shape=(16, 16), fit=fit).x[0].astype(int) for fit in ("stretch", "pad", "crop")
    )
    assert padded[:4].max() == padded[12:].max() == 0
    assert padded[6, 2].tolist() == [200, 0, 0]
    assert padded[6, 13].tolist() == [0, 0, 200]
    assert stretched[0, 0].tolist() == cropped[0, 0].tolist() == [200, 0, 0]
    assert stretched[0, 15].tolist() == cropped[0, 15].tolist() == [0, 0, 200]


def test_a_stretched_picture_is_warned_of_and_others_are_not(wide: Path) -> None:
    def notes(shape: tuple[int, int], fit: str) -> str:
        report = read(wide, image_shape=shape, fit=fit).report
        assert report is not None
        return " ".join(report.notes)

    assert "1 picture has another aspect ratio and was stretched" in notes((16, 16), "stretch")
    assert "stretched;" not in notes((16, 16), "pad")
    assert "stretched;" not in notes((10, 20), "stretch")


def test_a_fit_without_a_size_or_of_another_name_is_refused() -> None:
    assert check_fit(None, None) == "stretch"
    with pytest.raises(OptionError, match="pass that too"):
        check_fit("pad", None)
    with pytest.raises(OptionError, match="valid are stretch, pad, crop"):
        check_fit("fill", (2, 2))


def test_a_bundle_with_a_rule_takes_pictures_of_any_size() -> None:
    plain = InputSpec((16, 24, 3), "uint8", "nhwc", 0.0, 255.0, ())
    padded = InputSpec((3, 16, 24), "uint8", "nchw", 0.0, 255.0, (), fit="pad")
    assert size_for(plain, None) == (None, "stretch")
    assert size_for(padded, None) == ((16, 24), "pad")
    assert size_for(padded, (8, 8)) == ((8, 8), "pad")


def test_a_pattern_names_pictures_in_order(wide: Path) -> None:
    Image.open(wide).save(wide.with_name("a.png"))
    (wide.parent / "note.txt").write_text("no picture")
    rows = read(wide.parent / "*")
    assert [Path(row_id).name for row_id in rows.row_ids] == ["a.png", "wide.png"]
    with pytest.raises(DataError, match="names no picture"):
        read(wide.parent / "*.jpg")


def test_masks_of_mvtec_are_found_by_name_and_brought_to_the_size_of_the_rows(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    mask = np.zeros((20, 40), np.uint8)
    mask[10:, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "scratch" / "000_mask.png")
    ids, labels = ("good/000.png", "scratch/000.jpg"), np.array([False, True])
    stretched = read_mask_folder(tmp_path, ids, labels, (10, 10), "stretch")
    assert not stretched[0].any()
    assert stretched[1].sum() == 5 * 3  # columns from 28.. are not marked before 30: pixel centres decide
    padded = read_mask_folder(tmp_path, ids, labels, (10, 10), "pad")
    assert not padded[1][:2].any()
    assert not padded[1][8:].any()
    with pytest.raises(DataError, match=r"holds no mask of spot/1\.png: it would be called spot/1_mask\.png"):
        read_mask_folder(tmp_path, ("spot/1.png",), np.array([True]), (10, 10), "pad")
