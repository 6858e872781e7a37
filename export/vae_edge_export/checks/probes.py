"""Rows and latents that no data set holds, and what PyTorch itself makes of them.

A gate asks whether a graph is finite and equal where PyTorch is. Where the user's own model raises or is not finite on
a made-up row, that row says nothing about the graph: it is dropped with a note, and on a device it gets a status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.specs import InputSpec, LatentKind
from vae_edge_runtime.sampling.noise import standard_normal

from ..effort import is_costly
from ..halves.door import foreign, in_words, on
from ..rows import Feeds, rows_of
from ..support import Support
from .kept import Outputs
from .reference import Precision, Reference

Latents = Callable[[NDArray[Any]], NDArray[Any]]

_GRAPHS = ("encode", "score")
FEW_PROBES = ("zero", "large")
"""Of a costly model: a constant row has no variance and shows a lost epsilon, a large one shows an overflow."""


def probes(spec: InputSpec, support: Support) -> dict[str, NDArray[Any]]:
    """Rows no data set holds and every camera sends: black, white, mid grey, noise, far too large.

    They stay in the support seen: no negative value in a column that has none, and columns of whole numbers, such as
    categorical codes, hold whole numbers within their range.
    """
    low, high = support.low, np.maximum(support.high, support.low + 1e-3)
    noise = standard_normal(int(np.prod(spec.shape)), seed=0).reshape(spec.shape).astype(np.float64)
    shape = np.zeros(spec.shape)
    made = {"zero": shape, "low": shape + low, "high": shape + high, "middle": shape + (low + high) / 2}
    made["noise"] = (low + high) / 2 + noise * (high - low) / 4
    if not support.whole.all():
        made["large"] = 100.0 * float((high - low).max()) * noise
    return {name: support.kept(row).astype(spec.dtype) for name, row in made.items()}


@dataclass(frozen=True)
class Probe:
    """One made-up row, which PyTorch has an answer for.

    Attributes:
        feeds: the row, and the condition of the first real one.
        exact, single: PyTorch's outputs by name, in the precision of the reference and in float32.
        precision: that of ``exact``; of a costly model float32, and float64 is asked where the graph differs from it.
    """

    graph: str
    label: str
    feeds: Feeds
    exact: Outputs
    single: Outputs
    precision: Precision

    @property
    def is_finite(self) -> bool:
        """Whether every output is finite."""
        return all(np.isfinite(value).all() for value in (*self.exact.values(), *self.single.values()))


def ask_torch(
    reference: Reference, feeds: Feeds, probe_rows: Mapping[str, NDArray[Any]]
) -> tuple[list[Probe], list[str]]:
    """What PyTorch makes of each probe in ``encode`` and ``score``; and in words where it has no answer."""
    asked, notes = [], dict[str, list[str]]()
    costly = any(is_costly(sizes.multiplications) for sizes in reference.row_bytes.values())
    graphs = [name for name in _GRAPHS if name in reference.signatures]
    for graph in graphs[-1:] if costly else graphs:  # score holds every operation of encode
        for label, row in probe_rows.items():
            one = {**rows_of(feeds, slice(1)), "x": row[None]}
            try:
                with on(f"probe rows of the kind '{label}'"):
                    single = reference.run_float32(graph, one)
                    exact = single if costly else reference.run(graph, one)
            except AdaptError as error:
                notes.setdefault(f"raises ({in_words(foreign(error)).splitlines()[0][:80]})", []).append(label)
                continue
            probe = Probe(graph, label, one, exact, single, "float32" if costly else reference.precision)
            asked.append(probe)
            if not probe.is_finite:
                notes.setdefault("is not finite", []).append(label)
    return asked, [
        f"PyTorch itself {what} on made-up rows ({', '.join(dict.fromkeys(labels))}), which were not compared; on a "
        "device a row without a finite score gets a status"
        for what, labels in notes.items()
    ]


@dataclass(frozen=True)
class ProbeLatents:
    """Latents to compare ``decode`` on: those of real rows, and made-up ones that PyTorch can decode.

    Attributes:
        make: (encode's first output) -> latents, those of the rows first.
        feeds: real rows with their conditions.
        notes: filled with what was left out, in words.
    """

    reference: Reference
    make: Latents
    feeds: Feeds
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reference: Reference, kind: LatentKind, feeds: Feeds, *, few: bool = False) -> ProbeLatents:
        """Of real rows and of N(0, I) for a Gaussian posterior; of real rows alone for a code, or for indices.

        Args:
            few: one draw from N(0, I) is enough, as of a costly model.
        """
        drawn = one_normal_latent if few else normal_latents
        return cls(reference, drawn if kind == "gaussian" else latents_of_rows, feeds)

    def __call__(self, encoded: NDArray[Any]) -> NDArray[Any]:
        """Latents (m, *latent_shape) for codes (n, *latent_shape), m >= n."""
        wanted = self.make(encoded)
        if len(wanted) == len(encoded):
            return wanted
        n = len(encoded)  # PyTorch decodes those of real rows in any case
        beside = {name: np.resize(x, (len(wanted), *x.shape[1:]))[n:] for name, x in self.feeds.items() if name != "x"}
        latent = self.reference.signatures["decode"].inputs[0].name
        try:
            with on("latents drawn from N(0, I)"):
                decoded = self.reference.run_float32("decode", {latent: wanted[n:], **beside})
        except AdaptError as error:
            self._note(f"PyTorch itself cannot decode latents drawn from N(0, I) ({in_words(foreign(error))[:80]})")
            return wanted[:n]
        finite = np.all([np.isfinite(x).reshape(len(x), -1).all(1) for x in decoded.values()], axis=0)
        if not finite.all():
            self._note("PyTorch itself is not finite on latents drawn from N(0, I)")
        return np.concatenate([wanted[:n], wanted[n:][finite]])

    def _note(self, what: str) -> None:
        line = f"{what}: they were not compared, and samples may fail"
        if line not in self.notes:
            self.notes.append(line)


def normal_latents(encoded: NDArray[Any]) -> NDArray[np.float32]:
    """Codes to feed a decoder of real-valued latents: encoded rows, draws from N(0, I), 3 sigma, the origin."""
    means = encoded.astype(np.float32)
    prior = standard_normal(8 * means[0].size, seed=1).reshape(8, *means.shape[1:])
    return np.concatenate([means, prior, 3 * prior[:2], np.zeros_like(prior[:1])])


def one_normal_latent(encoded: NDArray[Any]) -> NDArray[np.float32]:
    """Encoded rows and one draw from N(0, I)."""
    return normal_latents(encoded)[: len(encoded) + 1]


def latents_of_rows(encoded: NDArray[Any]) -> NDArray[Any]:
    """Codes of real rows alone: what an autoencoder's code may hold, such as pooling indices, nobody can make up."""
    return encoded.astype(np.float32) if encoded.dtype.kind == "f" else encoded
