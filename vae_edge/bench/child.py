"""A fresh process up to its first score: imports, load, one row. Run by path; the figures go to stdout as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(runtime: str, bundle: str, rows: str, variant: str, device: str, threads: str, isolation: str) -> None:
    """Score the first row of an .npz once, by the runtime in the folder ``runtime``."""
    start = time.perf_counter()
    sys.path[0] = runtime  # the folder of this file must shadow nothing
    import numpy as np

    from vae_edge_runtime import load

    imported = time.perf_counter()
    with np.load(rows, allow_pickle=False) as file:
        x, condition = file["x"], file["condition"] if "condition" in file.files else None
    how = json.loads(isolation)
    with load(bundle, device=device, variant=variant, threads=int(threads) or None, **how) as vae:
        loaded = time.perf_counter()
        score = float(vae.score(x, condition=condition).score[0])
        scored = time.perf_counter()
        seconds = {"import_s": imported - start, "load_s": loaded - imported, "first_s": scored - loaded}
        from vae_edge_runtime.stdio import write  # behind the figures: a device does not import it

        write(sys.stdout, json.dumps({**seconds, "score": repr(score), "peak_bytes": peak_bytes()}) + "\n")


def peak_bytes() -> int | None:
    """Largest resident set of this process; None where the system does not say.

    VmHWM on Linux: ru_maxrss keeps the parent's peak from before exec (measured: 513 MiB for a child of
    13 MB). ru_maxrss elsewhere: bytes on macOS, kilobytes on the BSDs.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
