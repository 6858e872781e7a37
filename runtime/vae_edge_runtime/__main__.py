"""``python -m vae_edge_runtime``: info, verify and score on a device without typer.

Prints JSON (one document, or one line per row) on stdout; exit codes are those of ``vae-edge``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import Bundle, DataError, Status, VaeEdgeError, __version__, load, verify
from .manifest import Manifest

SCHEMA_VERSION = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m vae_edge_runtime", description=__doc__)
    parser.add_argument("--version", action="version", version=f"vae-edge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("info", "what a bundle holds; needs no engine"),
        ("verify", "hashes and golden vectors on this device"),
        ("score", "a line per row of an .npy file"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("bundle", help="a .vaeb file")
        if name != "info":
            command.add_argument("--device", default="cpu" if name == "verify" else "auto")
        if name == "score":
            command.add_argument("rows", help="an .npy file: (n, *row_shape) of the model's dtype")
    options = parser.parse_args(arguments)
    try:
        return int(_COMMANDS[options.command](options))
    except VaeEdgeError as error:
        _print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0


def _info(options: argparse.Namespace) -> int:
    with Bundle.open(options.bundle) as bundle:
        document = {"bundle_id": bundle.bundle_id, "size_bytes": bundle.size_bytes, "manifest": _plain(bundle.manifest)}
    _document("info", document)
    return 0


def _verify(options: argparse.Namespace) -> int:
    found = verify(options.bundle, device=options.device)
    _document("verify", found.to_dict())
    return 0 if found.ok else 1


def _score(options: argparse.Namespace) -> int:
    try:
        x = np.load(options.rows, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{options.rows} cannot be read as an .npy file: {error}") from error
    with load(options.bundle, device=options.device) as vae:
        scores = vae.score(x)
        _print(f"{options.bundle}: {vae.info}", file=sys.stderr)
    for i in range(len(scores)):
        ok = scores.status[i] == Status.OK
        row: dict[str, Any] = {"row": i, "score": float(scores.score[i]) if ok else None}
        if scores.threshold is not None:
            row["is_anomaly"] = bool(scores.is_anomaly[i]) if ok else None
        _print(json.dumps(row | {"status": Status(int(scores.status[i])).name.lower()}, allow_nan=False))
    return 0


def _plain(manifest: Manifest) -> Any:
    return json.loads(manifest.to_json())


def _document(command: str, document: dict[str, Any]) -> None:
    _print(json.dumps({"schema_version": SCHEMA_VERSION, "command": command, **document}, allow_nan=False))


def _print(text: str, *, file: Any = None) -> None:
    print(text, file=file)


_COMMANDS = {"info": _info, "verify": _verify, "score": _score}

if __name__ == "__main__":
    sys.exit(main())
