"""Compiled forms of graphs on disk: made once per device, and again, with a line in the log, when anything changed.

Some engines do not run ONNX itself but a form that they compile or convert it to, in seconds to minutes, for one
machine. Each form lies in a private folder under the SHA-256 of its graph and of the machine: a board that changes
its power mode changes its processors, and keeps the forms of every mode. Beside it lies a JSON sidecar with all
that it was made from and its own SHA-256. Both are compared before the engine sees a byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..errors import BundleError, BundleInvalid, OptionError, StorageError
from ..format.strict_json import build as from_json
from ..format.strict_json import dump, parse
from ..storage.files import write_atomic
from .cache import cache_folder, private_folder

FORMAT = 1
Identity = TypeVar("Identity")
Options = TypeVar("Options")


@dataclass(frozen=True)
class Sidecar:
    """What is written beside a form, together with the engine's own two dataclasses, ``identity`` and ``options``."""

    format: int
    graph: str
    graph_sha256: str
    form_sha256: str
    form_bytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class StoredForm(Generic[Options]):
    """A form ready to load.

    Attributes:
        path: None where it could not be stored. built: False where the stored form was taken.
        reason: why it was built; None where it was not.
        seconds: that building it took, whenever that was.
    """

    form: bytes
    options: Options
    path: Path | None
    built: bool
    reason: str | None
    seconds: float


class CompiledStore(Generic[Identity, Options]):
    """Forms that one engine made on this machine, in one folder, which belongs to this user alone."""

    def __init__(
        self,
        name: str,
        identity: Identity,
        default: Options,
        *,
        suffix: str,
        what: str,
        ahead: str = "",
        log: logging.Logger,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Make the folder where it is missing.

        Args:
            name: of the engine's folder.
            identity: a frozen dataclass of what a form fits and nothing else: versions, chip, driver.
            default: a frozen dataclass of the options that a form is built with where the caller gives none.
            suffix: of the file of a form, such as ``engine``.
            what: a form in words, for the log, such as ``a TensorRT engine``.
            ahead: command that builds forms ahead of time; empty where there is none.
            log: told of each build.
            folder: None: ``VAE_EDGE_CACHE``, else ``vae-edge`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

        Raises:
            StorageError: the folder cannot be made.
            OptionError: others may write in it: a form is code, or as good as code, that this process would run.
        """
        self.identity, self._default = identity, default
        self._suffix, self._what, self._ahead, self._log = suffix, what, ahead, log
        self._machine = hashlib.sha256(dump(identity)).hexdigest()[:16]
        self.folder = Path(private_folder(cache_folder(name, folder)))

    def get(
        self,
        graph: str,
        onnx: bytes,
        compile_: Callable[[Options], tuple[bytes, float]],
        *,
        options: Options | None = None,
        must_store: bool = False,
        announce: bool = True,
    ) -> StoredForm[Options]:
        """The form of a graph, built where none fits.

        Args:
            graph: its name, for messages. onnx: its verified bytes.
            compile_: makes the form and says how many seconds that took.
            options: None takes a stored form with whatever options it was built for, and builds for the defaults.
            must_store: a form that cannot be stored is an error and not a warning in the log.
            announce: say in the log that, and why, it is built.

        Raises:
            StorageError: with ``must_store``.
        """
        digest = hashlib.sha256(onnx).hexdigest()
        path = self.folder / f"{digest[:32]}-{self._machine}.{self._suffix}"
        taken = self._take(path, digest, options)
        if isinstance(taken, StoredForm):
            return taken
        with _alone(self.folder):  # two builds at once would take twice the memory
            taken = self._take(path, digest, options)  # another process may have built it meanwhile
            if isinstance(taken, StoredForm):
                return taken
            return self._build(graph, path, digest, compile_, options, taken, must_store, announce)

    def _build(
        self,
        graph: str,
        path: Path,
        digest: str,
        compile_: Callable[[Options], tuple[bytes, float]],
        options: Options | None,
        taken: str,
        must_store: bool,
        announce: bool,
    ) -> StoredForm[Options]:
        if announce:
            ahead = f"; {self._ahead} does this ahead" if self._ahead else ""
            self._log.warning("building %s for graph '%s' (%s)%s", self._what, graph, taken, ahead)
        wanted = self._default if options is None else options
        form, seconds = compile_(wanted)
        sidecar = Sidecar(
            format=FORMAT,
            graph=graph,
            graph_sha256=digest,
            form_sha256=hashlib.sha256(form).hexdigest(),
            form_bytes=len(form),
            seconds=round(seconds, 3),
        )
        stored: Path | None = path
        try:
            # Between the two writes a reader finds a sidecar that does not fit, and builds.
            write_atomic(path, [form])
            write_atomic(path.with_suffix(".json"), [dump({**asdict(sidecar), **self._own(wanted)})])
        except StorageError as error:
            if must_store:
                raise
            self._log.warning("%s is used and not kept, so the next start builds it again: %s", self._what, error)
            stored = None
        return StoredForm(form, wanted, stored, True, taken, seconds)

    def _take(self, path: Path, digest: str, options: Options | None) -> StoredForm[Options] | str:
        """The stored form, or why there is none to take."""
        try:
            raw = path.with_suffix(".json").read_bytes()
            form = path.read_bytes()
        except FileNotFoundError:
            return self._differences(digest) or "none is stored"
        except OSError as error:
            return f"the stored one cannot be read: {error.strerror}"
        try:
            sidecar, built_for, built_by = self._parse(raw, path.name)
        except (BundleError, OptionError) as error:
            return f"its sidecar is damaged: {error}"
        if sidecar.format != FORMAT or sidecar.graph_sha256 != digest:
            return "the stored one is of another graph or format"
        if len(form) != sidecar.form_bytes or hashlib.sha256(form).hexdigest() != sidecar.form_sha256:
            return "the stored one is damaged"
        if changed := self._changed(built_by):
            return changed
        if options not in (None, built_for):
            return "the stored one was built for other options"
        return StoredForm(form, built_for, path, False, None, sidecar.seconds)

    def _parse(self, raw: bytes, name: str) -> tuple[Sidecar, Options, Identity]:
        plain = parse(raw, member=name)
        own = {key: plain.pop(key, None) for key in ("identity", "options")} if isinstance(plain, dict) else {}
        sidecar = from_json(Sidecar, plain, member=name)
        built_for = from_json(type(self._default), own["options"], member=name, where="options")
        built_by = from_json(type(self.identity), own["identity"], member=name, where="identity")
        if own != {"identity": _plain(built_by), "options": _plain(built_for)}:
            raise BundleInvalid("keys of identity or options are missing", member=name)
        return sidecar, built_for, built_by

    def _changed(self, built_by: Identity) -> str:
        """How another machine differs from this one: ``driver was 12.6, is 13.2``; empty where it does not."""
        was, now = _plain(built_by), _plain(self.identity)
        return "; ".join(f"{name} was {was[name]}, is {now[name]}" for name in now if was[name] != now[name])

    def _differences(self, digest: str) -> str:
        """How the machine of the newest form of a graph differs; empty where the graph has none."""
        try:
            newest = max(self.folder.glob(f"{digest[:32]}-*.json"), key=lambda path: path.stat().st_mtime_ns)
            return self._changed(self._parse(newest.read_bytes(), newest.name)[2])
        except (ValueError, OSError, BundleError, OptionError):
            return ""

    def prune(self, keep: Callable[[Identity], bool]) -> tuple[Path, ...]:
        """Remove forms that no machine asks for any more, and those without a sidecar that can be read.

        Args:
            keep: whether forms of a machine stay.

        Returns:
            The forms that were removed.

        Raises:
            StorageError: a file cannot be removed.
        """
        removed = []
        with _alone(self.folder):
            for path in sorted(self.folder.glob(f"*.{self._suffix}")):
                sidecar = path.with_suffix(".json")
                try:
                    if keep(self._parse(sidecar.read_bytes(), sidecar.name)[2]):
                        continue
                except (OSError, BundleError, OptionError):
                    pass
                try:
                    path.unlink()
                    sidecar.unlink(missing_ok=True)
                except OSError as error:
                    raise StorageError(f"{path} cannot be removed: {error.strerror}") from error
                removed.append(path)
        return tuple(removed)

    def _own(self, options: Options) -> dict[str, Any]:
        return {"identity": _plain(self.identity), "options": _plain(options)}

    def read_note(self, name: str) -> bytes:
        """What ``write_note`` wrote on a machine like this one; empty where it is absent or damaged."""
        try:
            raw = self._note(name).read_bytes()
        except OSError:
            return b""
        return raw[32:] if hashlib.sha256(raw[32:]).digest() == raw[:32] else b""

    def write_note(self, name: str, note: bytes) -> None:
        """Keep bytes that help the next build on a machine like this one, after their SHA-256.

        Raises:
            StorageError: they cannot be written.
        """
        write_atomic(self._note(name), [hashlib.sha256(note).digest(), note])

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}-{self._machine}.cache"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process builds into a folder. On Windows, which has no such lock, nobody waits."""
    try:
        import fcntl

        file = (folder / ".lock").open("ab")
    except (ImportError, OSError):  # whoever cannot write a lock cannot write a form, and is told so
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def graph_folder(name: str, onnx: bytes, folder: str | os.PathLike[str] | None = None) -> str:
    """A private folder of one graph, for an engine that keeps its compiled forms by itself.

    Args:
        name: of the engine's folder. onnx: the graph's verified bytes, weights included.
        folder: as for ``CompiledStore``.

    Raises:
        StorageError: it cannot be made. OptionError: others may write in it.
    """
    return private_folder(f"{private_folder(cache_folder(name, folder))}/{hashlib.sha256(onnx).hexdigest()[:32]}")


def _plain(value: Any) -> dict[str, Any]:
    return asdict(value)
