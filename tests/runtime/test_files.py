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
from vae_edge_runtime.storage.files import read_regular, refuse_existing, refuse_inputs, write_atomic

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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name in ("pipe", "device"):
        before = (tmp_path / name).lstat()
        for refused in (
            lambda path: refuse_existing(path, force=True),
            lambda path: write_atomic(path, [NEW]),
            lambda path: write_atomic(path, [NEW], replace=False),
        ):
            with pytest.raises(OptionError, match="no regular file"):
                refused(tmp_path / name)
        assert (tmp_path / name).lstat() == before
    assert names(tmp_path) == ["device", "pipe"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_small_file_is_read_whole_and_a_pipe_never_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "a", most=5) == b"12345"
    for name, most in (("a", 4), ("pipe", 4), ("absent", 4)):
        with pytest.raises(OSError, match=r"regular file|more than 4 bytes|No such file"):
            read_regular(tmp_path / name, most=most)


def test_what_is_read_is_known_by_every_name(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a" / "x", tmp_path / "hard")
    for written, read in (("a/x", "hard"), ("link/x", "a/x"), ("a/./b/../x", "a/x"), ("link", "a"), ("a", "a")):
        with pytest.raises(OptionError, match="which this command reads"):
            refuse_inputs(tmp_path / written, [tmp_path / read])
    refuse_inputs(tmp_path / "a" / "new", [tmp_path / "a", tmp_path / "a" / "x", tmp_path / "absent", "no:path\0"])
    for inside in ("a/new", "link/b", "a/b/c/d"):
        with pytest.raises(OptionError, match="lies inside"):
            refuse_inputs(tmp_path / inside, [tmp_path / "a"], folder=True)
    refuse_inputs(tmp_path / "beside", [tmp_path / "a"], folder=True)


def test_a_folder_that_nothing_can_be_written_in_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere but on a read-only disk
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    with pytest.raises(StorageError, match=r"locked is read-only, or not yours to write in; name another folder"):
        refuse_existing(folder / "m.vaeb", force=True)
    assert refuse_existing(tmp_path / "m.vaeb", force=False) == tmp_path / "m.vaeb"
