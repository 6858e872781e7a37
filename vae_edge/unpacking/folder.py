"""``unpack``: everything is made and compared with the bundle in memory, and then written as one folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_edge_runtime import VAE, Bundle, load
from vae_edge_runtime.arguments.by_annotation import checked
from vae_edge_runtime.backends.integers import add_exactly
from vae_edge_runtime.dependencies import require
from vae_edge_runtime.errors import OptionError, ParityFailed
from vae_edge_runtime.format.onnx_scan import scan
from vae_edge_runtime.format.specs import GRAPHS
from vae_edge_runtime.record import record
from vae_edge_runtime.storage.folders import not_empty, staged_folder
from vae_edge_runtime.verification import golden_feeds, max_errors

from .description import c_header, document, entry
from .graphs import InputForm, check_form, is_turned, standalone
from .page import readme

SAME = 1e-6
"""Largest relative difference between a graph of the bundle and the unpacked one, run by one engine on one machine."""

Arrays = dict[str, NDArray[Any]]


@record(frozen=True)
class Unpacked:
    """What ``unpack`` wrote.

    Attributes:
        folder: that now exists. variant: that it holds. input_form: of the graphs.
        files: names relative to the folder, sorted, with their sizes in bytes.
        worst_relative: largest relative difference of any output from the bundle's own, over the golden rows.
    """

    folder: str
    bundle_id: str
    variant: str
    input_form: str
    files: dict[str, int]
    worst_relative: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = ("folder", "bundle_id", "variant", "input_form", "files", "worst_relative")
        return {name: getattr(self, name) for name in names}


@checked
def unpack(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], *, variant: str = "auto", input_form: str = "bundle"
) -> Unpacked:
    """Write a bundle as plain files: standalone ONNX graphs, ``bundle.json``, ``bundle.h``, golden arrays, README.

    Every graph is run on the golden rows and compared with the bundle's before anything is written.

    Args:
        path: the ``.vaeb`` file.
        folder: to make; it must not exist, or be empty.
        variant: a precision in the bundle; ``auto`` takes fp32 where there is one.
        input_form: ``bundle``: rows as the bundle takes them. ``float32-nchw``: pictures as float32 with channels
            first, in the range of the bundle's own rows, as DeepStream and many camera stacks feed them.

    Raises:
        OptionError: the folder is not empty, or an option is not valid.
        ParityFailed: an unpacked graph does not compute what the bundle computes; nothing was written.
        BundleError, GraphRefused: the bundle is refused. StorageError: the folder could not be written.
        MissingDependency: onnx or onnxruntime is not installed.

    Example:
        >>> unpacked = vae_edge.unpack("pump.vaeb", "pump")
        >>> sorted(unpacked.files)[:2]
        ['README.md', 'bundle.h']
    """
    require("onnx", extra="export", why="unpacking a bundle")
    target = _free_folder(folder)
    with Bundle.open(path) as bundle, load(path, device="cpu", variant=variant, threads=1) as vae:
        form, name = check_form(input_form, bundle.manifest), bundle.choose_variant(variant)
        graphs = {g: s for g in GRAPHS if (s := bundle.manifest.variants[name].graphs.get(g))}
        files: dict[str, bytes] = {}
        for graph, spec in graphs.items():
            metadata = {"vae_edge.bundle_id": bundle.bundle_id, "vae_edge.variant": name, "vae_edge.graph": graph}
            raw = bundle.graph(name, graph)
            files[graph] = standalone(raw, spec, form, bundle.manifest, metadata)
        golden, worst = _compared(vae, name, form, files)
        arrays = {entry(g, n, role, a, None)["file"]: a.tobytes() for g, n, role, a, _ in golden}
        said = document(bundle, name, form, files, [entry(*row) for row in golden])
        contents = {f"{graph}.onnx": raw for graph, raw in files.items()} | arrays
        if member := bundle.manifest.variants[name].latent_statistics:
            contents["latent_statistics.bin"] = bundle.read(member)
        contents["bundle.json"] = (json.dumps(said, indent=1, allow_nan=False) + "\n").encode()
        contents["bundle.h"] = c_header(said).encode()
        signed = any(scan(raw).signed_weights for raw in files.values())
        contents["README.md"] = readme(said, signed_weights=signed).encode()
    _write(target, contents)
    sizes = {name: len(contents[name]) for name in sorted(contents)}
    return Unpacked(str(folder), said["bundle_id"], name, form, sizes, worst)


def _free_folder(folder: str | os.PathLike[str]) -> Path:
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise OptionError(f"{target} is a file; name a folder that does not exist yet")
    if target.is_dir() and any(target.iterdir()):
        raise not_empty(target)
    if not target.absolute().parent.is_dir():
        raise OptionError(f"the folder {target.parent} does not exist; create it first")
    return target


Golden = list[tuple[str, str, str, NDArray[Any], float | None]]


def _compared(vae: VAE, variant: str, form: InputForm, files: Mapping[str, bytes]) -> tuple[Golden, float]:
    """Golden inputs and outputs in the form of the unpacked graphs, and the worst difference from the bundle.

    Raises:
        ParityFailed: a graph is further from the bundle than ``SAME``.
    """
    onnxruntime = require("onnxruntime", extra="cpu", why="unpacking a bundle")
    manifest, worst = vae.manifest, 0.0
    golden: Golden = []
    own = manifest.variants[variant]
    feeds = {name: np.ascontiguousarray(x) for name, x in golden_feeds(vae, variant).items()}
    for graph, raw in files.items():
        spec = own.graphs[graph]
        inputs = {t.name: feeds[t.name] for t in spec.inputs}
        names = [t.name for t in spec.outputs]
        wanted = vae.run_graph(graph, inputs, names)
        turned = {name: _in_form(name, array, form, vae) for name, array in inputs.items()}
        options = onnxruntime.SessionOptions()
        add_exactly(options, raw)
        session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        got = session.run(names, turned)
        golden += [(graph, name, "input", array, None) for name, array in turned.items()]
        for name, array, reference in zip(names, got, wanted, strict=True):
            expected = _in_form(name, reference, form, vae) if name == "map" else reference
            _, relative = max_errors(array, expected)
            worst = max(worst, relative)
            if array.shape != expected.shape or relative > SAME:
                raise ParityFailed(
                    f"the unpacked graph {graph} gives another {name} than the bundle (relative difference "
                    f"{relative:.2g}, at most {SAME:g}); nothing was written"
                )
            limits = manifest.golden.tolerance_relative[variant]
            tolerance = limits.get(f"{graph}.{name}", max(limits.values()))
            golden.append((graph, name, "output", np.ascontiguousarray(expected), tolerance))
    return golden, worst


def _in_form(name: str, array: NDArray[Any], form: InputForm, vae: VAE) -> NDArray[Any]:
    if form == "bundle" or name not in ("x", "map"):
        return array
    if is_turned(form, vae.manifest):
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array, np.float32)


def _write(target: Path, contents: Mapping[str, bytes]) -> None:
    """The whole folder, or nothing: it is made beside its place, and gets its name last."""
    with staged_folder(target) as made:
        for name, raw in contents.items():
            made.write(name, raw)
