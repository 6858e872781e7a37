"""Engines on disk: built once per device, and again, with one line in the log, when anything they depend on changed.

An engine is code for one GPU, one driver and one TensorRT. Beside each lies a JSON sidecar with all it
was built from and its SHA-256; both are compared before TensorRT sees a byte.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...device.cache import cache_folder, private_folder
from ...device.doctor.readings import parse_tegra_release
from ...errors import BundleError, OptionError, StorageError
from ...files import write_atomic
from ...format.strict_json import build as from_json
from ...format.strict_json import dump, parse
from .binding import Binding
from .builder import BuildOptions, build
from .driver import Device

LOG = logging.getLogger("vae_edge_runtime.tensorrt")
FORMAT = 1


@dataclass(frozen=True)
class Machine:
    """What an engine fits and nothing else; values as the driver and TensorRT give them."""

    tensorrt: str
    gpu: str
    capability: str
    multiprocessors: int
    memory_gib: int
    driver: str
    l4t: str
    machine: str

    @classmethod
    def of(cls, device: Device, binding: Binding) -> Machine:
        """The machine this process runs on."""
        return cls(
            tensorrt=binding.version,
            gpu=device.name,
            capability=device.capability,
            multiprocessors=device.multiprocessors,
            memory_gib=round(device.memory_bytes / 2**30),
            driver=device.driver,
            l4t=_l4t(),
            machine=platform.machine(),
        )


@dataclass(frozen=True)
class Sidecar:
    """What is written beside an engine."""

    format: int
    graph: str
    graph_sha256: str
    options: BuildOptions
    machine: Machine
    engine_sha256: str
    engine_bytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class StoredEngine:
    """An engine ready to load.

    Attributes:
        path: None where it could not be stored. built: False where the stored one was taken.
        reason: why it was built; None where it was not.
        seconds: that building it took, whenever that was.
    """

    engine: bytes
    options: BuildOptions
    path: Path | None
    built: bool
    reason: str | None
    seconds: float


class EngineStore:
    """Engines of this machine in one folder, which belongs to this user alone."""

    def __init__(self, binding: Binding, device: Device, folder: str | os.PathLike[str] | None = None) -> None:
        """Make the folder where it is missing.

        Args:
            folder: None: ``VAE_EDGE_CACHE``, else ``vae-edge`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

        Raises:
            StorageError: the folder cannot be made.
            OptionError: others may write in it: an engine is code that this process would run.
        """
        self._binding, self.machine = binding, Machine.of(device, binding)
        self.folder = Path(private_folder(cache_folder("tensorrt", folder)))

    def get(
        self,
        graph: str,
        onnx: bytes,
        *,
        options: BuildOptions | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        must_store: bool = False,
        announce: bool = True,
    ) -> StoredEngine:
        """The engine of a graph, built where none fits.

        Args:
            graph: its name, for messages. onnx: its verified bytes.
            options: None takes a stored engine with whatever options it was built for, and builds for the defaults.
            progress: of a build, as in ``build``.
            must_store: an engine that cannot be stored is an error and not a warning in the log.
            announce: say in the log that, and why, it is built.

        Raises:
            BackendError: TensorRT could not build it.
            StorageError: with ``must_store``.
        """
        digest = hashlib.sha256(onnx).hexdigest()
        path = self.folder / f"{digest[:32]}.engine"
        found = self._find(path, graph, digest, options)
        if isinstance(found, StoredEngine):
            return found
        if announce:
            LOG.warning("building a TensorRT engine for graph '%s' (%s); vae-edge build does this ahead", graph, found)
        wanted = options or BuildOptions()
        timing = self.folder / f"timing-{_short(self.machine)}.cache"
        built = build(
            onnx, wanted, binding=self._binding, graph=graph, timing_cache=_read_sealed(timing), progress=progress
        )
        sidecar = Sidecar(
            format=FORMAT,
            graph=graph,
            graph_sha256=digest,
            options=wanted,
            machine=self.machine,
            engine_sha256=hashlib.sha256(built.engine).hexdigest(),
            engine_bytes=len(built.engine),
            seconds=round(built.seconds, 3),
        )
        stored: Path | None = path
        try:
            # Between the two writes a reader finds a sidecar that does not fit, and builds.
            write_atomic(path, [built.engine])
            write_atomic(path.with_suffix(".json"), [dump(sidecar)])
            if built.timing_cache:
                write_atomic(timing, [hashlib.sha256(built.timing_cache).digest(), built.timing_cache])
        except StorageError as error:
            if must_store:
                raise
            LOG.warning("the engine is used and not kept, so the next start builds it again: %s", error)
            stored = None
        return StoredEngine(built.engine, wanted, stored, True, found, built.seconds)

    def _find(self, path: Path, graph: str, digest: str, options: BuildOptions | None) -> StoredEngine | str:
        """The stored engine, or why there is none to take."""
        try:
            raw = path.with_suffix(".json").read_bytes()
            engine = path.read_bytes()
        except FileNotFoundError:
            return "none is stored"
        except OSError as error:
            return f"the stored one cannot be read: {error.strerror}"
        try:
            sidecar = from_json(Sidecar, parse(raw, member=path.name), member=path.name)
        except (BundleError, OptionError) as error:
            return f"its sidecar is damaged: {error}"
        if sidecar.format != FORMAT or sidecar.graph_sha256 != digest:
            return "the stored one is of another graph or format"
        if len(engine) != sidecar.engine_bytes or hashlib.sha256(engine).hexdigest() != sidecar.engine_sha256:
            return "the stored one is damaged"
        was, now = asdict(sidecar.machine), asdict(self.machine)
        changed = [f"{name} was {was[name]}, is {now[name]}" for name in now if was[name] != now[name]]
        if changed:
            return "; ".join(changed)
        if options not in (None, sidecar.options):
            return "the stored one was built for other options"
        return StoredEngine(engine, sidecar.options, path, False, None, sidecar.seconds)


def _short(machine: Machine) -> str:
    return hashlib.sha256(dump(machine)).hexdigest()[:16]


def _read_sealed(path: Path) -> bytes:
    """Bytes after their SHA-256; empty where the file is absent or damaged."""
    try:
        raw = path.read_bytes()
    except OSError:
        return b""
    return raw[32:] if hashlib.sha256(raw[32:]).digest() == raw[:32] else b""


def _l4t() -> str:
    try:
        text = Path("/etc/nv_tegra_release").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "none"
    return parse_tegra_release(text) or "unknown"
