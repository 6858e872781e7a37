"""Engines of TensorRT on disk: what an engine fits, and what its build leaves for the next build.

An engine is code for one GPU, one driver and one TensorRT. ``device/compiled.py`` keeps it.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

from ...device.compiled import CompiledStore, StoredForm
from ...device.machine import l4t_release
from ...errors import StorageError
from .binding import Binding
from .builder import BuildOptions, build
from .driver import Device

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

    def __init__(self, binding: Binding, device: Device, folder: str | os.PathLike[str] | None = None) -> None:
        """Make the folder where it is missing; arguments and errors as for ``CompiledStore``."""
        self._binding, self.machine = binding, Machine.of(device, binding)
        self._forms = CompiledStore(
            "tensorrt",
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
