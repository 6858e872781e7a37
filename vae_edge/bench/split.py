"""Where the time of a run on a GPU goes: copy in, compute, copy out, and the host's call, as trtexec splits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vae_edge_runtime import Bundle
from vae_edge_runtime.backends.opening import open_backend
from vae_edge_runtime.errors import OptionError

RUNS = 50
_PARTS = ("copy_in_ms", "compute_ms", "copy_out_ms", "enqueue_ms")


@dataclass(frozen=True)
class SplitFigures:
    """Medians over runs of the graph ``score`` with all its outputs, in milliseconds.

    Attributes:
        copy_in_ms, compute_ms, copy_out_ms: on the GPU, by its own events. Copies take 0 where the GPU reads the
            memory of the host itself. enqueue_ms: of the host's call that starts the engine.
    """

    variant: str
    device: str
    batch: int
    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float
    enqueue_ms: float


def split(
    path: Path, variants: Sequence[str], devices: Sequence[str], batches: Sequence[int], *, runs: int = RUNS
) -> tuple[SplitFigures, ...]:
    """Split the time of every variant on every device at every batch.

    Args:
        variants: of the bundle; empty: all. runs: of each, after two that are not counted.

    Raises:
        OptionError: a device whose engine does not say, or a batch beyond the engine's largest.
        ProviderUnavailable, MissingDependency, BackendError: as ``load``.
    """
    figures = []
    with Bundle.open(path) as bundle:
        for variant in variants or sorted(bundle.manifest.variants):
            for device in devices:
                load = partial(bundle.graph, bundle.choose_variant(variant))
                backend = open_backend(device, load, allow_fallback=False, threads=None)
                try:
                    measure = getattr(backend, "split", None)
                    if measure is None:
                        raise OptionError(f"--split: '{device}' does not tell copies from compute; take tensorrt")
                    for batch in batches:
                        parts = measure("score", batch, runs)
                        medians = [float(np.median([getattr(part, name) for part in parts])) for name in _PARTS]
                        figures.append(SplitFigures(variant, device, batch, *medians))
                finally:
                    backend.close()
    return tuple(figures)
