"""A published file: whole, kept where the system can, and never over somebody else's."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vae_edge_runtime import OptionError, StorageError
from vae_edge_runtime.files import write_atomic

NEW = b"new" * 5000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusing_folders(code: int) -> Callable[[int], None]:
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd)

    return fsync


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing_folders(code))
    write_atomic(tmp_path / "a", [NEW])
    assert (tmp_path / "a").read_bytes() == NEW
    assert names(tmp_path) == ["a"]
    assert caplog.records == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_folder_that_fails_after_the_rename_is_a_note_since_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing_folders(code))
    write_atomic(tmp_path / "a", [NEW])
    assert (tmp_path / "a").read_bytes() == NEW
    assert [(r.levelno, "is in place" in r.getMessage()) for r in caplog.records] == [(logging.WARNING, True)]


def test_a_folder_that_cannot_be_opened_is_no_failure_as_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, *arguments: int, **options: object) -> int:
        if Path(str(path)).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    write_atomic(tmp_path / "a", [NEW])
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_modes_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: int, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    write_atomic(tmp_path / "a", [NEW])
    assert (tmp_path / "a").read_bytes() == NEW


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_file_that_cannot_be_synced_is_a_failure_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def refuse(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=os.strerror(code)):
        write_atomic(tmp_path / "a", [NEW])
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_sixteen_writers_without_force_exactly_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    start, outcomes = threading.Barrier(16), []

    def writer(i: int) -> None:
        start.wait()
        try:
            write_atomic(tmp_path / "a", [bytes([i]) * 5000], replace=False)
        except OptionError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(i)

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(winners) == 1
    assert (tmp_path / "a").read_bytes() == bytes(winners) * 5000
    assert all("--force" in outcome for outcome in outcomes if isinstance(outcome, str))
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_nlink == 1


def test_a_failing_claim_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: object) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "a", [NEW], replace=False)
    assert names(tmp_path) == []
