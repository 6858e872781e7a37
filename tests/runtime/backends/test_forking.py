"""A forked child beside a busy parent: it computes, or is told in one line why it cannot, and never hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from vae_edge_runtime import load
from vae_edge_runtime.backends.forking import ForkGate
from vae_edge_runtime.errors import BackendError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
TABLE = Path(__file__).parents[2] / "corpus" / "v1-table.vaeb"
REFUSED = 17


def forked(run: Callable[[], object], longest_s: float = 60.0) -> int | None:
    """Exit code of a child that runs this: 0, ``REFUSED`` by a ``BackendError``; None where it hung."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            run()
        except BackendError:
            os._exit(REFUSED)
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + longest_s
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


@contextmanager
def busy(run: Callable[[], object], threads: int = 2) -> Iterator[None]:
    """Threads that call this all the time; each has begun."""
    over, begun = threading.Event(), threading.Barrier(threads + 1)

    def work() -> None:
        run()
        begun.wait()
        while not over.is_set():
            run()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        begun.wait()
        yield
    finally:
        over.set()
        for worker in workers:
            worker.join()


def test_a_fork_waits_for_the_calls_of_busy_threads() -> None:
    gate, inside = ForkGate("a toy"), []

    def call() -> None:
        with gate:
            inside.append(1)
            time.sleep(0.002)
            inside.pop()

    def look() -> None:
        assert inside == []
        call()

    with busy(call):
        assert [forked(look) for _ in range(10)] == [0] * 10


def test_a_child_of_a_fork_in_the_middle_of_a_call_is_refused_and_the_parent_goes_on() -> None:
    gate = ForkGate("a toy", longest_wait_s=0.05)

    def call() -> None:
        with gate:
            pass

    def slow() -> None:
        with gate:
            began.set()
            over.wait()

    began, over = threading.Event(), threading.Event()
    worker = threading.Thread(target=slow)
    worker.start()
    began.wait()
    start = time.monotonic()
    assert forked(call) == REFUSED
    assert time.monotonic() - start < 30
    over.set()
    worker.join()
    call()
    assert forked(call) == 0


def test_children_of_a_process_that_computes_with_openvino_open_sessions_of_their_own() -> None:
    pytest.importorskip("openvino")
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)

    def own() -> None:
        with load(TABLE, device="openvino", threads=1) as child:
            np.testing.assert_array_equal(child.score(x).score, wanted)

    with load(TABLE, device="openvino", threads=1) as vae:
        wanted = vae.score(x).score
        with busy(lambda: vae.score(x)):
            assert [forked(own) for _ in range(8)] == [0] * 8


INHERITED = """
import os, signal, sys, warnings
import numpy as np
from vae_edge_runtime import load
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside threads
path, device, how = sys.argv[1:]
x = np.zeros((4, 6), np.float32)
vae = load(path, device=device, threads=4)
wanted = vae.score(x).score.tolist()
child = os.fork()
if child:
    signal.alarm(60)  # a child that hangs is an error of this process, too
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), vae.score(x).score.tolist() == wanted)
elif how == "loads anew":
    vae = load(path, device=device, threads=4)
    sys.exit(0 if vae.score(x).score.tolist() == wanted else 1)
elif how == "closes":
    vae.close()
    del vae
# how == "ends": the interpreter of the child ends with the session of its parent
"""


@pytest.mark.parametrize("how", ["ends", "closes", "loads anew"])
@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_child_outlives_the_engine_that_it_inherited(device: str, how: str) -> None:
    pytest.importorskip({"cpu": "onnxruntime"}.get(device, device))
    done = subprocess.run(
        [sys.executable, "-c", INHERITED, str(TABLE), device, how], capture_output=True, text=True, timeout=100
    )
    assert (done.stdout.split(), done.stderr) == (["0", "True"], "")
