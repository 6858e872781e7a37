"""TIFF files above Pillow's limit, and pyramids: unpacked by tiles into a mapped file, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_edge.data import large_tiff, read
from vae_edge.data.images import read_image
from vae_edge.data.limits import LIMITS
from vae_edge_runtime.errors import DataError

pytest.importorskip("PIL")
SHAPE = (70, 90, 3)


@pytest.fixture
def tifffile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """With a limit of 5,000 pixels, so that the pictures here are large."""
    module = pytest.importorskip("tifffile")
    monkeypatch.setitem(LIMITS, "pixels of a picture", LIMITS["pixels of a picture"]._replace(most=5000))
    return module


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"tile": (32, 16), "compression": "zlib"},
                                     {"rowsperstrip": 7, "compression": "zlib", "predictor": True}])  # fmt: skip
def test_a_large_picture_is_mapped_value_by_value(tifffile: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "web.tif", _picture(), photometric="rgb", **options)
    rows = read(tmp_path / "web.tif")
    assert rows.x.shape == (1, *SHAPE)
    assert rows.row_ids == ("web.tif",)
    assert isinstance(rows.x, np.memmap)
    np.testing.assert_array_equal(rows.x[0], _picture())
    assert rows.report is not None
    assert "mapped" in " ".join(rows.report.lines())
    np.testing.assert_array_equal(read_image(tmp_path / "web.tif", None), _picture())


def test_a_grey_one_has_one_channel(tifffile: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "grey.tif", _picture()[:, :, 0], tile=(16, 16), photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "grey.tif").x[0, :, :, 0], _picture()[:, :, 0])


@pytest.mark.parametrize("tied", [True, False])
def test_of_a_pyramid_the_largest_level_is_read(tifffile: Any, tmp_path: Path, tied: bool) -> None:
    small = _picture()[:60, :60]
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        writer.write(small, subifds=2 if tied else 0, tile=(16, 16), photometric="rgb")
        for step in (2, 4):
            writer.write(small[::step, ::step], subfiletype=1, tile=(16, 16), photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path / "slide.tif").x[0], small)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": np.zeros(SHAPE, np.uint16), "photometric": "rgb"}, "is uint16"),
        ({"data": np.zeros((*SHAPE[:2], 4), np.uint8), "photometric": "separated"}, "colours SEPARATED with 4"),
        ({"data": np.zeros((3, *SHAPE[:2]), np.uint8), "photometric": "rgb", "planarconfig": "separate"}, "side by"),
        ({"data": _picture(), "photometric": "rgb", "extratags": [(274, 3, 1, 6, True)]}, "orientation tag"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(tifffile: Any, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    tifffile.imwrite(tmp_path / "x.tif", **options)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "x.tif")


def test_two_large_pictures_in_one_file_are_refused(tifffile: Any, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        for seed in (0, 1):
            writer.write(_picture(seed), photometric="rgb", metadata=None)
    with pytest.raises(DataError, match="holds 2 pictures"):
        read(tmp_path / "two.tif")


def test_one_that_is_cut_anywhere_is_refused_or_whole(tifffile: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "whole.tif", _picture(), tile=(32, 32), compression="zlib", photometric="rgb")
    raw = (tmp_path / "whole.tif").read_bytes()
    for size in range(0, len(raw), 997):
        (tmp_path / "cut.tif").write_bytes(raw[:size])
        with pytest.raises(DataError):
            read(tmp_path / "cut.tif")


def test_without_tifffile_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(large_tiff, "installed", lambda: False)
    monkeypatch.setattr("vae_edge.data.images.tiff_installed", lambda: False)
    monkeypatch.setitem(LIMITS, "pixels of a picture", LIMITS["pixels of a picture"]._replace(most=5000))
    Image.fromarray(_picture()).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r'pip install "vae-edge\[tiff\]"'):
        read(tmp_path / "x.tif")
    Image.fromarray(_picture()).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"make it smaller or cut it$"):
        read(tmp_path / "x.png")


def test_small_pictures_are_read_by_pillow(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(_picture()).save(tmp_path / "x.tif")
    assert not isinstance(read(tmp_path / "x.tif").x, np.memmap)
