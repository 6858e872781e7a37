"""Pictures as cameras, notebooks and archives leave them: read by a written rule, or refused by name."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from vae_edge.data import read
from vae_edge.data.images import read_image
from vae_edge_runtime import DataError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8))
GREY = COLOUR.convert("L")


def png(width: int, height: int, bits: int, colour: int, stream: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def save(folder: Path, name: str, picture: object, **options: object) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    picture.save(folder / name, **options)  # type: ignore[attr-defined]
    return folder / name


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "webp", "ppm", "jpg", "PNG"])
def test_every_listed_format_is_read(tmp_path: Path, ending: str) -> None:
    lossless = {"webp": {"lossless": True}}.get(ending, {})
    save(tmp_path, f"a.{ending}", COLOUR, **lossless)
    pixels = read(tmp_path).x
    assert pixels.shape == (1, 8, 6, 3)
    if ending != "jpg":
        np.testing.assert_array_equal(pixels[0], np.asarray(COLOUR))
    np.testing.assert_array_equal(read(tmp_path / f"a.{ending}").x, pixels)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)])
def test_modes_with_a_rule_become_grey_or_colour(tmp_path: Path, mode: str, channels: int) -> None:
    save(tmp_path, "a.png", COLOUR.convert(mode))
    assert read(tmp_path).x.shape == (1, 8, 6, channels)


def test_modes_without_a_rule_are_refused_by_name(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    transparent = COLOUR.convert("RGBA")
    transparent.putalpha(7)
    deep = RNG.integers(0, 65535, (8, 6, 4), dtype=np.uint16)
    save(tmp_path, "0/a.jpg", COLOUR.convert("CMYK"))
    save(tmp_path, "1/a.tif", COLOUR.convert("LAB"))
    save(tmp_path, "2/a.png", transparent)
    save(tmp_path, "3/a.tif", Image.fromarray(np.ones((4, 4), np.float32)))
    for i, (name, channels) in enumerate((("png", 3), ("png", 4), ("tif", 3), ("tif", 1)), start=4):
        (tmp_path / str(i)).mkdir()
        cv2.imwrite(str(tmp_path / f"{i}/a.{name}"), deep[:, :, :channels])
    (tmp_path / "8").mkdir()
    (tmp_path / "8/a.png").write_bytes(png(2, 2, 16, 4, zlib.compress((b"\0" + bytes(8)) * 2)))
    (tmp_path / "9").mkdir()
    (tmp_path / "9/a.ppm").write_bytes(b"P6 2 1 65535\n" + bytes(12))
    said = ["CMYK", "LAB", "transparent pixels", *["more than 8 bits"] * 7]
    for i, expected in enumerate(said):
        with pytest.raises(DataError, match=expected):
            read(tmp_path / str(i))


def test_what_is_no_picture_is_skipped_and_counted(tmp_path: Path) -> None:
    for name in ("a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", ".hidden.png", "b/c.png"):
        save(tmp_path, name, GREY)
    for name in ("Thumbs.db", "desktop.ini", "notes.txt", "more.txt", "scan.gif", "b/readme"):
        (tmp_path / name).write_bytes(b"x")
    pictures = read(tmp_path)
    assert pictures.row_ids == ("a.png", "b/c.png")
    assert pictures.report is not None
    assert pictures.report.rows_left_out == (
        ("5 files", "they are hidden, or an operating system made them"),
        ("4 of 6 files", "they are no pictures: no ending 1, .gif 1, .txt 2"),
    )
    (tmp_path / "b/c.png").unlink()
    with pytest.raises(DataError, match=r"holds no image .*1 of 1 file: they are no pictures: no ending 1"):
        read(tmp_path / "b")


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    save(tmp_path, "beside/x.png", GREY)
    save(tmp_path, "set/own/a.png", GREY)
    (tmp_path / "set/again").symlink_to("own")
    (tmp_path / "set/loop").symlink_to(".")
    (tmp_path / "set/up").symlink_to("..")
    (tmp_path / "set/other").symlink_to("../beside")
    pictures = read(tmp_path / "set")
    assert pictures.row_ids == ("again/a.png", "other/x.png")
    assert pictures.report is not None
    assert [name for name, _ in pictures.report.rows_left_out] == ["loop/", "own/", "up/"]
    (tmp_path / "set/lost.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"lost\.png cannot be read"):
        read(tmp_path / "set")


def test_entries_that_cannot_be_read_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png", GREY)
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png is no regular file"):
        read(tmp_path)
    (tmp_path / "b.png").unlink()
    (tmp_path / "b.png").mkdir()
    save(tmp_path, "b.png/c.png", GREY)
    assert len(read(tmp_path)) == 2
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b.png":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"the folder .*b\.png cannot be read: Permission denied"):
        read(tmp_path)


def test_a_postscript_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "g.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF")
    with pytest.raises(DataError, match="PostScript document"):
        read(tmp_path)


def test_other_content_under_the_name_of_a_picture_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    COLOUR.save(buffer, "GIF")
    for content, said in ((buffer.getvalue(), "a GIF picture"), (b"", "not a readable"), (b"text", "not a readable")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=said):
            read(tmp_path)
    COLOUR.save(tmp_path / "a.png", "JPEG")  # a JPEG that is called PNG is a picture all the same
    assert read(tmp_path).x.shape == (1, 8, 6, 3)


@pytest.mark.parametrize("side", [13_300, 30_000])
def test_a_picture_that_explodes_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png(side, side, 1, 0, b""))
    with pytest.raises(DataError, match=r"more than (the )?67,108,864"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "said"), [("x.gif", ".png"), ("x.avi", "vae-edge watch reads videos")])
def test_an_ending_that_is_not_read_names_those_that_are(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=re.escape(said)):
        read(tmp_path / name)


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.tif", COLOUR, save_all=True, append_images=[COLOUR, COLOUR])
    with pytest.raises(DataError, match="holds 3 pictures: save each"):
        read(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
def test_a_picture_cut_anywhere_is_refused_or_whole(tmp_path: Path, form: str) -> None:
    buffer = io.BytesIO()
    COLOUR.save(buffer, form)
    whole, path = buffer.getvalue(), tmp_path / "a.png"
    path.write_bytes(whole)
    pixels = read(path).x
    refused = 0
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        try:
            np.testing.assert_array_equal(read(path).x, pixels)
        except DataError:
            refused += 1
    assert refused >= len(whole) - 30  # the last bytes of a PNG are a check sum and an end mark


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_whose_stream_ends_early_but_properly_gets_no_invented_pixels(tmp_path: Path, interlaced: bool) -> None:
    lines = b"".join(b"\0" + bytes([i]) * 8 for i in range(1, 9))
    header = bytearray(png(8, 8, 8, 0, zlib.compress(lines[:36])))
    (tmp_path / "a.png").write_bytes(header)
    with pytest.raises(DataError, match="ends before its last pixel"):
        read(tmp_path)
    if interlaced:
        # Adam7 of 8 x 8: passes of 1x1, 1x1, 2x1, 2x2, 4x2, 4x4, 8x4 pixels, each line with a filter byte.
        passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
        stream = b"".join((b"\0" + b"\7" * columns) * rows for columns, rows in passes)
        data = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
        whole = bytearray(png(8, 8, 8, 0, zlib.compress(stream)))
        whole[16:29], whole[29:33] = data, struct.pack(">I", zlib.crc32(b"IHDR" + data))
        (tmp_path / "a.png").write_bytes(whole)
        assert (read(tmp_path).x == 7).all()


def test_a_photograph_is_turned_upright_and_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned by a quarter
    save(tmp_path, "a.png", COLOUR, exif=exif)
    pictures = read(tmp_path)
    np.testing.assert_array_equal(pictures.x[0], np.rot90(np.asarray(COLOUR), -1))
    assert pictures.report is not None
    assert "1 picture was turned upright as their EXIF orientation says" in pictures.report.notes


def test_of_several_sizes_the_commonest_is_named_with_its_option(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path, f"{i}.png", GREY)
    save(tmp_path, "0odd.png", GREY.resize((5, 5)))
    with pytest.raises(
        DataError, match=r"4 pictures have 2 sizes\. 3 of them.*are 6x8.*0odd\.png is 5x5.*--image-size 8x6"
    ):
        read(tmp_path)


@pytest.mark.parametrize(("form", "damage"), [("JPEG", b"Exif\0\0"), ("TIFF", b"II*\0")])
def test_tags_that_cannot_be_read_are_an_error_and_not_a_guess(tmp_path: Path, form: str, damage: bytes) -> None:
    """Pillow warns and goes on without them: the picture would lie on its side, or have other pixels."""
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 6), 5).save(path, form, exif=exif)
    whole = path.read_bytes()
    assert read_image(path, None).size == 48
    if form == "JPEG":
        at = whole.index(damage) + len(damage) + 8  # the number of its entries
        path.write_bytes(whole[:at] + b"\x00\xff" + whole[at + 2 :])
    else:
        at = int.from_bytes(whole[4:8], "little") + 2  # the first entry: its count of values
        path.write_bytes(whole[: at + 4] + b"\xff\xff\xff\x0f" + whole[at + 8 :])
    with pytest.raises(DataError, match=r"a\.png is not a readable image: "):
        read_image(path, None)
    Image.new("L", (8, 6), 5).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"a\.png is not a readable image: "):
        read(tmp_path)
