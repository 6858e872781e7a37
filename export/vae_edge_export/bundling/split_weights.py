"""ONNX files cut into a skeleton each and weights stored once.

Serialised protobuf messages of one type merge when concatenated (protobuf encoding, "last one
wins, repeated fields append"), so ``skeleton + weights`` *is* the ONNX file: a device joins
bytes, and needs no ``onnx`` for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from vae_edge_runtime.format.bundle import PAIR_ID
from vae_edge_runtime.format.onnx_scan import scan

_SHARED_FROM_BYTES = 64
"""Smaller constants stay in each skeleton: a name and a header would cost more than they save."""


@dataclass(frozen=True)
class SplitGraphs:
    """Parts of the graphs of one variant.

    Attributes:
        members: part name to bytes. parts: graph to the names of its parts, skeleton first.
        weight_bytes: raw bytes of all distinct initialisers. stored_weight_bytes: as stored.
    """

    members: dict[str, bytes]
    parts: dict[str, tuple[str, ...]]
    weight_bytes: int
    stored_weight_bytes: int

    def joined(self, graph: str) -> bytes:
        """The ONNX file of one graph."""
        return b"".join(self.members[part] for part in self.parts[graph])


def pair_id(models: Mapping[str, onnx.ModelProto]) -> str:
    """Identity of the trained weights: SHA-256 over the names (content hashes) of all
    initialisers of all graphs, first 32 hex digits.
    """
    names = sorted({tensor.name for model in models.values() for tensor in model.graph.initializer})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def split_and_scan(
    models: Mapping[str, onnx.ModelProto],
    *,
    prefix: str,
    pair: str,
    sizes: Mapping[str, Sequence[Mapping[str, int]]] | None = None,
) -> SplitGraphs:
    """``split``, and every joined graph read as a device will read it; ``sizes``: per graph, of its free dimensions.

    Raises:
        BundleInvalid: a device would refuse a graph; here it costs nobody an update.
    """
    graphs = split(models, prefix=prefix, pair=pair)
    for graph in graphs.parts:
        scan(graphs.joined(graph), sizes=(sizes or {}).get(graph, ({},)))
    return graphs


def split(models: Mapping[str, onnx.ModelProto], *, prefix: str, pair: str) -> SplitGraphs:
    """Cut the graphs of one variant; weights used by several graphs are stored once.

    Args:
        models: graph name to a model whose initialisers are named by content.
        prefix: folder of the member names, the variant.
        pair: pair id, written into every skeleton as metadata.
    """
    tensors = {t.name: t for model in models.values() for t in model.graph.initializer}
    users = {
        name: tuple(g for g in sorted(models) if any(t.name == name for t in models[g].graph.initializer))
        for name in tensors
    }
    shared = {n for n, graphs in users.items() if len(graphs) > 1 and len(tensors[n].raw_data) >= _SHARED_FROM_BYTES}
    members: dict[str, bytes] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for graph, model in sorted(models.items()):
        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(model)
        del skeleton.graph.initializer[:]
        skeleton.graph.initializer.extend(t for t in model.graph.initializer if t.name not in shared)
        skeleton.metadata_props.add(key=PAIR_ID, value=pair)
        members[f"{prefix}/{graph}.onnx"] = skeleton.SerializeToString(deterministic=True)
        parts[graph] = (f"{prefix}/{graph}.onnx",)
    for group in sorted({users[name] for name in shared}):
        weights = onnx.ModelProto()
        weights.graph.initializer.extend(tensors[n] for n in sorted(shared) if users[n] == group)
        name = f"{prefix}/{'-'.join(group)}.weights"
        members[name] = weights.SerializeToString(deterministic=True)
        for graph in group:
            parts[graph] += (name,)
    raw = {name: len(tensor.raw_data) for name, tensor in tensors.items()}
    return SplitGraphs(
        members=members,
        parts=parts,
        weight_bytes=sum(raw.values()),
        stored_weight_bytes=sum(raw[n] * (1 if n in shared else len(users[n])) for n in raw),
    )
