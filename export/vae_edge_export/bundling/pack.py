"""The packing stage of an export: finished variants to the bytes of one bundle, and the file read back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vae_edge_runtime.compression_tables import fitted_in
from vae_edge_runtime.format import archive
from vae_edge_runtime.format.bundle import Bundle
from vae_edge_runtime.format.figures import ModelFit, SampleFigures
from vae_edge_runtime.format.manifest import MEMBER, Golden, Manifest, Purpose

from ..checks.size_parity import GOLDEN_ROWS, feeds_at
from ..config import ExportConfig
from ..graphs.build import BuiltGraphs
from ..rows import ExportRows
from . import contents
from .finished_variant import FinishedVariant
from .priors import BundlePrior


@dataclass(frozen=True, eq=False)
class PackedBundle:
    """A bundle in memory.

    Attributes:
        bundle_id: SHA-256 of the manifest, which names the hash of every member.
        data: the bytes of the file.
    """

    manifest: Manifest
    bundle_id: str
    data: bytes

    @classmethod
    def of(cls, manifest: Manifest, members: Mapping[str, bytes]) -> PackedBundle:
        """A bundle of this manifest and the members that it lists."""
        raw = manifest.to_json()
        return cls(manifest, hashlib.sha256(raw).hexdigest(), archive.encode({**members, MEMBER: raw}))


def pack(
    built: BuiltGraphs,
    rows: ExportRows,
    config: ExportConfig,
    *,
    pair: str,
    fit: ModelFit | None,
    prior: BundlePrior,
    variants: Mapping[str, FinishedVariant],
    golden_feeds: Mapping[str, NDArray[Any]],
    golden_picture: dict[str, float] | None,
    exporters: Iterable[str],
    compress_rows: NDArray[Any] | None = None,
    progress: Callable[[str], None] = lambda mode: None,
    purpose: Purpose = "scoring",
    samples: SampleFigures | None = None,
) -> PackedBundle:
    """Manifest and members of finished variants, as the bytes of one file.

    Args:
        pair: pair id of the graphs. golden_feeds: the rows of the self-test.
        golden_picture: of tiles, what they make together.
        purpose, samples: as in ``Manifest``.
        exporters: ``dynamo`` or ``legacy``, of each graph.
        compress_rows: further rows that compression tables are fitted to. progress: called with the name of each mode.
    """
    members = contents.golden_inputs(golden_feeds)
    for variant in variants.values():
        members |= variant.members
    if prior.spec.member is not None and prior.member is not None:
        members[prior.spec.member] = prior.member
    golden = Golden(
        len(next(iter(golden_feeds.values()))),
        contents.GOLDEN_INPUT,
        contents.GOLDEN_CONDITION if rows.condition is not None else None,
        {name: variant.expected for name, variant in variants.items()},
        {name: variant.tolerance for name, variant in variants.items()},
        golden_picture,
    )
    free_size = None
    if built.sizes is not None:
        golden_rows = {size: feeds_at(rows, size, GOLDEN_ROWS) for size in built.sizes.others}
        golden_members, free_size = contents.free_size(built.sizes, golden_rows, variants)
        members |= golden_members
    manifest = contents.manifest(
        built,
        rows,
        config,
        fit=fit,
        prior=prior.spec,
        pair=pair,
        variants={name: variant.variant for name, variant in variants.items()},
        golden=golden,
        members=members,
        exporters=exporters,
        free_size=free_size,
        purpose=purpose,
        samples=samples,
    )
    if config.compress is not None:
        normal = rows.calibration
        manifest, members = fitted_in(
            manifest, members, normal["x"], normal.get("condition"), config.compress, compress_rows, progress=progress
        )
    return PackedBundle.of(manifest, members)


def read_back(path: str) -> None:
    """What a device will do with the file, done before the file gets its name.

    Raises:
        BundleError: the file is refused.
    """
    with Bundle.open(path) as bundle:
        bundle.verify_members()
        for name, variant in bundle.manifest.variants.items():
            for graph in variant.graphs:
                bundle.graph(name, graph)
