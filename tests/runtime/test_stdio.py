"""One writer for both command lines: everything is written, or the exit code says that it was not."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from vae_edge_runtime import StorageError
from vae_edge_runtime.stdio import command_streams, write

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")
TEXT = "".join(f"{i},0.5\n" for i in range(20_001))


def test_a_write_that_takes_a_few_bytes_at_a_time_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:1057]))
        assert write(stream, TEXT)
    assert (tmp_path / "out").read_text() == TEXT


def test_a_pipe_that_does_not_block_gets_every_byte() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=read)
    with os.fdopen(writing, "w") as stream:
        threading.Timer(0.05, reader.start).start()
        assert write(stream, TEXT)
    threading.Event().wait(0.1)
    reader.join(5)
    assert b"".join(got) == TEXT.encode()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_says_no_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(os, "write", refuse)
        with pytest.raises(StorageError, match=os.strerror(code)):
            write(stream, "x")
        monkeypatch.undo()
        assert write(stream, "y")  # and the flush at exit has nowhere to fail


def test_a_disk_that_is_full_only_on_closing_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.close

    def close(fd: int) -> None:
        real(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        streams = command_streams()
        streams.__enter__()
        write(stream, "x")
        monkeypatch.setattr(os, "close", close)
        with pytest.raises(StorageError, match="No space"):
            streams.__exit__(None, None, None)
        monkeypatch.undo()


def test_a_closed_stream_is_a_reader_that_went_away(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        pass
    assert not write(stream, "x")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_stream_cannot_encode_is_written_as_its_escape(tmp_path: Path, encoding: str) -> None:
    with (tmp_path / "out").open("w", encoding=encoding) as stream:
        assert write(stream, "泵 \udcff\n")
    shown = (tmp_path / "out").read_text(encoding=encoding)
    assert shown == ("泵" if encoding == "utf-8" else r"\u6cf5") + " \\udcff\n"


def test_a_terminal_gets_no_escape_sequence_and_a_pipe_gets_the_text_as_it_is() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        assert write(stream, "a\x1b[2J,1\n")
    assert terminal.getvalue() == "a\\x1b[2J,1\n"
    assert pipe.getvalue() == "a\x1b[2J,1\n"
