"""What is fuzzed: each target takes bytes and raises nothing but the errors of ``vae_edge_runtime``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mutate import mutated, mutated_json
from operator_cases import CASES
from operator_graphs import build
from tiny_bundle import DECODE_WEIGHTS, ENCODE_WEIGHTS, GRAPHS, TinyBundle, model, weights

from vae_edge_runtime import Bundle, VaeEdgeError
from vae_edge_runtime.format import strict_json
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.onnx_scan import scan

_FOLDER = tempfile.TemporaryDirectory(prefix="vae-edge-fuzz-")


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        seeds: inputs that it takes.
        run: raises ``VaeEdgeError`` or nothing.
        runs: of the fast test.
        mutate: how seeds are damaged.
        needs: a package, which not every machine has.
        least_refused: share of damaged inputs that the fast test expects to be refused.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], object]
    runs: int
    mutate: Callable[[Sequence[bytes], Random], bytes] = mutated
    needs: str | None = None
    least_refused: float = 0.25


def folder() -> Path:
    """Of this process, for the files that targets read."""
    return Path(_FOLDER.name)


def written(name: str, raw: bytes) -> Path:
    """A file with these bytes."""
    path = folder() / name
    path.write_bytes(raw)
    return path


def accepted(target: Target, raw: bytes) -> bool:
    """Whether the target took the bytes; any other exception than the deliberate ones comes through."""
    with contextlib.suppress(VaeEdgeError):
        target.run(raw)
        return True
    return False


def _bundle() -> bytes:
    return TinyBundle(written("seed.vaeb", b"")).write().read_bytes()


def _manifest() -> Sequence[bytes]:
    manifest = TinyBundle(Path("unused")).manifest
    assert manifest
    return [manifest.to_json()]


def _json() -> Sequence[bytes]:
    return [*_manifest(), b'{"a": [1, 2.5, "x\\u00e9", null, true, {"b": {}}]}', b"[[[[]]]]", b'"\\ud83d\\ude00"']


_TINY = [
    (*GRAPHS["encode"][:3], [ENCODE_WEIGHTS]),
    (*GRAPHS["decode"][:3], [DECODE_WEIGHTS]),
    (*GRAPHS["score"][:3], [ENCODE_WEIGHTS, DECODE_WEIGHTS]),
]


def _graphs() -> Sequence[bytes]:
    tiny = [model(n, i, o).SerializeToString() + b"".join(map(weights, parts)) for n, i, o, parts in _TINY]
    return [*tiny, *(build(op, case)[0] for op, case in CASES.items())]


def _open(raw: bytes) -> None:
    with Bundle.open(written("input.vaeb", raw)) as bundle:
        bundle.verify_members()
        for name, variant in bundle.manifest.variants.items():
            for graph in variant.graphs:
                bundle.graph(name, graph)


TARGETS: dict[str, Target] = {
    "json": Target(_json, lambda raw: strict_json.parse(raw, member="m"), 1000),
    "manifest": Target(_manifest, Manifest.from_json, 200),
    "manifest-values": Target(_manifest, Manifest.from_json, 300, mutated_json),
    "archive": Target(lambda: [_bundle()], _open, 200),
    "scanner": Target(_graphs, scan, 1000),
}
"""Without those of ``data_targets`` and ``session_targets``."""
