"""The torch graphs a bundle is held to, and how a torch graph and an artefact are run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vae_edge_runtime.backends.base import Backend
from vae_edge_runtime.errors import AdaptError
from vae_edge_runtime.format.specs import Signature, element_count
from vae_edge_runtime.graph_session import rows_within

from ..graphs.build import BYTES_AT_ONCE
from ..graphs.row_bytes import RowBytes
from ..halves.door import reading
from ..rows import Feeds, rows_of
from .exact_norms import ExactNorms
from .kept import KeptRows, Outputs

Precision = Literal["float64", "float32"]

_MOST_ROWS = 256


@dataclass(frozen=True)
class Reference:
    """The torch graphs at float64 (float32 where the module cannot be converted) and at float32.

    Attributes:
        single_beyond: graph to the most values of a row that float64 is spent on; larger rows are held to PyTorch in
            float32. Of a costly model of free size, whose smaller rows are compared in float64.
        singles: of a costly model, outputs of PyTorch in float32, its norms in float64, that several gates ask for;
            None: they are computed again, as PyTorch computes them.
    """

    modules: Mapping[str, nn.Module]
    exact: Mapping[str, nn.Module]
    signatures: Mapping[str, Signature]
    precision: Precision
    row_bytes: Mapping[str, RowBytes] = field(default_factory=dict)
    single_beyond: Mapping[str, int] = field(default_factory=dict)
    singles: KeptRows | None = None
    _doubles: KeptRows = field(default_factory=KeptRows, repr=False)

    @classmethod
    def of(
        cls,
        modules: Mapping[str, nn.Module],
        signatures: Mapping[str, Signature],
        examples: Mapping[str, Feeds],
        row_bytes: Mapping[str, RowBytes] | None = None,
        *,
        at: Mapping[str, Signature] | None = None,
        single_beyond: Mapping[str, int] | None = None,
        singles: KeptRows | None = None,
    ) -> Reference:
        """Try float64 on example inputs; a module with float32 written into its code keeps float32.

        Args:
            at: signatures of the examples, where they are of another height and width.
            single_beyond, singles: as the attributes.
        """
        try:
            exact = copy.deepcopy(dict(modules))  # in one go: the model they share is copied once
            for module in exact.values():
                module.double()
            reference = cls(modules, exact, signatures, "float64", row_bytes or {}, single_beyond or {}, singles)
            reference._try_float64(examples, at or {})
        except Exception:  # whatever a foreign module raises; the report says "float32"
            return cls(modules, modules, signatures, "float32", row_bytes or {}, {}, singles)
        return reference

    def _try_float64(self, examples: Mapping[str, Feeds], at: Mapping[str, Signature]) -> None:
        """Run each graph on one row; of a costly model the outputs are kept, and codes of the row are decoded."""
        codes: NDArray[Any] | None = None
        for graph, module in self.exact.items():
            signature, feeds = at.get(graph, self.signatures[graph]), rows_of(examples[graph], slice(1))
            if self.singles is None:
                run_torch(module, signature, feeds, dtype=torch.float64)
                continue
            z = signature.inputs[0]
            if graph == "decode" and codes is not None and codes.shape[1:] == z.shape:
                feeds[z.name] = codes.astype(z.dtype)
            outputs = self.run(graph, feeds, signature, double=True)
            codes = next(iter(outputs.values())) if graph == "encode" else codes

    def precision_of(self, graph: str, signature: Signature | None = None) -> Precision:
        """What ``run`` computes in, for rows of a signature."""
        first = (signature or self.signatures[graph]).inputs[0]
        most = self.single_beyond.get(graph)
        return "float32" if most is not None and element_count(first.shape) > most else self.precision

    def run(self, graph: str, feeds: Feeds, signature: Signature | None = None, *, double: bool = False) -> Outputs:
        """Reference outputs by name; those of the same rows are computed once, whatever gate asks.

        Args:
            signature: of rows of another height and width; None: of those of the calibration.
            double: in float64 whatever ``single_beyond`` says.
        """
        signature = signature or self.signatures[graph]
        if not double and self.precision_of(graph, signature) != self.precision:
            return self.run_float32(graph, feeds, signature=signature)
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        rows = self._rows(graph, "double" if self.precision == "float64" else "single")
        return self._doubles.run(
            graph, feeds, lambda some: run_torch(self.exact[graph], signature, some, dtype=dtype, rows=rows)
        )

    def run_float32(
        self,
        graph: str,
        feeds: Feeds,
        *,
        leave_out: tuple[str, ...] = (),
        signature: Signature | None = None,
        plain: bool = False,
    ) -> Outputs:
        """PyTorch's float32 outputs by name, without those of ``leave_out``.

        Args:
            plain: PyTorch's own norms, also of a costly model.
        """
        rows, signature = self._rows(graph, "single"), signature or self.signatures[graph]
        plain = plain or bool(leave_out) or self.singles is None

        def compute(some: Feeds) -> Outputs:
            return run_torch(
                self.modules[graph], signature, some,
                dtype=torch.float32, rows=rows, leave_out=leave_out, exact_norms=not plain,
            )  # fmt: skip

        return compute(feeds) if plain or self.singles is None else self.singles.run(graph, feeds, compute)

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
    exact_norms: bool = False,
) -> Outputs:
    """Outputs of a torch graph by name, computed ``rows`` at a time, without those of ``leave_out``.

    Args:
        exact_norms: of float32, with norms in float64.
    """
    pieces = []
    count = len(next(iter(feeds.values())))
    norms = ExactNorms() if exact_norms else nullcontext()  # type: ignore[no-untyped-call]
    with torch.no_grad(), norms, reading("running the model in PyTorch"):
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


def run_backend(backend: Backend, graph: str, signature: Signature, feeds: Feeds, *, rows: int) -> Outputs:
    """Outputs of an artefact's graph by name, ``rows`` at a time."""
    names = [t.name for t in signature.outputs]
    feeds = {t.name: feeds[t.name] for t in signature.inputs}  # a target stands beside rows, and encode takes none
    count = len(next(iter(feeds.values())))
    pieces = [backend.run(graph, rows_of(feeds, slice(i, i + rows)), names) for i in range(0, count, rows)]
    return {name: np.concatenate([p[i] for p in pieces]) for i, name in enumerate(names)}
