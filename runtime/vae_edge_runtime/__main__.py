"""``python -m vae_edge_runtime``: what a device without typer needs of ``vae-edge``.

Results go to stdout: one JSON document, or one line per row; the rest goes to stderr. Exit codes
are those of ``vae-edge``: 0 fine, 1 not verified, 2 bad usage or input, 3 something is missing on
this machine, 4 the engine failed, 70 a bug, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import Bundle, DataError, OptionError, StorageError, VaeEdgeError, __version__, load, verify
from .dependencies import telemetry
from .device.devices import help_text
from .device.doctor import findings, read_machine
from .format.schema import schema_text
from .scoring.score_table import score_columns, to_csv, to_rows
from .stdio import (
    DOCUMENT_VERSION,
    INTERNAL_ERROR,
    INTERRUPTED,
    OUT_OF_MEMORY,
    Ended,
    command_streams,
    end_as,
    in_options,
    interrupted,
    out_of_memory,
    write,
)
from .storage.files import is_compressed, refuse_existing, refuse_inputs, staged
from .text import printable

_ARGUMENTS = ("command", "bundle", "rows", "data")
"""Of a command line without an option before them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    code = 0
    try:
        with command_streams():
            code = _run(arguments)
    except Ended as ended:
        end_as(ended.number)
    except StorageError as error:  # what stdout did not keep; a failure before says more
        code = code or _say(error)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(_COMMANDS[options.command](options))
    except VaeEdgeError as error:
        return INTERRUPTED if interrupted() else _say(error, options)
    except KeyboardInterrupt:
        interrupted()
        return INTERRUPTED
    except MemoryError as error:
        write(sys.stderr, out_of_memory(error) + "\n")
        return OUT_OF_MEMORY
    except Exception:
        if interrupted():
            return INTERRUPTED
        asked = "this is a bug of vae-edge: please report it with the lines above\n"
        write(sys.stderr, printable(traceback.format_exc()) + asked)
        return INTERNAL_ERROR


def _say(error: VaeEdgeError, options: argparse.Namespace | None = None) -> int:
    flags = {
        name: f"--{name.replace('_', '-')}" for name in vars(options or argparse.Namespace()) if name not in _ARGUMENTS
    }
    write(sys.stderr, f"{type(error).__name__}: {in_options(str(error), flags)}\n")
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vae_edge_runtime", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"vae-edge {__version__}")
    parser.add_argument("--cflags", action=_Cflags, nargs=0, help="what a compiler needs for libvaeedge, and exit")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text, example in (
        ("info", "what a bundle or a .vaez file holds; needs no engine", "info pump.vaeb"),
        ("verify", "hashes and golden vectors on this device", "verify pump.vaeb --device cpu"),
        ("build", "TensorRT engines ahead of the first score", "build pump.vaeb --variant fp16"),
        ("score", "a line per row", "score pump.vaeb rows.npy --format csv > scores.csv"),
        ("compress", "rows to a .vaez file", "compress pump.vaeb rows.npy --bound 0.1 -o day.vaez"),
        ("decompress", "rows of a .vaez file", "decompress pump.vaeb day.vaez -o rows.npz"),
        ("doctor", "what this machine is, and what it lacks", "doctor"),
        ("selftest-gpu", "prove a GPU in a minute: the driver, then a bundle", "selftest-gpu pump.vaeb"),
        ("schema", "the JSON Schema of a bundle's manifest", "schema"),
    ):
        command = commands.add_parser(name, help=text, epilog=f"example: {parser.prog} {example}")
        if name not in ("schema", "doctor"):
            nargs = "?" if name == "selftest-gpu" else None
            command.add_argument("bundle", nargs=nargs, help="a .vaeb file")
        if name in ("verify", "score", "compress", "decompress"):
            command.add_argument(
                "--device", default="cpu" if name == "verify" else "auto", help=f"{help_text()}; default: %(default)s"
            )
            command.add_argument("--allow-fallback", action="store_true", help="run on the CPU if it is absent")
            command.add_argument("--threads", type=int, help="of one run; default: the engine's choice")
            command.add_argument("--isolate", action="store_true", help="the engine in a process of its own")
            command.add_argument("--deadline", type=float, help="seconds of one run; needs --isolate")
            command.add_argument("--max-memory", type=int, help="bytes of the engine; needs --isolate and Linux")
        if name == "build":
            command.add_argument("--variant", default="auto", help="auto, a precision in the bundle, or all")
            command.add_argument("--max-batch", type=int, default=64, help="most rows of one run; default: %(default)s")
        if name in ("score", "compress"):
            command.add_argument(
                "rows", help="(n, *row_shape) of the model's dtype: .npy, or x of an .npz (and its condition)"
            )
        if name in ("compress", "decompress"):
            endings = ".vaez" if name == "compress" else ".npy (rows alone) or .npz (all that was sent)"
            command.add_argument("-o", "--output", required=True, help=f"the {endings} file to write")
            command.add_argument("--force", action="store_true", help="replace an existing output")
        if name == "compress":
            command.add_argument("--bound", help="a bound of the bundle, such as 0.1 or 2u")
            for option, text in COMPRESS_FLAGS.items():
                command.add_argument(f"--{option}", action="store_true", help=text)
        if name == "decompress":
            command.add_argument("data", help="a .vaez file")
            command.add_argument(
                "--allow-torn", action="store_true", help="take the whole blocks of an unfinished file"
            )
        if name == "score":
            command.add_argument("--heads", default="", help="further heads, comma separated, or all")
            command.add_argument("--threshold", type=float, help="of the default head, instead of the calibrated one")
            command.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="default: %(default)s")
    return parser


class _Cflags(argparse.Action):
    """Print the flags and sources of libvaeedge: ``g++ app.cpp $(python -m vae_edge_runtime --cflags)``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        here = Path(__file__).parent
        folder = next(
            (f for f in (here / "cpp", here.parent / "cpp") if (f / "include" / "vae_edge.h").is_file()), None
        )
        if folder is None:
            raise DataError("the sources of libvaeedge are not beside this runtime: install the wheel of vae-edge")
        sources = [str(path) for path in sorted((folder / "src").glob("*.cpp"))]
        flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-pthread", f"-I{folder / 'include'}"]
        write(sys.stdout, shlex.join([*flags, *sources, "-ldl"]) + "\n")
        parser.exit()


COMPRESS_FLAGS = {
    "exact": "rows come back equal",
    "latents": "rows come back as the model rebuilds them: no single value is promised, and an anomaly is lost",
    "triage": "rows that are no anomaly go as latents, with score and p-value",
    "scores": "send the score of each row along; with --triage it always goes",
}


def _compress(options: argparse.Namespace) -> int:
    from .codec.writer import compress_rows  # not at the top: nobody else pays for it at start

    target = refuse_existing(options.output, force=options.force)
    refuse_inputs(target, [options.bundle, options.rows])
    x, condition = _rows(Path(options.rows))
    with load(options.bundle, **_engine(options)) as vae:
        wish = {name: getattr(options, name) for name in ("bound", "exact", "latents", "triage")}
        with staged(target, replace=options.force) as new:
            size_bytes = compress_rows(vae, Path(new.path), x, condition, scores=options.scores or None, **wish)
    summary = {"rows": len(x), "raw_bytes": x.nbytes, "size_bytes": size_bytes}
    _document("compress", {"path": options.bundle, "output": options.output, **summary})
    return 0


def _decompress(options: argparse.Namespace) -> int:
    from .codec.unpacked import Counted, write_array_file  # not at the top: nobody else pays for it at start

    target = refuse_existing(options.output, force=options.force)
    if target.suffix not in (".npy", ".npz"):
        raise OptionError(f"{target} ends with none of .npy, .npz: the ending chooses the format")
    refuse_inputs(target, [options.bundle, options.data])
    with (
        load(options.bundle, **_engine(options)) as vae,
        vae.decompress_file(options.data, allow_torn=options.allow_torn) as blocks,
    ):
        counted = Counted(blocks)
        write_array_file(target, counted, replace=options.force)
        complete, torn_bytes = blocks.frames.complete, blocks.frames.torn_bytes
    if not complete:
        write(sys.stderr, f"{options.data} has no end mark; {torn_bytes} bytes of a torn block were dropped\n")
    summary = {"rows": counted.rows, "complete": complete, "torn_bytes": torn_bytes}
    _document("decompress", {"path": options.bundle, "output": options.output, **summary})
    return 0


def _info(options: argparse.Namespace) -> int:
    if is_compressed(options.bundle):
        from .codec.container import described  # not at the top: nobody else pays for it at start

        _document("info", {"path": options.bundle, **described(options.bundle)})
        return 0
    with Bundle.open(options.bundle) as bundle:
        manifest = json.loads(bundle.manifest.to_json())
        document = {"bundle_id": bundle.bundle_id, "size_bytes": bundle.size_bytes, "manifest": manifest}
    document["telemetry"] = telemetry()
    _document("info", {"path": options.bundle, **document})
    return 0


def _verify(options: argparse.Namespace) -> int:
    verification = verify(options.bundle, **_engine(options))
    _document("verify", verification.to_dict())
    return 0 if verification.ok else 1


def _build(options: argparse.Namespace) -> int:
    from .backends.tensorrt import BuildOptions, prepare_engines  # not at the top: nobody else pays for it at start

    wanted = BuildOptions(max_batch=options.max_batch)
    prepared = prepare_engines(options.bundle, variant=options.variant, options=wanted)
    _document("build", {"path": options.bundle, **prepared.to_dict()})
    return 0


def _score(options: argparse.Namespace) -> int:
    x, condition = _rows(Path(options.rows))
    with load(options.bundle, **_engine(options)) as vae:
        write(sys.stderr, printable(f"{options.bundle}: {vae.info}", one_line=True) + "\n")
        heads = vae.heads if options.heads == "all" else tuple(filter(None, options.heads.split(",")))
        scores = vae.score(x, condition=condition, heads=heads, threshold=options.threshold)
    columns = score_columns([str(i) for i in range(len(scores))], scores)
    if options.format == "csv":
        write(sys.stdout, to_csv(columns))
    else:
        write(sys.stdout, "".join(json.dumps(row, allow_nan=False) + "\n" for row in to_rows(columns)))
    return 0


def _engine(options: argparse.Namespace) -> dict[str, Any]:
    """What ``load`` and ``verify`` are told about the engine."""
    if (options.deadline is not None or options.max_memory is not None) and not options.isolate:
        raise OptionError("--deadline and --max-memory need --isolate: an engine is stopped by ending its process")
    return {
        "device": options.device,
        "allow_fallback": options.allow_fallback,
        "threads": options.threads,
        "isolate": options.isolate,
        "deadline_s": options.deadline,
        "memory_bytes": options.max_memory,
    }


def _rows(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Rows, and the ``condition`` of an .npz where it holds one."""
    from .storage.array_files import array_of, is_npy, key_of, mapped_array, open_npz  # not at the top: for score alone

    if is_npy(path):
        return mapped_array(path), None
    with open_npz(path) as arrays:
        condition = array_of(path, arrays, "condition") if "condition" in arrays.files else None
        return array_of(path, arrays, key_of(path, arrays, ("x", "X"))), condition


def _doctor(_: argparse.Namespace) -> int:
    readings = read_machine()
    listed = findings(readings)
    _document("doctor", {"findings": [f.to_dict() for f in listed], "readings": readings.to_dict()})
    return 3 if any(finding.level == "error" for finding in listed) else 0


def _selftest_gpu(options: argparse.Namespace) -> int:
    from .gpu_selftest import Step, run_selftest  # not at the top: nobody else pays for it at start

    def tell(step: Step) -> None:
        write(sys.stderr, f"{step}\n")

    report = run_selftest(options.bundle, tell=tell)
    steps = [asdict(step) for step in report.steps]
    _document("selftest-gpu", {"ok": report.ok, "device": asdict(report.device), "steps": steps, "line": report.line})
    write(sys.stderr, f"for docs/verified-on.md:\n{report.line}\n")
    return 0 if report.ok else 1


def _schema(_: argparse.Namespace) -> int:
    write(sys.stdout, schema_text())
    return 0


def _document(command: str, document: dict[str, Any]) -> None:
    text = json.dumps({"schema_version": DOCUMENT_VERSION, "command": command, **document}, allow_nan=False)
    write(sys.stdout, text + "\n")


_COMMANDS = {
    "info": _info,
    "verify": _verify,
    "build": _build,
    "compress": _compress,
    "decompress": _decompress,
    "score": _score,
    "doctor": _doctor,
    "selftest-gpu": _selftest_gpu,
    "schema": _schema,
}

if __name__ == "__main__":
    sys.exit(main())
