"""Files that are not what their name says, or have no end: one typed error each, in linear time and bounded memory."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cpu_time import least_cpu_s
from PIL import Image

from vae_edge.data import read
from vae_edge.data.limits import LIMITS
from vae_edge_runtime import DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", r"Excel workbook \(.xlsx\): save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0rest", r"Excel workbook \(.xls\)"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "gzip: unpack it"),
        (b"PAR1rest", "Parquet file: let its name end with .parquet"),
        (b"\x93NUMPYrest", "numpy array"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\n <!DOCTYPE html><table>", "web page"),
        (b"%PDF-1.4", "PDF"),
        (b"a\0b,1\n2,3", "zero bytes"),
        (bytes(1 << 16), "zero bytes"),
        (b"\x81\x8d\x8f,b\n1,2\n", "neither UTF-8 nor Windows-1252"),
        (b'a,b\n"1,2\n', "cannot be read as CSV"),
        (b"\n\n \n", "is empty"),
    ],
)  # fmt: skip
def test_other_content_under_the_name_of_a_csv_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.npy", "a.npz", "a.jsonl", "a.parquet", "a.png"])
def test_pipes_and_devices_are_refused_and_never_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a named pipe: name a regular file"):
        read(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device"):
        read(tmp_path / name)


def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.csv"))
    path.write_text("a,b\n1,2\n2,5\n")
    table = read(path)
    assert table.report is not None
    table.report.path.encode("utf-8")


def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("wb") as file:
        file.write(b"1" * ((1 << 24) + (1 << 20)))
    with pytest.raises(DataError, match=r"line 1 has [\d,]+ bytes in a line, more than the 16,777,216"):
        read(tmp_path / "t.csv")


def test_columns_cost_linear_time(tmp_path: Path) -> None:
    def read_columns(columns: int) -> None:
        row = ",".join("1.5" if i % 2 else "2" for i in range(columns))
        header = ",".join(f"c{i}" for i in range(columns))
        (tmp_path / "w.csv").write_text(f"{header}\n{row}\n{row}\n")
        table = read(tmp_path / "w.csv", features=[f"c{i}" for i in range(columns)])
        assert table.x.shape == (2, columns)

    read_columns(100)
    small = least_cpu_s(lambda: read_columns(2000))
    assert least_cpu_s(lambda: read_columns(20_000)) < 40 * small  # 100 times, were it quadratic


def test_archives_that_hold_no_array_lie_or_explode_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x", "hello")
    np.savez(tmp_path / "good.npz", x=np.ones((2, 2), np.float32))
    encrypted = bytearray((tmp_path / "good.npz").read_bytes())
    encrypted[encrypted.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "encrypted.npz").write_bytes(encrypted)
    lying = bytearray((tmp_path / "good.npz").read_bytes())
    at = lying.find(b"(2, 2)")
    lying[at : at + 6] = b"(9, 9)"
    (tmp_path / "lying.npz").write_bytes(lying)
    for name, said in (("text", "no numpy array"), ("encrypted", "encrypted"), ("lying", "cannot be read")):
        with pytest.raises(DataError, match=said):
            read(tmp_path / f"{name}.npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", b"")
    bomb = bytearray((tmp_path / "bomb.npz").read_bytes())
    at = bomb.find(b"PK\x01\x02") + 24
    bomb[at : at + 4] = b"\xf0\xff\xff\xff"
    (tmp_path / "bomb.npz").write_bytes(bomb * 1)
    with pytest.raises(DataError, match=r"bomb\.npz"):
        read(tmp_path / "bomb.npz")


def test_a_second_array_is_refused_and_other_arrays_are_named(tmp_path: Path) -> None:
    """Called twice with one open file, ``np.save`` writes two arrays, of which numpy reads the first."""
    rows = np.ones((2, 2), np.float32)
    with (tmp_path / "twice.npy").open("wb") as file:
        np.save(file, rows)
        np.save(file, rows * 2)
    with pytest.raises(DataError, match="bytes behind its array"):
        read(tmp_path / "twice.npy")
    np.savez(tmp_path / "named.npz", x=rows, y=[0, 1], labels=[1, 0], time=[0, 1])
    named = read(tmp_path / "named.npz")
    assert named.report is not None
    assert named.report.notes[1:] == ("the file also holds labels, time",)
    with zipfile.ZipFile(tmp_path / "named.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", archive.read("x.npy"))
    with pytest.raises(DataError, match="two arrays of one name"):
        read(tmp_path / "named.npz")


def test_a_sparse_array_larger_than_memory_is_refused_before_a_page_is_touched(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (78 << 30, 1)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + (78 << 30))
    with pytest.raises(DataError, match=r"bytes of a mapped \.npy, more than the 68,719,476,736 that are read"):
        read(tmp_path / "a.npy")


def test_the_page_about_data_states_every_limit() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| ([^|]+?) \| ([\d,]+) \|", page, flags=re.MULTILINE))
    assert stated == {what: f"{limit.most:,}" for what, limit in LIMITS.items()}


@pytest.mark.parametrize(("grey", "colour", "is_read"), [(15, 0, True), (16, 0, False), (5, 0, True), (5, 1, False)])
def test_a_folder_of_pictures_is_refused_where_all_of_them_at_once_pass_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: int, colour: int, is_read: bool
) -> None:
    """Of 8x8 pixels: 64 bytes each in grey, and one colour picture makes all of them 192."""
    for i in range(grey + colour):
        Image.new("L" if i < grey else "RGB", (8, 8), 7 if i < grey else (1, 2, 3)).save(tmp_path / f"{i:02}.png")
    monkeypatch.setitem(LIMITS, "bytes of numbers in memory", LIMITS["bytes of numbers in memory"]._replace(most=1000))
    if is_read:
        assert read(tmp_path).x.nbytes == 64 * grey
    else:
        with pytest.raises(DataError, match="bytes of numbers in memory, more than the 1,000 that are read"):
            read(tmp_path)
