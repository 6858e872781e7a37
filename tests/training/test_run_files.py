"""A run folder whose process dies, that two trainings want, or that is read while it is replaced."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vae_edge.models import ModelConfig
from vae_edge.training import TrainConfig, load_run, run_files, train
from vae_edge_runtime import DataError, OptionError, StorageError

MODEL = ModelConfig(kind="mlp", input_shape=(4,), latent_dim=1, width=4, depth=1)
OLD = TrainConfig(model=MODEL, epochs=1, batch_size=16, learning_rate=1e-2, seed=1)
NEW = dataclasses.replace(OLD, model=dataclasses.replace(MODEL, width=6), seed=2)
ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


class Died(BaseException):
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {name: run_files.read(folder, name) for name in run_files.NAMES}


def dying_at(call: int, real: Callable[..., object], counter: list[int]) -> Callable[..., object]:
    def step(*arguments: object, **options: object) -> object:
        counter[0] += 1
        if counter[0] == call:
            raise Died
        return real(*arguments, **options)

    return step


def test_a_forced_training_that_dies_at_any_rename_leaves_the_old_run_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(OLD, ROWS, out=tmp_path / "old")
    train(NEW, ROWS, out=tmp_path / "new")
    old = contents(tmp_path / "old")
    widths, call = [], 0
    while True:
        call += 1
        folder = tmp_path / str(call)
        folder.mkdir()
        for name, raw in old.items():
            (folder / name).write_bytes(raw)
        counter = [0]
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "unlink")):
                patch.setattr(owner, name, dying_at(call, getattr(owner, name), counter))
            try:
                train(NEW, ROWS, out=folder, force=True)
            except Died:
                pass
            else:
                break
        run = load_run(folder)
        widths.append(run.config.model.width)
        if run.config.model.width == 4:
            assert contents(folder) == old
        else:
            for name in (run_files.CONFIG, run_files.WEIGHTS):
                assert run_files.read(folder, name) == (tmp_path / "new" / name).read_bytes()
        # The next training finds a folder that it can work in, and leaves nothing else there.
        train(NEW, ROWS, out=folder, force=True)
        assert sorted(p.name for p in folder.iterdir()) == sorted(run_files.NAMES)
    assert call > 10
    assert widths == sorted(widths)  # old, old, ... new, new
    assert set(widths) == {4, 6}


def test_of_two_trainings_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "run"
    refused: list[str] = []

    def meanwhile(_: object) -> None:
        with pytest.raises(StorageError) as caught:
            train(NEW, ROWS, out=folder, force=True)
        refused.append(str(caught.value))

    train(OLD, ROWS, out=folder, progress=meanwhile)
    assert "another training writes into" in refused[0]
    assert load_run(folder).config.model == MODEL
    train(NEW, ROWS, out=folder, force=True)  # the lock is gone with its training


def test_a_run_that_appeared_after_the_first_look_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "run", run_files.make

    def make(path: Path) -> None:
        real(path)
        monkeypatch.setattr(run_files, "make", real)
        train(OLD, ROWS, out=folder)

    monkeypatch.setattr(run_files, "make", make)
    with pytest.raises(OptionError, match="holds a run"):
        train(NEW, ROWS, out=folder)
    assert load_run(folder).config.model == MODEL


def test_a_run_replaced_while_it_is_read_is_refused_and_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "run", run_files.read
    train(OLD, ROWS, out=folder)

    def read(path: Path, name: str) -> bytes:
        if name == run_files.WEIGHTS:
            monkeypatch.setattr(run_files, "read", real)
            train(NEW, ROWS, out=folder, force=True)
        return real(path, name)

    monkeypatch.setattr(run_files, "read", read)
    with pytest.raises(DataError, match="while it was read"):
        load_run(folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_a_storage_error(tmp_path: Path) -> None:
    train(OLD, ROWS, out=tmp_path / "run")
    (tmp_path / "run").chmod(0o500)
    try:
        with pytest.raises(StorageError):
            train(NEW, ROWS, out=tmp_path / "run", force=True)
    finally:
        (tmp_path / "run").chmod(0o700)


def test_an_unlink_that_fails_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="not permitted"):
        train(OLD, ROWS, out=tmp_path / "run")
