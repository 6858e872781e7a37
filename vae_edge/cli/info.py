"""``vae-edge info``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vae_edge_runtime import Bundle
from vae_edge_runtime.codec.container import described
from vae_edge_runtime.dependencies import telemetry
from vae_edge_runtime.format.manifest import Manifest
from vae_edge_runtime.storage.files import is_compressed
from vae_edge_runtime.text import counted

from . import _console, _options, _tables

NAME = "info"
EXAMPLE = "vae-edge info pump.vaeb --json | jq .manifest.model"


PURPOSES = {
    "scoring": "scores, samples, encode and decode",
    "generation": "samples, encode and decode; it has no scores and no thresholds",
    "decoder": "samples and decode; it is a decoder alone",
}


def run(bundle: _options.Bundle, json: _options.Json = False) -> None:
    """Show what a bundle or a .vaez file holds: card, shapes, variants, sizes, parity, calibration. Needs no engine."""
    if is_compressed(bundle):
        _show_compressed(bundle, json)
        return
    with Bundle.open(bundle) as opened:
        if json:
            document = {"path": str(bundle), "size_bytes": opened.size_bytes, "bundle_id": opened.bundle_id}
            manifest = dataclasses.asdict(opened.manifest)
            _console.print_json(NAME, document | {"manifest": manifest, "telemetry": telemetry()})
            return
        _show(opened.manifest, opened.size_bytes, opened.bundle_id)


def free_size(manifest: Manifest) -> str:
    """Which heights and widths a bundle of free size takes, in words."""
    free = manifest.free_size
    assert free is not None
    multiple = "x".join(map(str, dict.fromkeys(free.multiple)))
    checked = ", ".join(f"{each.height}x{each.width}" for each in free.checks)
    smallest = "x".join(map(str, free.smallest))
    said = f"encode and decode take multiples of {multiple} from {smallest} (height x width), compared with PyTorch at "
    return f"{said}{checked}, too" + ("; score takes the input's own" if manifest.purpose == "scoring" else "")


def _show_compressed(path: Path, json: bool) -> None:
    document = described(path)
    if json:
        _console.print_json(NAME, {"path": str(path), **document})
        return
    ended = "complete" if document["complete"] else f"no end mark; {document['torn_bytes']:,} bytes of a torn block"
    by_mode = ", ".join(f"{counted(count, 'row')} {_way(mode)}" for mode, count in document["rows_by_mode"].items())
    facts = {
        "rows": f"{document['rows']:,} in {counted(document['blocks'], 'block')}, {ended}",
        "modes": by_mode or "-",
        "size": f"{document['size_bytes']:,} bytes",
        "weights": f"pair id {document['pair_id']}",
        "decode": document["decode"],
        "tables": document["tables"],
        "scored by": document["variant"],
    }
    for key, value in facts.items():
        _console.line(f"{key:<12} {value}")


def _way(mode: str) -> str:
    """How rows of a mode were compressed, as far as the file alone says: the bundle has the names of the others."""
    words = {"0": "as latents", "raw": "stored as they are"}
    return words.get(mode, f"within a bound or exactly (line {int(mode) + 1 if mode.isdigit() else mode} of "
                     "'compression' in vae-edge info of the bundle)")  # fmt: skip


def _show(manifest: Manifest, size_bytes: int, bundle_id: str) -> None:
    model, row, score = manifest.model, manifest.input, manifest.score
    scores = manifest.purpose == "scoring"
    seen = f"values in {'calibration' if scores else 'given'} rows from"
    kl = "" if score.kl_weight is None else f" + {score.kl_weight:g} x KL"
    heads = ", ".join(score.heads)
    weights = f"{score.reconstruction_weight:g} x reconstruction{kl}"
    if score.transform == "sqrt":
        weights = f"sqrt({weights})"
    latent, condition = manifest.latent, manifest.condition
    groups = f", of {' '.join(str(list(group)) for group in latent.groups)}" if latent.groups else ""
    codebook = f", {latent.codebook} codes" if latent.codebook else ""
    shifted = f"(z - {latent.offset:g})" if latent.offset else "z"
    scaled = f", scaled as {shifted} * {latent.scale:g}" if (latent.offset, latent.scale) != (0, 1) else ""
    facts = {
        "model": f"{model.name} {model.version}, release {manifest.release}",
        "licence": model.licence,
        "source": model.source or "-",
        "description": model.description or "-",
        "metrics": ", ".join(f"{k} {v:g}" for k, v in model.metrics.items()) or "-",
        "bundle id": bundle_id,
        "weights (pair id)": manifest.pair_id,
        "size": f"{size_bytes:,} bytes",
        "exported for": PURPOSES[manifest.purpose],
        "input" if manifest.purpose != "decoder" else "a row": f"{row.dtype} {list(row.shape)} {row.layout}, {seen} "
        f"{row.low:g} to {row.high:g}",
        **({"sizes": free_size(manifest)} if manifest.free_size else {}),
        "condition" if condition is None else condition.role: "-"
        if condition is None
        else f"{condition.dtype} {list(condition.shape)}, {seen} {condition.low:g} to {condition.high:g}",
        "latent": f"{latent.kind} {list(latent.shape)}{groups}{codebook}{scaled}",
        "prior": f"{latent.prior.kind}: {latent.prior.source}",
        **({"fit": str(manifest.fit).removeprefix("fit ")} if manifest.fit else {}),
        **({"samples": str(manifest.samples)} if manifest.samples else {}),
        "output": f"{manifest.output.dtype} {list(manifest.output.shape)}",
        **(
            {
                "score": f"{weights}, likelihood {score.likelihood}, in {score.unit}",
                "heads": f"{heads} (the first is the default)" if len(score.heads) > 1 else heads,
            }
            if scores
            else {}
        ),
        "made with": ", ".join(f"{k} {v}" for k, v in manifest.made_with.items()),
        "telemetry": ", ".join(f"{engine} {state}" for engine, state in telemetry().items()),
    }
    longest = max(map(len, facts))
    for key, value in facts.items():
        _console.line(f"{key:<{longest}} {value}")
    if len(manifest.variants) > 1:
        _console.say("")
        _tables.variants(manifest.variants, {name: manifest.variant_bytes(name) for name in manifest.variants})
    if manifest.compression is not None:
        _console.say("")
        _tables.compression(manifest.compression)
    for name, variant in manifest.variants.items():
        _console.say("")
        _console.line(f"variant {name}")
        rows = [
            (
                key,
                f"{p.max_absolute:.2g}",
                f"{p.max_relative:.2g}",
                _tables.held(0, p.tolerance_relative)[0],
                p.reference,
            )
            for key, p in variant.parity.items()
        ]
        _console.table(("output", "max abs", "max rel", "tolerance", "against"), rows)
        if variant.calibration:
            by_head = {score.heads[0]: variant.calibration, **variant.channels}
            _tables.thresholds(score.default_head, by_head.pop(score.default_head), by_head)
