"""Cold starts: what a new process needs until its first score, and its peak memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vae_edge_runtime
from vae_edge_runtime.errors import BackendError
from vae_edge_runtime.storage.files import write_atomic

_TIMEOUT_SECONDS = 300.0
_RUNTIME_FOLDER = str(Path(vae_edge_runtime.__file__).parents[1])


@dataclass(frozen=True)
class ColdStart:
    """Fresh processes of one variant on one device: medians in seconds, with the files in the page cache.

    Attributes:
        total_s: from starting the interpreter to the first score. import_s, load_s, first_s: parts of it.
        peak_rss_bytes: largest resident set of any of them; None where the system does not say.
    """

    processes: int
    total_s: float
    import_s: float
    load_s: float
    first_s: float
    peak_rss_bytes: int | None


@dataclass(frozen=True)
class Start:
    """What to start: one variant on one device."""

    variant: str
    device: str
    threads: int | None


def cold_starts(
    bundle: Path,
    starts: Sequence[Start],
    x: NDArray[Any],
    condition: NDArray[Any] | None,
    *,
    processes: int,
    isolation: Mapping[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[], object] = lambda: None,
) -> dict[Start, ColdStart]:
    """Start each in ``processes`` fresh processes, in turn, after one of each that is dropped.

    Args:
        bundle: the file.
        starts: what to start.
        x, condition: one row (1, ...), and its condition.
        processes: counted ones per start; at least 1.
        isolation: of ``load``, for an engine in a process of its own.
        clock: seconds.
        progress: called after each process.

    Raises:
        BackendError: a process failed, or took longer than 300 s.
    """
    by_start: dict[Start, list[dict[str, Any]]] = {start: [] for start in starts}
    with tempfile.TemporaryDirectory(prefix="vae-edge-bench-") as folder:
        rows = Path(folder) / "row.npz"
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"x": x} if condition is None else {"x": x, "condition": condition}
        np.savez(buffer, **arrays)
        write_atomic(rows, [buffer.getvalue()])
        for i in range(processes + 1):
            for start in starts:
                figures = _one(bundle, rows, start, isolation or {}, clock)
                if i:
                    by_start[start].append(figures)
                progress()
    return {start: _summary(figures) for start, figures in by_start.items()}


def _one(
    bundle: Path, rows: Path, start: Start, isolation: Mapping[str, Any], clock: Callable[[], float]
) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("child.py")), _RUNTIME_FOLDER, str(bundle), str(rows),
               start.variant, start.device, str(start.threads or 0), json.dumps(dict(isolation))]  # fmt: skip
    begin = clock()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        overdue = threading.Timer(_TIMEOUT_SECONDS, process.kill)
        overdue.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            total = clock() - begin  # leaving the process is no part of a start
            _, stderr = process.communicate()
        except BaseException:
            process.kill()
            raise
        finally:
            overdue.cancel()
    if process.returncode or not line:
        last = stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise BackendError(f"a fresh process of {start} ended with {process.returncode} before its score: {last[0]}")
    figures: dict[str, Any] = json.loads(line)
    return {**figures, "total_s": total}


def _summary(figures: list[dict[str, Any]]) -> ColdStart:
    peaks = [f["peak_bytes"] for f in figures if f["peak_bytes"] is not None]
    total, imported, loaded, first = (
        float(np.median([f[name] for f in figures])) for name in ("total_s", "import_s", "load_s", "first_s")
    )
    return ColdStart(len(figures), total, imported, loaded, first, max(peaks) if peaks else None)
