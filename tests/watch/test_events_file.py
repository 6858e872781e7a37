"""The file that events are appended to holds whole lines only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vae_edge.watch import appended
from vae_edge_runtime.errors import OptionError, StorageError

LINE = '{"kind": "decision", "index": 1}\n'


@pytest.mark.parametrize("half", ["{", '{"kind": "deci', '{"kind": "decision", "index": 1}'])
def test_half_an_event_left_by_a_power_cut_is_cut_off(tmp_path: Path, half: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(LINE + half)
    with appended(path) as (append, cut):
        append(LINE)
    assert cut == len(half)
    assert path.read_text() == LINE * 2


def test_whole_lines_are_kept_and_a_new_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with appended(path) as (append, cut):
            append(LINE)
            assert cut == 0
    assert path.read_text() == LINE * 2


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir,\nplease")
    with pytest.raises(OptionError, match="ends with half a line that is no event"), appended(path):
        pass
    assert path.read_text() == "Dear Sir,\nplease"


def test_a_full_disk_is_a_storage_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(StorageError, match="could not be written"), appended(Path("/dev/full")) as (append, _):
        append(LINE)


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"), appended(tmp_path / "absent" / "events.jsonl"):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_without_a_reader_is_an_error_and_keeps_no_event_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(StorageError, match="nobody reads the pipe"), appended(path):
        pass
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with appended(path) as (append, cut):
        append(LINE)
        assert (os.read(reader, 1000), cut) == (LINE.encode(), 0)
        os.close(reader)
        with pytest.raises(StorageError, match="nobody reads the pipe"):
            append(LINE)
