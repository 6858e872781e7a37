"""The torch graphs a bundle is held to, and how a torch graph and an artefact are run."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.specs import Signature
from vae_edge_runtime.graph_session import rows_within

from ..graphs.build import BYTES_AT_ONCE
from ..graphs.row_bytes import RowBytes
from ..halves.door import reading
from ..rows import Feeds, rows_of

Outputs = dict[str, NDArray[Any]]

_MOST_ROWS = 256
_KEPT = 256 << 20
"""Bytes of outputs that are kept for the next gate."""


@dataclass(frozen=True)
class Reference:
    """The torch graphs at float64 (float32 where the module cannot be converted) and at float32."""

    modules: Mapping[str, nn.Module]
    exact: Mapping[str, nn.Module]
    signatures: Mapping[str, Signature]
    precision: Literal["float64", "float32"]
    row_bytes: Mapping[str, RowBytes] = field(default_factory=dict)
    _kept: dict[bytes, Outputs] = field(default_factory=dict, repr=False)
    """Of single rows, by graph and content."""

    @classmethod
    def of(
        cls,
        modules: Mapping[str, nn.Module],
        signatures: Mapping[str, Signature],
        examples: Mapping[str, Feeds],
        row_bytes: Mapping[str, RowBytes] | None = None,
    ) -> Reference:
        """Try float64 on example inputs; a module with float32 written into its code keeps float32."""
        try:
            exact = copy.deepcopy(dict(modules))  # in one go: the model they share is copied once
            for module in exact.values():
                module.double()
            for name, module in exact.items():
                run_torch(module, signatures[name], rows_of(examples[name], slice(1)), dtype=torch.float64)
        except Exception:  # whatever a foreign module raises; the report says "float32"
            return cls(modules, modules, signatures, "float32", row_bytes or {})
        return cls(modules, exact, signatures, "float64", row_bytes or {})

    def run(self, graph: str, feeds: Feeds, signature: Signature | None = None) -> Outputs:
        """Reference outputs by name; those of the same rows are computed once, whatever gate asks.

        Args:
            signature: of rows of another height and width; None: of those of the calibration.
        """
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        signature, count = signature or self.signatures[graph], len(next(iter(feeds.values())))
        keys = [_key(graph, rows_of(feeds, slice(i, i + 1))) for i in range(count)]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        if not new and count:
            return {t.name: np.concatenate([self._kept[key][t.name] for key in keys]) for t in signature.outputs}
        rows = self._rows(graph, "double" if self.precision == "float64" else "single")
        missing = feeds if len(new) == count else {name: x[new] for name, x in feeds.items()}
        outputs = run_torch(self.exact[graph], signature, missing, dtype=dtype, rows=rows)
        if len(new) < count:
            outputs = {name: _merged(x, new, keys, self._kept, name) for name, x in outputs.items()}
        kept = sum(y.nbytes for z in self._kept.values() for y in z.values())
        if kept + sum(x.nbytes for x in outputs.values()) <= _KEPT:
            for i in new:
                self._kept[keys[i]] = {name: x[i : i + 1].copy() for name, x in outputs.items()}
        return outputs

    def run_float32(self, graph: str, feeds: Feeds, *, leave_out: tuple[str, ...] = ()) -> Outputs:
        """PyTorch's own float32 outputs by name, without those of ``leave_out``."""
        rows, signature = self._rows(graph, "single"), self.signatures[graph]
        return run_torch(self.modules[graph], signature, feeds, dtype=torch.float32, rows=rows, leave_out=leave_out)

    def rows_at_once(self, graph: str, count: int) -> int:
        """So many of ``count`` rows an engine is given at once."""
        return min(count, self._rows(graph, "single"))

    def _rows(self, graph: str, precision: str) -> int:
        if graph not in self.row_bytes:
            return _MOST_ROWS
        return rows_within(BYTES_AT_ONCE, getattr(self.row_bytes[graph], precision), most=_MOST_ROWS)


def run_torch(
    module: nn.Module,
    signature: Signature,
    feeds: Feeds,
    *,
    dtype: torch.dtype,
    rows: int = 256,
    leave_out: tuple[str, ...] = (),
) -> Outputs:
    """Outputs of a torch graph by name, computed ``rows`` at a time, without those of ``leave_out``."""
    pieces = []
    count = len(next(iter(feeds.values())))
    with torch.no_grad(), reading("running the model in PyTorch"):
        for start in range(0, count, rows):
            parts = [torch.from_numpy(np.array(feeds[t.name][start : start + rows])) for t in signature.inputs]
            out = module(*(part.to(dtype) if part.is_floating_point() else part for part in parts))
            piece = [t.numpy() for t in (out if isinstance(out, tuple) else (out,))]
            for spec, value in zip(signature.outputs, piece, strict=True):
                if np.iscomplexobj(value):
                    raise AdaptError(f"the model gives complex numbers for {spec.name} this time, not real ones")
                if value.shape != (len(parts[0]), *spec.shape):
                    raise AdaptError(
                        f"the model gives {spec.name} of shape {value.shape} for {len(parts[0])} rows this time, and "
                        f"gave {spec.shape} for each row before: it must give one shape, with the batch first"
                    )
            pieces.append(dict(zip((t.name for t in signature.outputs), piece, strict=True)))
            for name in leave_out:
                pieces[-1].pop(name, None)
    return {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}


def _merged(
    made: NDArray[Any], new: list[int], keys: list[bytes], kept: Mapping[bytes, Outputs], name: str
) -> NDArray[Any]:
    """Rows that were computed now and rows that are known, in the order of ``keys``."""
    whole = np.empty((len(keys), *made.shape[1:]), made.dtype)
    whole[new] = made
    for i in set(range(len(keys))) - set(new):
        whole[i] = kept[keys[i]][name][0]
    return whole


def _key(graph: str, feeds: Feeds) -> bytes:
    digest = hashlib.blake2b(graph.encode())
    for name, rows in sorted(feeds.items()):
        digest.update(f"{name} {rows.dtype} {rows.shape}".encode())
        digest.update(np.ascontiguousarray(rows).data)
    return digest.digest()


def run_backend(backend: Backend, graph: str, signature: Signature, feeds: Feeds, *, rows: int) -> Outputs:
    """Outputs of an artefact's graph by name, ``rows`` at a time."""
    names = [t.name for t in signature.outputs]
    feeds = {t.name: feeds[t.name] for t in signature.inputs}  # a target stands beside rows, and encode takes none
    count = len(next(iter(feeds.values())))
    pieces = [backend.run(graph, rows_of(feeds, slice(i, i + rows)), names) for i in range(0, count, rows)]
    return {name: np.concatenate([p[i] for p in pieces]) for i, name in enumerate(names)}
