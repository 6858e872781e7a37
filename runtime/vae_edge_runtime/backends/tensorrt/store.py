"""Engines of TensorRT on disk: what an engine fits, and what its build leaves for the next build.

An engine is code for one GPU, one driver and one TensorRT. ``device/compiled.py`` keeps it.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ...device.compiled import CompiledStore, StoredForm
from ...device.machine import available_memory, l4t_release
from ...errors import StorageError
from .binding import Binding
from .builder import Context, build
from .driver import Device
from .options import BuildOptions

LOG = logging.getLogger("vae_edge_runtime.tensorrt")
StoredEngine = StoredForm[BuildOptions]


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
            l4t=l4t_release() or "none",
            machine=platform.machine(),
        )


class EngineStore:
    """Engines of this machine in one folder, which belongs to this user alone."""

    def __init__(
        self,
        binding: Binding,
        device: Device,
        folder: str | os.PathLike[str] | None = None,
        *,
        tf32: bool = False,
        current: Context = nullcontext,
    ) -> None:
        """Make the folder where it is missing.

        Args:
            folder: as for ``CompiledStore``, as are the errors.
            tf32: engines whose layers may round to 10 bits; they have a folder of their own.
            current: makes the CUDA context current, as for ``build``.
        """
        self._binding, self.machine = binding, Machine.of(device, binding)
        self._tf32, self._current, self._integrated = tf32, current, device.integrated
        self._forms = CompiledStore(
            "tensorrt-tf32" if tf32 else "tensorrt",
            self.machine,
            BuildOptions(),
            suffix="engine",
            what="a TensorRT engine",
            ahead="vae-edge build",
            log=LOG,
            folder=folder,
        )
        self.folder = self._forms.folder

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
            graph, onnx, options, must_store, announce: as for ``CompiledStore.get``.
            progress: of a build, as in ``build``.

        Raises:
            BackendError: TensorRT could not build it.
            StorageError: with ``must_store``.
        """
        measured = b""

        def compile_(wanted: BuildOptions) -> tuple[bytes, float]:
            nonlocal measured
            built = build(
                onnx,
                wanted,
                binding=self._binding,
                graph=graph,
                tf32=self._tf32,
                tactic_bytes=_tactic_bytes(graph) if self._integrated else None,
                current=self._current,
                timing_cache=self._forms.read_note("timing"),
                progress=progress,
            )
            measured = built.timing_cache
            return built.engine, built.seconds

        stored = self._forms.get(graph, onnx, compile_, options=options, must_store=must_store, announce=announce)
        if measured and stored.path is not None:
            try:
                self._forms.write_note("timing", measured)
            except StorageError as error:
                if must_store:
                    raise
                LOG.warning("the times that TensorRT measured are not kept, so the next build takes longer: %s", error)
        return stored

    def prune(self) -> tuple[Path, ...]:
        """Remove engines of other versions, drivers and boards; those of other power modes of this board stay.

        Raises:
            StorageError: a file cannot be removed.
        """
        return self._forms.prune(lambda m: replace(m, multiprocessors=0) == replace(self.machine, multiprocessors=0))


def _tactic_bytes(graph: str) -> int | None:
    """What kernels may take while they are timed, on a board whose GPU shares the memory of the CPU.

    TensorRT's own limit there is 75 % of all memory, whoever else uses it (NvInfer.h 10.3, TACTIC_DRAM).
    """
    available = available_memory()
    if available is None:
        return None
    if available < _LITTLE_MEMORY:
        LOG.warning(
            "%.1f GB of memory are free to build graph '%s': the kernel may end a process. Stop others (the desktop "
            "first), or add swap",
            available / 1e9,
            graph,
        )
    return int(_SHARE_OF_MEMORY * available)


_SHARE_OF_MEMORY = 0.7
_LITTLE_MEMORY = 2_000_000_000
