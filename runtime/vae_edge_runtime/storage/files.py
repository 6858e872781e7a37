"""Every file this project publishes is written here: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..arguments import path_text
from ..errors import OptionError, StorageError, VaeEdgeError

# What file systems of shares, containers and Windows answer to "keep this now" and "these rights" where they have no
# such thing: SMB, VirtualBox and FUSE give EINVAL for fsync of a folder, Windows EACCES, mounts without modes EPERM.
_UNSUPPORTED = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EISDIR", "ENOTTY", "EROFS")
    if hasattr(errno, name)
)


def refuse_existing(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Say early that ``path`` must not be overwritten, or cannot be a file.

    Args:
        path: the file to write later.
        force: whether a file that exists may be replaced.

    Returns:
        The path, as a path object.

    Raises:
        OptionError: it is no path, it exists and ``force`` is False, it is a folder, or its folder does not exist.
        StorageError: nothing can be written in its folder; an export would say so after minutes of work.
    """
    name = path_text("the file to write", path)
    if not name or "\0" in name:
        raise OptionError(f"the file to write is called {name!r}; name a file without NUL characters")
    target = Path(name)
    try:
        is_folder, exists, in_folder = target.is_dir(), target.exists(), target.parent.is_dir()
    except OSError as error:  # a name that is too long, or a folder on the way that is not yours to look into
        raise OptionError(f"{target} cannot be written ({error.strerror}): name another file") from error
    if is_folder:
        raise OptionError(f"{target} is a folder; name a file in it")
    if exists and not force:
        raise _exists(target)
    _refuse_special(target)
    if not in_folder:
        raise OptionError(f"the folder {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK):
        raise StorageError(
            f"{target} could not be written: the folder {target.parent} is read-only, or not yours to write in; name "
            "another folder"
        )
    return target


def refuse_inputs(
    written: str | os.PathLike[str], read: Iterable[str | os.PathLike[str]], *, folder: bool = False
) -> None:
    """Refuse to write over what the same command reads; ``--force`` does not change that.

    Args:
        written: a file or folder, there or not.
        read: files and folders; what is not there is passed over.
        folder: ``written`` becomes a folder of files, which must not lie inside one that is read.

    Raises:
        OptionError: ``written`` is one of them under whatever name, or a folder inside one of them.
    """
    target = _identities(Path(written))
    for path in map(Path, read):
        identity = _identities(path)[0]
        if identity is None:
            continue
        if identity == target[0]:
            raise OptionError(f"{written} is {path}, which this command reads: name another output")
        if folder and identity in target[1:]:
            raise OptionError(f"{written} lies inside {path}, which this command reads: name a folder outside of it")


def _identities(path: Path) -> list[tuple[int, int] | None]:
    """Device and inode of a file, which all its names share, and of the folders above it; None: it is not there."""
    made: list[tuple[int, int] | None] = []
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        for place in (path, *path.resolve().parents):
            try:
                status = place.stat()
            except OSError:
                made.append(None)
            else:
                made.append((status.st_dev, status.st_ino))
    return made or [None]


def read_regular(path: str | os.PathLike[str], *, most: int = 1 << 28) -> bytes:
    """The bytes of a file that is read whole; a pipe is not waited for.

    Raises:
        OSError: it cannot be opened, is no regular file, or has more than ``most`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        return file.read(most)


def is_compressed(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file begins like one of compressed rows; False where it cannot be read."""
    target = Path(path)
    try:
        if not target.is_file():
            return False
        with target.open("rb") as file:
            return file.read(4) == b"VAEZ"
    except OSError:
        return False


def new_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A file to write to as rows come, in a folder that exists; no file is replaced.

    Raises:
        OptionError: the file exists. StorageError: it could not be made.
    """
    target = refuse_existing(path, force=False)
    try:
        return target.open("x+b")
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise StorageError(f"{target} could not be made ({error.strerror}): check the folder and its rights") from error


def write_atomic(
    path: str | os.PathLike[str],
    chunks: Iterable[bytes],
    *,
    check: Callable[[str], object] | None = None,
    replace: bool = True,
) -> None:
    """Write ``chunks`` to ``path``: a reader sees the old file or the new one, never a part.

    Temporary file in the same folder, fsync, rename, fsync of the folder; on any failure or
    Ctrl-C the temporary file is removed and the target is as it was. Once the file has its name,
    nothing is a failure any more: a folder that cannot be synced is a line in the log.

    Args:
        path: the file to make or replace.
        chunks: its bytes.
        check: called with the path of the complete temporary file; what it raises stops the rename.
        replace: False: of several writers at once exactly one succeeds, and no file is replaced.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to.
        OptionError: the file exists and ``replace`` is False.
    """
    with staged(path, check=check, replace=replace) as new:
        for chunk in chunks:
            new.file.write(chunk)


class Staged(NamedTuple):
    """A file that has its name not yet: open for writing, and where it lies."""

    file: BinaryIO
    path: str


@contextlib.contextmanager
def staged(
    path: str | os.PathLike[str], *, check: Callable[[str], object] | None = None, replace: bool = True
) -> Iterator[Staged]:
    """A file to fill, which becomes ``path`` when the block ends without an error, as ``write_atomic`` does it.

    Args:
        path: the file to make or replace.
        check: called with the path of the complete temporary file; what it raises stops the rename.
        replace: False: of several writers at once exactly one succeeds, and no file is replaced.

    Raises:
        StorageError, OptionError: as ``write_atomic``.
    """
    target = Path(path)
    _refuse_special(target)
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield Staged(file, temporary)
            sync(file)
        if check:
            check(temporary)
        with _where_supported():
            Path(temporary).chmod(0o666 & ~umask())
        if replace:
            Path(temporary).replace(target)
            temporary = None
        else:
            _publish_new(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except VaeEdgeError:  # of a check that writes a file of its own, or of what makes the bytes: it has said which
        raise
    except OSError as error:
        raise StorageError(
            f"{target} could not be written ({error.strerror or error}): free space or check the folder's rights"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
    _sync_folder(target.parent)


def _publish_new(temporary: str, target: Path) -> None:
    """Give the file its name unless another has it: checked by the system at that very moment."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):
        # No hard links here (FAT, some shares): the name is claimed with an empty file, which is then replaced.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            Path(temporary).replace(target)
        except BaseException:
            target.unlink()
            raise


def _refuse_special(target: Path) -> None:
    """A rename onto ``/dev/null`` would leave a file where every program of the machine expects the device."""
    with contextlib.suppress(OSError):
        mode = target.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OptionError(f"{target} is no regular file, and is not replaced by one: name another file")


def _exists(target: Path) -> OptionError:
    return OptionError(f"{target} exists; pass force=True (--force) to replace it, or name another file")


@contextlib.contextmanager
def _where_supported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def sync(file: BinaryIO) -> None:
    """What was written so far is on the disk when this returns, where the file system can say so."""
    file.flush()
    with _where_supported():
        os.fsync(file.fileno())


def umask() -> int:
    """Rights that files of this process do not get."""
    # mkstemp makes files 0600; a published file gets what open() would have given it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Keep the new name over a power cut, where the file system can."""
    try:
        with _where_supported():
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        import logging  # not at the top: it is needed on a bad day only

        logging.getLogger(__name__).warning(
            "a new file in %s is in place, but the folder could not be synced (%s): check the disk", folder, error
        )
