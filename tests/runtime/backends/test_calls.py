"""The end of an interpreter beside threads that score: exit code 0, not a word, and no call cut in two."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vae_edge_runtime import SessionClosed
from vae_edge_runtime.backends.calls import Calls

TABLE = Path(__file__).parents[2] / "corpus" / "v1-table.vaeb"
BEGIN = """
import atexit, sys, threading, time
import numpy as np
from vae_edge_runtime import load
x = np.zeros((int(sys.argv[2]), 6), np.float32)
atexit.register(lambda: print(vae.score(x[:1]).score.shape))  # runs last, on the thread that ends
vae = load(sys.argv[1], device=sys.argv[3], threads=1)
begun = threading.Barrier(5)

def work():
    vae.score(x[:1])
    begun.wait()
    while True:
        vae.score(x)

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep(0.05)
"""


@pytest.mark.parametrize("rows", [1, 200_000])
@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_an_interpreter_ends_beside_daemon_threads_that_score(device: str, rows: int) -> None:
    pytest.importorskip({"cpu": "onnxruntime"}.get(device, device))
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, str(TABLE), str(rows), device], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1,)\n", "")


def test_close_waits_for_the_calls_that_run_and_frees_once_they_are_over() -> None:
    calls, seen, began = Calls(object()), [], threading.Event()  # type: ignore[arg-type]

    def slow() -> None:
        with calls:
            began.set()
            time.sleep(0.1)
            seen.append("call")

    worker = threading.Thread(target=slow)
    worker.start()
    began.wait()
    calls.close(lambda: seen.append("free"))
    worker.join()
    assert seen == ["call", "free"]
    with pytest.raises(SessionClosed, match="closed: call load"), calls:
        pass


def test_the_end_of_an_interpreter_waits_for_a_call_no_longer_than_it_says(monkeypatch: Any) -> None:
    monkeypatch.setattr("vae_edge_runtime.backends.calls.LONGEST_WAIT_S", 0.05)
    calls = Calls(object())  # type: ignore[arg-type]
    calls.__enter__()
    start = time.monotonic()
    calls.end()
    assert 0.04 < time.monotonic() - start < 5
    calls.__exit__()
