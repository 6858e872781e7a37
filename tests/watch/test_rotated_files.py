"""Many rotated files at once: read in order, with few descriptors, whatever happens to them before their turn."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from vae_edge.watch import rotation
from vae_edge.watch.followed import Followed
from vae_edge.watch.rotation import Beside
from vae_edge.watch.text_files import CsvLines

FILES = 60


@pytest.fixture
def six_descriptors() -> Iterator[None]:
    """No more than six further files can be open at a time."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 6, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def write(path: Path, row: int) -> None:
    path.write_text(f"a,b\n{row},0\n")


def rotate(path: Path, row: int) -> None:
    numbers = sorted((int(p.suffix[1:]) for p in path.parent.glob("live.csv.*")), reverse=True)
    for n in numbers:
        path.with_name(f"live.csv.{n}").rename(path.with_name(f"live.csv.{n + 1}"))
    path.rename(path.with_name("live.csv.1"))
    write(path, row)


class Reader:
    """A followed file, and the first cells that were read of it."""

    def __init__(self, path: Path, position: dict[str, object] | None = None) -> None:
        self.notes: list[str] = []
        parser = CsvLines(str(path), names=("a", "b"), count=2, time_column=None)
        self.source = Followed(path, parser, poll_s=0, note=self.notes.append, position=position)
        self._blocks = iter(self.source)

    def read(self, until: int | None = None) -> list[float]:
        """Rows until nothing is new in two looks, or so many of them."""
        rows: list[float] = []
        idle = 0
        while idle < 2 and (until is None or len(rows) < until):
            block = next(self._blocks)
            idle = idle + 1 if block is None else 0
            rows += [] if block is None else block.values[:, 0].tolist()
        return rows


def rotated_while_stopped(path: Path, *, same: bool = False, files: int = FILES) -> Reader:
    """A reader that goes on where another one stopped, which has read row 0; 60 files came between."""
    write(path, 0)
    before = Reader(path)
    assert before.read() == [0]
    position = before.source.position()
    for row in range(1, files + 1):
        rotate(path, 7 if same else row)
    return Reader(path, position)


@pytest.mark.skipif(os.name != "posix", reason="limits of descriptors")
def test_more_rotated_files_than_descriptors_are_read_in_their_order(tmp_path: Path, six_descriptors: None) -> None:
    reader = rotated_while_stopped(tmp_path / "live.csv")
    assert reader.read() == list(range(1, FILES + 1))
    assert not reader.notes
    assert not reader.source.lost


@pytest.mark.parametrize("read_before", [1, 7, FILES - 1])
def test_files_that_are_renamed_before_their_turn_are_read_once(tmp_path: Path, read_before: int) -> None:
    path = tmp_path / "live.csv"
    reader = rotated_while_stopped(path)
    rows = reader.read(until=read_before)
    rotate(path, FILES + 1)
    rotate(path, FILES + 2)
    assert rows + reader.read() == list(range(1, FILES + 3))
    assert not reader.notes


@pytest.mark.parametrize("read_before", [1, 7, FILES - 1])
def test_a_file_that_is_copied_and_cut_before_its_turn_is_read_in_its_copy(tmp_path: Path, read_before: int) -> None:
    path = tmp_path / "live.csv"
    reader = rotated_while_stopped(path)
    rows = reader.read(until=read_before)
    path.rename(tmp_path / "aside")
    for n in range(FILES, 0, -1):
        path.with_name(f"live.csv.{n}").rename(path.with_name(f"live.csv.{n + 1}"))
    (tmp_path / "aside").rename(path)
    shutil.copyfile(path, path.with_name("live.csv.1"))
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(f"a,b\n{FILES + 1},0\n")
    assert rows + reader.read() == list(range(1, FILES + 2))
    assert not reader.notes


def test_files_that_are_deleted_before_their_turn_are_named(tmp_path: Path) -> None:
    path = tmp_path / "live.csv"
    reader = rotated_while_stopped(path)
    rows = reader.read(until=7)
    for name in ("live.csv.50", "live.csv.51", "live.csv.10"):
        (tmp_path / name).unlink()
    assert rows + reader.read() == [
        row for row in range(1, FILES + 1) if row not in (FILES - 50, FILES - 51, FILES - 10)
    ]
    assert len(reader.notes) == 3
    assert all("deleted before it was read" in note for note in reader.notes)


def test_files_that_hold_the_same_rows_are_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_edge.watch.rotation._COPYING_S", 0.0)  # as a minute after the last rotation
    assert rotated_while_stopped(tmp_path / "live.csv", same=True).read() == [7] * FILES


def test_a_young_file_that_may_be_a_copy_is_read_after_the_next_rotation(tmp_path: Path) -> None:
    path = tmp_path / "live.csv"
    reader = rotated_while_stopped(path, same=True)
    assert reader.read() == [7] * (FILES - 1)
    rotate(path, 8)
    assert reader.read() == [7, 8]
    assert not reader.notes


def looks_at_files(folder: Path, files: int) -> int:
    """How often the system is asked about a file or a folder while so many waiting files are read."""
    folder.mkdir()
    reader = rotated_while_stopped(folder / "live.csv", files=files)
    an_hour_ago = time.time() - 3600
    os.utime(folder, (an_hour_ago, an_hour_ago))
    count = 0

    def profile(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal count
        count += event == "c_call" and called.__name__ in ("stat", "fstat", "open", "scandir", "__next__", "lstat")

    sys.setprofile(profile)
    try:
        rows = reader.read()
    finally:
        sys.setprofile(None)
    assert rows == list(range(1, files + 1))
    return count


def test_twice_the_waiting_files_take_twice_the_looks_at_files(tmp_path: Path) -> None:
    """A look at every file for every file before: 400 of them took 16 times as long as 100.

    A busy machine takes some looks more, since a folder that has just changed is read again.
    """
    first, second = looks_at_files(tmp_path / "a", 100), looks_at_files(tmp_path / "b", 200)
    assert 100 < first < second <= 3 * first, (first, second)


def test_what_is_renamed_is_seen_at_once_and_a_folder_that_rests_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "live.csv"
    write(path, 0)
    rotate(path, 1)
    beside, reads = Beside(path), []
    real = rotation.rotated
    monkeypatch.setattr(rotation, "rotated", lambda path: reads.append(path) or real(path))
    one = beside.inodes()
    assert len(one) == 1
    for _ in range(5):  # just changed: a second change in the same tick of the clock would be missed
        assert beside.inodes() is one
    assert len(reads) == 6
    os.utime(tmp_path, (1, 1))
    for _ in range(5):
        assert beside.inodes() is one
    assert len(reads) == 7
    rotate(path, 2)
    assert len(beside.inodes()) == 2
    os.utime(tmp_path, (1, 1))
    monkeypatch.setattr(rotation, "_TRUSTED_S", 0.0)
    beside.inodes()
    before = len(reads)
    beside.inodes()
    assert len(reads) == before + 1


@pytest.mark.parametrize("copied", ["", "a,b\n1,0\n"], ids=["begun", "whole"])
def test_a_copy_that_was_in_the_making_at_a_restart_is_read_before_what_follows(tmp_path: Path, copied: str) -> None:
    path = tmp_path / "live.csv"
    path.write_text("a,b\n")
    before = Reader(path)
    assert before.read() == []
    position = before.source.position()
    before.source.close()
    write(path, 1)
    path.with_name("live.csv.1").write_text(copied)
    after = Reader(path, position)  # the file is not cut yet, and the copy is no file of its own
    path.with_name("live.csv.1").write_text("a,b\n1,0\n")
    write(path, 2)  # into the same inode
    assert after.read() == [1, 2]


def test_a_header_that_was_copied_and_cut_behind_the_reader_is_no_place_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "live.csv"
    path.write_text("a,b\n")
    reader = Reader(path)
    assert reader.read() == []
    path.with_name("live.csv.1").write_text("a,b\n1,0\n")
    write(path, 2)
    assert reader.read() == [1, 2]
