"""The container: one ZIP with exactly one possible encoding of its members.

The writer stores every member uncompressed, with its data at a multiple of 64 bytes. The
reader takes (name, size, crc) from the directory, encodes all headers again and compares them
with the file byte for byte, so it accepts what the writer makes and nothing else: what other
ZIP readers are careless about (prefixes, duplicates, lying headers, flags) cannot be expressed.
Opening reads headers only. The layout is in ``docs/bundle-format.md``.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping

from ..arguments import path_text
from ..errors import BundleCorrupt, BundleError, BundleInvalid, SessionClosed
from ..record import record
from .limits import MAX_BUNDLE_BYTES, MAX_MEMBERS

MAX_BYTES, MAX_ENTRIES = MAX_BUNDLE_BYTES, MAX_MEMBERS
FIRST = "manifest.json"
ALIGNMENT_BYTES = 64

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_EXTRA = struct.Struct("<2H")
_EXTRA_ID = 0x5645  # "EV"
_VERSION = 20
_DATE = 1 << 5 | 1  # 1980-01-01, the zero of DOS time
_CHUNK_BYTES = 1 << 20

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}(/[a-z0-9][a-z0-9_.-]{0,63}){0,3}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # devices, not files, on Windows


def is_member_name(name: str) -> bool:
    """Whether ``name`` may be a member: lower-case ASCII, 1 to 4 parts, a file name on every system."""
    return bool(_NAME.fullmatch(name)) and not any(
        _RESERVED.fullmatch(part) or part.endswith(".") for part in name.split("/")
    )


@record(frozen=True)
class Entry:
    """One member: its data is ``size_bytes`` at ``offset`` of the file."""

    name: str
    size_bytes: int
    crc32: int
    header: int
    offset: int


def layout(sizes: Mapping[str, tuple[int, int]]) -> list[Entry]:
    """Place members, given as name -> (size in bytes, CRC-32), the way the format demands.

    Raises:
        BundleInvalid: a name, the number of members or the total size is not valid, or the manifest is absent.
    """
    if FIRST not in sizes:
        raise BundleInvalid(f"there is no {FIRST}: this is not a vae-edge bundle")
    if len(sizes) > MAX_ENTRIES:
        raise BundleInvalid(f"{len(sizes)} members; the limit is {MAX_ENTRIES}")
    entries, position = [], 0
    for name in sorted(sizes, key=lambda n: (n != FIRST, n)):
        if not is_member_name(name):
            raise BundleInvalid(f"member name {name!r:.80} is not valid")
        if any(parent in sizes for parent in _parents(name)):
            raise BundleInvalid(f"member {name!r} lies inside another member")
        size, crc = sizes[name]
        fixed = position + _LOCAL.size + len(name) + _EXTRA.size
        entry = Entry(name, size, crc, header=position, offset=fixed + -fixed % ALIGNMENT_BYTES)
        entries.append(entry)
        position = entry.offset + size
    if position + sum(_CENTRAL.size + len(e.name) for e in entries) + _END.size > MAX_BYTES:
        raise BundleInvalid("a bundle must stay below 2 GiB")
    return entries


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def local_header(entry: Entry) -> bytes:
    """The bytes from ``entry.header`` up to ``entry.offset``."""
    padding = entry.offset - entry.header - _LOCAL.size - len(entry.name) - _EXTRA.size
    sizes = (entry.crc32, entry.size_bytes, entry.size_bytes)
    fixed = _LOCAL.pack(
        b"PK\x03\x04", _VERSION, 0, 0, 0, _DATE, *sizes, len(entry.name), _EXTRA.size + padding
    )  # fmt: skip
    return fixed + entry.name.encode("ascii") + _EXTRA.pack(_EXTRA_ID, padding) + bytes(padding)


def directory(entries: list[Entry]) -> bytes:
    """Central directory and end record: everything after the last member's data."""
    start = entries[-1].offset + entries[-1].size_bytes
    central = b"".join(
        _CENTRAL.pack(
            b"PK\x01\x02", _VERSION, _VERSION, 0, 0, 0, _DATE, e.crc32, e.size_bytes, e.size_bytes,
            len(e.name), 0, 0, 0, 0, 0, e.header,
        ) + e.name.encode("ascii")
        for e in entries
    )  # fmt: skip
    count = len(entries)
    return central + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(central), start, 0)


def pieces(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """The archive's bytes in order, piece by piece, without a second copy of the members.

    Raises:
        BundleInvalid: as ``layout``; before the first piece.
    """
    entries = layout({name: (len(data), zlib.crc32(data)) for name, data in members.items()})
    for entry in entries:
        yield local_header(entry)
        yield members[entry.name]
    yield directory(entries)


def encode(members: Mapping[str, bytes]) -> bytes:
    """The one archive of these members: the same members give the same bytes, in any order.

    Raises:
        BundleInvalid: as ``layout``.
    """
    return b"".join(pieces(members))


class Archive:
    """An open archive whose headers were checked and whose members were not read yet.

    Reads are thread-safe; ``close`` lets those that run finish.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd
        self._lock, self._readers, self._closed = threading.Lock(), 0, False
        self.size_bytes = 0
        self.entries: dict[str, Entry] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Archive:
        """Open a file and check its headers.

        Raises:
            OptionError: ``path`` is no path.
            BundleCorrupt: cut short, added to, or damaged in a header.
            BundleInvalid: not a regular file, too large, too many members, a bad name.
            BundleError: the system does not open it (absent, no permission).
        """
        named = path_text("path", path)
        try:
            # Without O_NONBLOCK a FIFO would block here until somebody writes.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            if isinstance(error, FileNotFoundError):
                from .other_files import no_file  # not at the top: for files that are not there

                raise BundleError(no_file(named), path=named) from None
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise BundleError(f"cannot be opened: {reason}", path=named) from None
        archive = cls(named, fd)
        try:
            archive._check()
        except BaseException:
            archive.close()
            raise
        return archive

    def read(self, name: str) -> bytes:
        """All bytes of one member, checked against their CRC-32.

        Raises:
            BundleInvalid: there is no such member.
            BundleCorrupt: its bytes differ from what was written.
            SessionClosed: after ``close``.
        """
        entry = self._entry(name)
        data = self._pread(entry.size_bytes, entry.offset, name)
        if zlib.crc32(data) != entry.crc32:
            raise BundleCorrupt("its bytes were changed after export: copy the file again", path=self.path, member=name)
        return data

    def stream(self, name: str) -> Iterator[bytes]:
        """As ``read``, in pieces of 1 MiB; the CRC-32 is checked after the last one."""
        crc = 0
        for data in self.unchecked(name):
            crc = zlib.crc32(data, crc)
            yield data
        if crc != self._entry(name).crc32:
            raise BundleCorrupt("its bytes were changed after export: copy the file again", path=self.path, member=name)

    def unchecked(self, name: str) -> Iterator[bytes]:
        """As ``stream``, for who compares a SHA-256: nobody looks at the CRC-32."""
        entry = self._entry(name)
        for start in range(0, entry.size_bytes, _CHUNK_BYTES):
            yield self._pread(min(_CHUNK_BYTES, entry.size_bytes - start), entry.offset + start, name)

    def close(self) -> None:
        """Close the file, at the latest when the last running read ends; twice is no error."""
        with self._lock:
            done, self._closed = self._closed, True
            if not done and self._readers == 0:
                os.close(self._fd)

    def __del__(self) -> None:
        if hasattr(self, "_lock"):  # not of an instance that pickle or copy made without __init__
            self.close()

    def _check(self) -> None:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            if stat.S_ISDIR(status.st_mode):
                from .other_files import folder  # not at the top: for a path that is refused

                raise BundleInvalid(folder(self.path), path=self.path)
            raise BundleInvalid("is not a regular file", path=self.path)
        self.size_bytes = status.st_size
        if self.size_bytes == 0:
            raise BundleCorrupt("is empty, it holds no byte: copy the file again, or export it again", path=self.path)
        if self.size_bytes > MAX_BYTES:
            raise BundleInvalid(f"holds {self.size_bytes} bytes; a bundle stays below 2 GiB", path=self.path)
        self.entries = {entry.name: entry for entry in self._checked_entries()}

    def _entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise BundleInvalid("there is no such member", path=self.path, member=name)
        return self.entries[name]

    def _pread(self, size: int, offset: int, member: str | None = None) -> bytes:
        with self._lock:
            if self._closed:
                raise SessionClosed(f"{self.path}: the bundle is closed: open it again")
            self._readers += 1
        try:
            data = os.pread(self._fd, size, offset)
            while 0 < len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise BundleError(f"cannot be read: {error.strerror}", path=self.path, member=member) from None
        finally:
            with self._lock:
                self._readers -= 1
                if self._closed and self._readers == 0:
                    os.close(self._fd)
        if len(data) != size:
            raise BundleCorrupt("the file ends too early: copy it again", path=self.path, member=member)
        return data

    def _checked_entries(self) -> list[Entry]:
        tail = self._read_directory()
        try:
            entries = layout(self._parse_directory(tail))
        except BundleInvalid as error:
            from .other_files import HEAD_BYTES, other_file  # not at the top: for files that are refused

            if other := other_file(self.path, self._pread(min(HEAD_BYTES, self.size_bytes), 0)):
                raise BundleInvalid(other, path=self.path) from None
            raise BundleInvalid(error.problem, path=self.path, member=error.member) from None
        # The end record says where the directory starts and was held against the file's size, so
        # from here on every member is known to lie inside the file.
        if directory(entries) != tail:
            raise self._not_canonical("the directory")
        for entry in entries:
            if self._pread(entry.offset - entry.header, entry.header, entry.name) != local_header(entry):
                raise self._not_canonical("the header", entry.name)
        return entries

    def _read_directory(self) -> bytes:
        """Central directory and end record, if the end record can be believed."""
        if self.size_bytes < _END.size:
            raise self._not_whole()
        end = self._pread(_END.size, self.size_bytes - _END.size)
        magic, _, _, _, count, size, start, _ = _END.unpack(end)
        if magic != b"PK\x05\x06" or start + size + _END.size != self.size_bytes:
            raise self._not_whole()
        if count > MAX_ENTRIES or size > MAX_ENTRIES * (_CENTRAL.size + 260):
            raise BundleInvalid(
                f"{count} members in {size} bytes of directory; the limit is {MAX_ENTRIES}", path=self.path
            )
        return self._pread(size, start) + end if size else end

    def _not_whole(self) -> BundleCorrupt:
        from .other_files import HEAD_BYTES, other_file  # not at the top: for files that are refused

        other = other_file(self.path, self._pread(min(HEAD_BYTES, self.size_bytes), 0))
        return BundleCorrupt(
            other or "does not end like a bundle: cut short, or added to; copy it again", path=self.path
        )

    def _parse_directory(self, tail: bytes) -> dict[str, tuple[int, int]]:
        """Name -> (size, CRC-32), in file order; whether the rest is canonical is seen by encoding again."""
        entries: dict[str, tuple[int, int]] = {}
        position, stop = 0, len(tail) - _END.size
        while position < stop:
            if stop - position < _CENTRAL.size:
                raise self._not_canonical("the directory")
            fields = _CENTRAL.unpack_from(tail, position)
            crc, size, name_bytes = fields[7], fields[9], fields[10]
            position += _CENTRAL.size + name_bytes
            name = tail[position - name_bytes : min(position, stop)].decode("latin-1")
            if name in entries:
                raise BundleInvalid("occurs twice", member=name)
            entries[name] = size, crc
        return entries

    def _not_canonical(self, what: str, member: str | None = None) -> BundleCorrupt:
        problem = f"{what} is not as vae-edge writes it: damaged, or packed by another ZIP tool"
        return BundleCorrupt(problem, path=self.path, member=member)
