from __future__ import annotations

import dataclasses
import io
import os
import socket
import threading
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import open_descriptors

from vae_edge_runtime import BundleCorrupt, BundleError, BundleInvalid, SessionClosed
from vae_edge_runtime.format.archive import Archive, directory, encode, is_member_name, layout, local_header, pieces

MEMBERS = {"manifest.json": b"{}", "b/weights.bin": bytes(range(200)), "a.bin": b"", "b/c": b"x" * 64}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.vaeb"


def refused(path: Path, data: bytes, kind: type[BundleError] = BundleError) -> BundleError:
    path.write_bytes(data)
    with pytest.raises(kind) as caught:
        Archive.open(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_members_come_back_and_data_is_aligned_to_64_bytes(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    archive = Archive.open(path)
    assert {name: archive.read(name) for name in archive.entries} == MEMBERS
    assert [entry.offset % 64 for entry in archive.entries.values()] == [0, 0, 0, 0]
    assert list(archive.entries) == ["manifest.json", "a.bin", "b/c", "b/weights.bin"]


def test_the_order_of_members_does_not_change_the_bytes() -> None:
    assert encode(MEMBERS) == encode(dict(reversed(MEMBERS.items()))) == b"".join(pieces(MEMBERS))


def test_stream_gives_the_same_bytes_in_pieces(path: Path) -> None:
    big = bytes(range(256)) * 10_000
    path.write_bytes(encode({"manifest.json": b"", "big": big}))
    archive = Archive.open(path)
    chunks = list(archive.stream("big"))
    assert [len(c) for c in chunks] == [1 << 20, 1 << 20, 2_560_000 - (2 << 20)]
    assert b"".join(chunks) == big
    assert list(archive.stream("manifest.json")) == []


def test_python_zipfile_reads_every_member() -> None:
    with zipfile.ZipFile(io.BytesIO(encode(MEMBERS))) as standard:
        assert standard.testzip() is None
        assert {name: standard.read(name) for name in standard.namelist()} == MEMBERS


names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}(/[a-z0-9][a-z0-9_.-]{0,9}){0,3}", fullmatch=True).filter(
    is_member_name
)


@given(members=st.dictionaries(names.map(lambda n: f"m{n}"), st.binary(max_size=300), max_size=8))
def test_what_is_written_is_what_is_read(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    members = {name: data for name, data in members.items() if not any(n.startswith(f"{name}/") for n in members)}
    members["manifest.json"] = b"{}"
    path = tmp_path_factory.getbasetemp() / "round-trip.vaeb"
    path.write_bytes(encode(members))
    archive = Archive.open(path)
    try:
        assert {name: archive.read(name) for name in archive.entries} == members
    finally:
        archive.close()
    with zipfile.ZipFile(path) as standard:
        assert standard.testzip() is None


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/../b", "/a", "a/", "a//b", "./a", "C:x", "a\\b", "a\0b", "A", "é", "a\n", " a", "con",
     "a/nul.txt", "com1", "a.", ".a", "a/b/c/d/e", "x" * 65],
)  # fmt: skip
def test_a_name_that_is_no_plain_file_everywhere_is_not_written(name: str) -> None:
    with pytest.raises(BundleInvalid, match="not valid"):
        encode({"manifest.json": b"", name: b""})


def test_a_member_inside_another_is_not_written() -> None:
    with pytest.raises(BundleInvalid, match="inside another"):
        encode({"manifest.json": b"", "a": b"", "a/b": b""})


def test_more_than_4096_members_are_not_written() -> None:
    members = {"manifest.json": b""} | {f"m{i}": b"" for i in range(4095)}
    assert len(encode(members)) > 4096 * 100
    with pytest.raises(BundleInvalid, match="4097 members; the limit is 4096"):
        encode(members | {"one-more": b""})


def test_an_archive_without_manifest_is_neither_written_nor_read(path: Path) -> None:
    with pytest.raises(BundleInvalid, match=r"no manifest\.json"):
        encode({"a": b""})
    with zipfile.ZipFile(path, "w") as standard:
        standard.writestr("a", b"")
    assert r"no manifest.json" in str(refused(path, path.read_bytes(), BundleInvalid))
    assert r"no manifest.json" in str(refused(path, b"PK\x05\x06" + bytes(18), BundleInvalid))


@pytest.mark.parametrize("junk", [b"\0", b"#!/bin/sh\n", b"\x7fELF" * 16, b"x" * 64])
def test_bytes_before_between_and_after_are_refused(path: Path, junk: bytes) -> None:
    data = encode(MEMBERS)
    refused(path, junk + data, BundleCorrupt)
    refused(path, data + junk, BundleCorrupt)
    at = data.index(b"PK\x01\x02")
    refused(path, data[:at] + junk + data[at:], BundleCorrupt)


def test_two_archives_in_one_file_are_refused(path: Path) -> None:
    refused(path, encode(MEMBERS) * 2, BundleCorrupt)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_another_zip_tool_is_refused_and_named_as_the_likely_cause(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as standard:
        for name in sorted(MEMBERS, key=lambda n: (n != "manifest.json", n)):
            standard.writestr(name, MEMBERS[name])
    assert "another ZIP tool" in str(refused(path, path.read_bytes(), BundleCorrupt))


def test_a_duplicate_name_is_refused(path: Path) -> None:
    members = {"manifest.json": b"", "a": b"1", "b": b"2"}
    sizes = {name: (len(data), zlib.crc32(data)) for name, data in members.items()}
    entries = [dataclasses.replace(e, name="a") if e.name == "b" else e for e in layout(sizes)]
    data = b"".join(local_header(e) + d for e, d in zip(entries, members.values(), strict=True)) + directory(entries)
    with zipfile.ZipFile(io.BytesIO(data)) as standard:
        assert standard.read("a") == b"2"  # a careless reader takes the last
    error = refused(path, data, BundleInvalid)
    assert (error.member, error.problem) == ("a", "occurs twice")


def spoilt(data: bytes, name: bytes, central_at: int, value: bytes) -> bytes:
    """``data`` with bytes of the central directory entry of ``name`` replaced."""
    start = data.index(name, data.index(b"PK\x01\x02")) - 46
    assert data[start : start + 4] == b"PK\x01\x02"
    return data[: start + central_at] + value + data[start + central_at + len(value) :]


@pytest.mark.parametrize(
    ("what", "at", "value"),
    [
        ("symlink mode", 38, (0o120777 << 16).to_bytes(4, "little")),
        ("unix host", 5, b"\x03"),
        ("data descriptor flag", 8, b"\x08\x00"),
        ("encryption flag", 8, b"\x01\x00"),
        ("UTF-8 flag", 8, b"\x00\x08"),
        ("deflate", 10, b"\x08\x00"),
        ("other time", 12, b"\x01\x00"),
        ("other CRC", 16, b"\x00\x00\x00\x01"),
        ("other compressed size", 20, b"\x01\x00\x00\x00"),
        ("lying size", 24, b"\xff\xff\xff\x7f"),
        ("huge size", 24, b"\xff\xff\xff\xff"),
        ("longer name", 28, b"\x40\x00"),
        ("extra field", 30, b"\x04\x00"),
        ("comment", 32, b"\x01\x00"),
        ("other disk", 34, b"\x01\x00"),
        ("overlapping offset", 42, b"\x00\x00\x00\x00"),
        ("upper case", 46, b"A"),
        ("dots", 46, b".."),
        ("NUL", 46, b"\0"),
    ],
)
def test_a_directory_entry_that_says_anything_else_is_refused(path: Path, what: str, at: int, value: bytes) -> None:
    refused(path, spoilt(encode(MEMBERS), b"a.bin", at, value))


def test_a_header_that_lies_while_the_directory_is_right_is_refused_by_name(path: Path) -> None:
    data = bytearray(encode(MEMBERS))
    at = data.index(b"b/weights.bin") - 30
    data[at + 18] ^= 1  # compressed size in the local header only
    assert refused(path, bytes(data), BundleCorrupt).member == "b/weights.bin"


def test_padding_that_is_not_zero_is_refused(path: Path) -> None:
    data = bytearray(encode(MEMBERS))
    at = data.index(b"a.bin") + len(b"a.bin") + 4
    assert data[at] == 0
    data[at] = 1
    assert refused(path, bytes(data), BundleCorrupt).member == "a.bin"


def test_an_end_record_with_too_many_members_is_refused(path: Path) -> None:
    data = bytearray(encode(MEMBERS))
    data[-12:-10] = (5000).to_bytes(2, "little")
    assert "limit is 4096" in str(refused(path, bytes(data), BundleInvalid))


def test_a_file_of_2_gib_is_refused_without_reading_it(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 31)  # sparse
    with pytest.raises(BundleInvalid, match="below 2 GiB"):
        Archive.open(path)


def test_empty_missing_and_odd_files_are_refused_without_blocking(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    assert "empty" in str(refused(path, b"", BundleCorrupt))
    path.unlink()
    with pytest.raises(BundleError, match=r"odd: cannot be opened: there is no file of this name"):
        Archive.open(path)
    with pytest.raises(BundleInvalid, match="is no bundle but a folder"):
        Archive.open(tmp_path)
    os.mkfifo(path)
    with pytest.raises(BundleInvalid, match="not a regular file"):
        Archive.open(path)
    with pytest.raises(BundleInvalid, match="not a regular file"):
        Archive.open("/dev/null")
    with pytest.raises(BundleError, match="cannot be opened"):
        Archive.open("a\0b")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short by law
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(BundleError, match="s: cannot be opened"):
            Archive.open("s")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    path.chmod(0)
    with pytest.raises(BundleError, match="Permission denied"):
        Archive.open(path)


def test_a_path_with_spaces_and_unicode_works(tmp_path: Path) -> None:
    path = tmp_path / "two words é 模.vaeb"
    path.write_bytes(encode(MEMBERS))
    assert Archive.open(path).read("b/c") == MEMBERS["b/c"]


def test_changed_data_is_refused_by_name_when_read(path: Path) -> None:
    data = encode(MEMBERS).replace(b"x" * 64, b"x" * 63 + b"y")
    path.write_bytes(data)
    archive = Archive.open(path)
    for read in (archive.read, lambda name: list(archive.stream(name))):
        with pytest.raises(BundleCorrupt, match="changed after export") as caught:
            read("b/c")
        assert (caught.value.path, caught.value.member) == (str(path), "b/c")


def test_a_file_cut_after_opening_is_refused_when_read(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    archive = Archive.open(path)
    os.truncate(path, 100)
    with pytest.raises(BundleCorrupt, match="ends too early"):
        archive.read("b/weights.bin")


def test_a_file_replaced_after_opening_gives_the_old_bytes(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    archive = Archive.open(path)
    other = path.with_name("other")
    other.write_bytes(encode(MEMBERS | {"b/c": b"y" * 64}))
    other.replace(path)
    assert archive.read("b/c") == b"x" * 64


def test_opening_reads_no_member(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(encode({"manifest.json": b"{}", "big": bytes(1 << 20)}))
    seen, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: seen.append(size) or pread(fd, size, at))
    Archive.open(path)
    assert sum(seen) < 500


def test_a_failing_disk_is_a_typed_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(encode(MEMBERS))
    archive = Archive.open(path)

    def fail(fd: int, size: int, at: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(BundleError, match=r"\[a\.bin\]: cannot be read: Input/output error"):
        archive.read("a.bin")


def test_short_reads_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(encode(MEMBERS))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 7), at))
    assert Archive.open(path).read("b/weights.bin") == MEMBERS["b/weights.bin"]


def test_an_unknown_member_is_refused(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    with pytest.raises(BundleInvalid, match=r"\[nope\]: there is no such member"):
        Archive.open(path).read("nope")


def test_close_twice_is_fine_and_reading_then_is_refused(path: Path) -> None:
    path.write_bytes(encode(MEMBERS))
    archive = Archive.open(path)
    archive.close()
    archive.close()
    with pytest.raises(SessionClosed, match="open it again"):
        archive.read("a.bin")


def test_close_waits_for_a_running_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(encode(MEMBERS))
    before = open_descriptors()
    archive = Archive.open(path)
    entered, go_on, pread, found = threading.Event(), threading.Event(), os.pread, []

    def slow(fd: int, size: int, at: int) -> bytes:
        entered.set()
        assert go_on.wait(5)
        return pread(fd, size, at)

    monkeypatch.setattr(os, "pread", slow)
    reader = threading.Thread(target=lambda: found.append(archive.read("b/c")))
    reader.start()
    assert entered.wait(5)
    archive.close()
    go_on.set()
    reader.join(5)
    assert found == [MEMBERS["b/c"]]
    assert open_descriptors() == before
    with pytest.raises(SessionClosed):
        archive.read("b/c")


def test_refused_files_leave_no_descriptor_open(path: Path) -> None:
    before = open_descriptors()
    kept = [refused(path, data) for data in (b"", b"x", encode(MEMBERS)[:-1], encode(MEMBERS) + b"x")]
    assert len(kept) == 4
    assert open_descriptors() == before


def test_sixteen_threads_read_what_one_reads(path: Path) -> None:
    members = {"manifest.json": b"{}"} | {f"m{i}": os.urandom(1000 + i) for i in range(16)}
    path.write_bytes(encode(members))
    archive, wrong = Archive.open(path), []

    def read() -> None:
        for _ in range(20):
            wrong.extend(name for name, data in members.items() if archive.read(name) != data)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
