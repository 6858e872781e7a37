"""Rows of a stream in a file of compressed rows: none is lost and none comes twice, whenever the process ends."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codec_bundles import other_bundle, window_bundle, windows

from vae_edge.watch.compressed import CompressedFile
from vae_edge_runtime import VAE, DataError, OptionError, PairMismatch, load
from vae_edge_runtime.codec.writer import Writer
from vae_edge_runtime.stream.rows import Rows

ROWS = windows(60, 5).reshape(-1, 5)


@pytest.fixture(scope="module")
def vae() -> Iterator[VAE]:
    with load(window_bundle(), device="cpu", threads=1) as session:
        yield session


def opened(vae: VAE, path: Path, state: dict[str, Any] | None, *, again: bool = True) -> CompressedFile:
    saved = None if state is None else json.loads(json.dumps(state))["compressed"]
    return CompressedFile(vae, path, saved=saved, again=again, block_rows=8, exact=True)


def rows_in(vae: VAE, path: Path, **options: Any) -> np.ndarray:
    with vae.decompress_file(path, **options) as blocks:
        return blocks.all_rows().rows.reshape(-1, 5)


def test_rows_of_any_blocks_are_there_once_and_in_order(vae: VAE, tmp_path: Path) -> None:
    path, at, draw = tmp_path / "day.vaez", 0, random.Random(1)
    with opened(vae, path, None) as file:
        while at < len(ROWS) - 7:
            step = min(draw.choice((1, 3, 19, 20, 41, 333)), len(ROWS) - 7 - at)
            file.take(Rows(ROWS[at : at + step]))
            at += step
        assert file.left_over == 13
    np.testing.assert_array_equal(rows_in(vae, path), ROWS[:-20])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day.vaez"]


class Killed(BaseException):
    """As by kill -9: nothing is tidied up."""


def test_a_process_killed_at_any_byte_loses_no_row_and_doubles_none(
    vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, append, begin, left, files = random.Random(2), Writer._append, Writer.__init__, [0], []
    torn = every = 0

    def noted(self: Writer, file: Any, *arguments: Any, **options: Any) -> None:
        files.append(file)
        begin(self, file, *arguments, **options)

    def killed_after_some_bytes(self: Writer, data: bytes) -> None:
        left[0] -= len(data)
        if left[0] < 0:
            self._file.write(data[: len(data) + left[0]])
            self._file.flush()
            raise Killed
        append(self, data)

    monkeypatch.setattr(Writer, "_append", killed_after_some_bytes)
    monkeypatch.setattr(Writer, "__init__", noted)
    for run in range(6):
        path, state, at, kills = tmp_path / f"{run}.vaez", None, 0, 0
        while at < len(ROWS):
            left[0] = draw.choice((draw.randrange(300, 1_500), draw.randrange(6_000))) if kills < 25 else 10**9
            at = 0 if state is None else state["rows"]
            try:
                file = opened(vae, path, state)
                torn += file.dropped_bytes > 0
                if state is None:  # as watch does before it reads its first row
                    state = {"rows": 0, "compressed": file.state()}
                while at < len(ROWS):
                    step = min(draw.choice((1, 7, 20, 95)), len(ROWS) - at)
                    file.take(Rows(ROWS[at : at + step]))
                    at += step
                    if draw.random() < 0.3:
                        state = {"rows": at, "compressed": file.state()}
                    if kills < 25 and draw.random() < 0.04:
                        raise Killed
                file.close()
            except Killed:
                kills, at = kills + 1, 0
            for used in files:
                used.close()  # all that was written lies there already
        every += kills
        np.testing.assert_array_equal(rows_in(vae, path), ROWS)
    assert every > 50
    assert torn > 5


def test_a_source_that_cannot_be_read_again_goes_on_behind_what_is_there(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    file = opened(vae, path, None)
    file.take(Rows(ROWS[:100]))
    state = {"compressed": file.state()}
    file.take(Rows(ROWS[100:200]))  # a block of 8 windows goes to the file, and two wait in vain
    file.abort()
    with opened(vae, path, state, again=False) as file:
        file.take(Rows(ROWS[400:600]))
    np.testing.assert_array_equal(rows_in(vae, path), np.concatenate([ROWS[:160], ROWS[400:600]]))


def test_rows_that_waited_are_taken_up_where_the_source_is_gone(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    file = opened(vae, path, None)
    file.take(Rows(ROWS[:110]))
    state = {"compressed": file.state()}
    file.abort()
    with opened(vae, path, state, again=False) as file:
        file.take(Rows(ROWS[110:120]))
    np.testing.assert_array_equal(rows_in(vae, path), ROWS[:120])


def test_a_missing_cell_comes_back_as_a_number_that_is_none(vae: VAE, tmp_path: Path) -> None:
    path, missing = tmp_path / "day.vaez", np.zeros((20, 5), bool)
    missing[3, 2] = True
    with opened(vae, path, None) as file:
        file.take(Rows(ROWS[:20], missing=missing))
    back = rows_in(vae, path)
    assert np.isnan(back[3, 2])
    assert np.isnan(back).sum() == 1


def test_states_and_files_that_do_not_belong_together_are_refused(vae: VAE, tmp_path: Path) -> None:
    path = tmp_path / "day.vaez"
    file = opened(vae, path, None)
    file.take(Rows(ROWS[:400]))
    state = {"compressed": file.state()}
    file.abort()
    with pytest.raises(OptionError, match="the state goes with --compress"):
        opened(vae, tmp_path / "night.vaez", state)
    (tmp_path / "day.vaez.waiting").write_bytes(b"")
    with pytest.raises(DataError):
        opened(vae, path, state)
    with load(other_bundle("recurrent", "0.2"), device="cpu", threads=1) as other, pytest.raises(PairMismatch):
        CompressedFile(other, path, saved=None, again=True, bound="0.2")
    path.unlink()
    with pytest.raises(DataError, match="holds 0 rows, and the state counts 16"):
        opened(vae, path, state)
