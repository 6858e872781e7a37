"""What is fuzzed: each target takes bytes and raises nothing but the errors of ``vae_edge_runtime``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from operator_cases import CASES
from operator_graphs import build
from tiny_bundle import DECODE_WEIGHTS, ENCODE_WEIGHTS, GRAPHS, TinyBundle, model, weights

from vae_edge_runtime import Bundle, VaeEdgeError
from vae_edge_runtime.format import strict_json
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.format.onnx_scan import scan


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        seeds: inputs that it takes.
        run: raises ``VaeEdgeError`` or nothing.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], object]


_FOLDER = Path(tempfile.gettempdir()) / "vae-edge-fuzz"


def _written(name: str, raw: bytes) -> Path:
    _FOLDER.mkdir(exist_ok=True)
    path = _FOLDER / name
    path.write_bytes(raw)
    return path


def _bundle() -> bytes:
    return TinyBundle(_written("seed.vaeb", b"")).write().read_bytes()


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
    with Bundle.open(_written("input.vaeb", raw)) as bundle:
        bundle.verify_members()
        for name, variant in bundle.manifest.variants.items():
            for graph in variant.graphs:
                bundle.graph(name, graph)


def _csv(raw: bytes) -> None:
    from vae_edge.data import read

    read(_written("input.csv", raw))


_TABLES = [b"a,b\n1,2\n3,4\n", b'"a","b c"\r\n1.5e3,-0.1\r\n,\r\n', b"1;2\n3;4\n", b"\xef\xbb\xbft,a\n0,1\n"]
TARGETS = {
    "json": Target(_json, lambda raw: strict_json.parse(raw, member="m")),
    "manifest": Target(_manifest, Manifest.from_json),
    "archive": Target(lambda: [_bundle()], _open),
    "scanner": Target(_graphs, scan),
    "csv": Target(lambda: _TABLES, _csv),
}


def accepted(target: Target, raw: bytes) -> bool:
    """Whether the target took the bytes; any other exception than the deliberate ones comes through."""
    with contextlib.suppress(VaeEdgeError):
        target.run(raw)
        return True
    return False
