"""Folders of pictures as storages and people keep them: copies of the system, classes, masks, other kinds of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vae_edge.data import read
from vae_edge_runtime import DataError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)).convert(mode).save(path)


@pytest.mark.parametrize(
    "copy",
    ["@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.png", "$RECYCLE.BIN/a.png", ".thumbnails/a.png", "._a.png"],
)
def test_copies_that_a_system_made_are_no_pictures(tmp_path: Path, copy: str) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    picture(tmp_path / copy)
    found = read(tmp_path)
    assert len(found.x) == 2
    assert ("1 file", "they are hidden, or an operating system made them") in found.report.rows_left_out


def test_folders_and_grey_pictures_among_colour_are_said(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "good" / f"{name}.JPG")
    for name in "ab":
        picture(tmp_path / "bad" / f"{name}.png")
        picture(tmp_path / "bad" / f"{name}_mask.png", mode="L")
    notes = read(tmp_path).report.notes
    assert "from 2 folders: bad 4, good 3" in notes
    assert "2 grey pictures among them became colour" in notes
    assert not any("folders" in note or "among" in note for note in read(tmp_path / "good").report.notes)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic", "save the picture as PNG or JPEG"),
        ("clip.MOV", b"x", "vae-edge watch reads videos"),
        ("part-0.parquet", b"PAR1", "name one table, or join them into one"),
    ],
)
def test_a_folder_without_a_picture_says_what_to_do_with_what_is_in_it(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"holds no image .*; {said}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "it is empty"), (b"<html>404</html>", "a web page: bring the picture itself")]
)
def test_a_download_that_failed_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path)


def test_arrays_of_fields_and_of_times_are_refused_by_what_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros(5, dtype=[("temp", "f4"), ("flow", "f4")]))
    with pytest.raises(DataError, match=r"named fields \(temp, flow\)"):
        read(tmp_path / "s.npy")
    np.save(tmp_path / "t.npy", np.arange("2024-01", "2024-02", dtype="M8[D]"))
    with pytest.raises(DataError, match="holds times"):
        read(tmp_path / "t.npy")
