"""What a program may do wrong, and what many threads do at once: an error with a message, and never a crash."""

from __future__ import annotations

import ctypes as c
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import ROOT
from c_runtime import Array, CRuntime, Options, Scores, as_array
from runner import Refused
from tiny_bundle import TinyBundle

from vae_edge_runtime import Bundle

CORPUS = ROOT / "tests" / "corpus"
TABLE = CORPUS / "v1-gaussian.vaeb"


def refused(runtime: CRuntime, name: str, *arguments: Any) -> str:
    """The error of a call, which must have one, and a message."""
    with pytest.raises(Refused) as error:
        runtime.library.call(name, *arguments)
    assert runtime.library.message()
    return error.value.name


@pytest.mark.parametrize(("key", "said"), [("purpose", "exported for generation"), ("role", "masks or targets")])
def test_what_this_library_does_not_run_is_refused_by_name(
    runtime: CRuntime, key: str, said: str, tiny: TinyBundle
) -> None:
    plain = tiny.plain
    if key == "purpose":
        plain["purpose"] = "generation"
    else:
        plain["condition"] = {"shape": [4], "dtype": "float32", "low": 0.0, "high": 1.0, "role": "mask"}
    assert refused(runtime, "check", str(tiny.write(plain)).encode(), None) == "OptionError"
    assert said in runtime.library.message()


def test_null_is_an_error_everywhere(runtime: CRuntime) -> None:
    session = c.c_void_p()
    assert refused(runtime, "open", None, None, c.byref(session)) == "OptionError"
    assert refused(runtime, "open", b"pump.vaeb", None, None) == "OptionError"
    assert refused(runtime, "check", None, None) == "OptionError"
    assert refused(runtime, "verify", None, None, None) == "OptionError"
    for name in ("score", "decode", "stream_open", "threshold_for", "latents"):
        assert refused(runtime, name, *[None] * 8) == "OptionError"
    assert refused(runtime, "stream_push", None, None, None) == "OptionError"
    assert refused(runtime, "noise", c.c_uint64(1), c.c_uint64(0), c.c_size_t(4), None) == "OptionError"
    assert runtime.library.c.vaee_stream_next(None, None) == 0
    assert not runtime.library.c.vaee_get_info(None)
    for name in ("close", "stream_close", "alarm_close"):
        getattr(runtime.library.c, f"vaee_{name}")(None)
    with runtime.session(TABLE) as (own, info):
        out, x = Scores(), np.zeros((1, *info.input.tuple), np.float32)
        assert refused(runtime, "score", own, None, None, c.byref(out)) == "InputError"
        assert refused(runtime, "score", own, as_array(x), None, None) == "OptionError"
        empty = Array(None, 1, 2, (c.c_int64 * 8)(1, *info.input.tuple))
        assert refused(runtime, "score", own, c.byref(empty), None, c.byref(out)) == "InputError"
        out.heads = 3
        assert refused(runtime, "score", own, as_array(x), None, c.byref(out)) == "OptionError"
        assert refused(runtime, "decode", own, as_array(np.zeros((1, *info.latent.tuple), np.float32)), None, None) == (
            "OptionError"
        )
    runtime.library.call("check", str(TABLE).encode(), None)  # and the library still works


@pytest.mark.parametrize("shape", [(), (6,), (1, 5), (1, 7), (1, 6, 1), (-1, 6), (1 << 62, 6), (1 << 40, 6)])
def test_shapes_that_do_not_fit_are_input_errors(shape: tuple[int, ...], runtime: CRuntime) -> None:
    data, out = np.zeros(64, np.float32), Scores()
    with runtime.session(TABLE) as (session, info):
        shape = tuple(info.input.tuple[0] if n == 6 else n for n in shape)
        array = Array(data.ctypes.data, 1, len(shape), (c.c_int64 * 8)(*shape))
        if shape == (1 << 40, *info.input.tuple):
            array.data = None  # so many rows are refused before anything is read
        assert refused(runtime, "score", session, c.byref(array), None, c.byref(out)) == "InputError"


def test_a_row_that_is_not_finite_changes_no_row_beside_it(runtime: CRuntime) -> None:
    rng = np.random.default_rng(0)
    with runtime.session(TABLE) as (session, info):
        x = rng.normal(size=(200, *info.input.tuple)).astype(np.float32)
        good = runtime.scores(session, info, x)
        bad = x.copy()
        bad[::7] = np.nan
        bad[1::7, 0] = np.inf
        spoilt = runtime.scores(session, info, bad)
    marked = np.isin(np.arange(200) % 7, (0, 1))
    np.testing.assert_array_equal(spoilt["status"], marked.astype(int))
    head = spoilt["heads"]["elbo"]
    assert np.isnan(head["score"][marked]).all()
    assert np.isnan(head["p_value"][marked]).all()
    assert not head["is_anomaly"][marked].any()
    np.testing.assert_array_equal(head["score"][~marked], good["heads"]["elbo"]["score"][~marked])


def test_eight_threads_on_one_session_get_their_own_answers(runtime: CRuntime) -> None:
    rng = np.random.default_rng(1)
    wrong: list[str] = []
    with runtime.session(CORPUS / "v1-table.vaeb") as (session, info):
        rows = [rng.normal(size=(1 + 13 * i, *info.input.tuple)).astype(np.float32) for i in range(8)]
        alone = [runtime.scores(session, info, x, heads="all")["heads"] for x in rows]

        def work(i: int) -> None:
            for _ in range(10):
                together = runtime.scores(session, info, rows[i], heads="all")["heads"]
                for head, result in together.items():
                    if not np.array_equal(result["score"], alone[i][head]["score"], equal_nan=True):
                        wrong.append(f"{head} of thread {i}")

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_eight_threads_that_open_at_once(runtime: CRuntime) -> None:
    """All graphs of all sessions are made and run for the first time side by side."""
    errors: list[str] = []

    def work(path: Path) -> None:
        try:
            assert runtime.verify(path)["ok"]
        except (Refused, AssertionError) as error:
            errors.append(f"{path.name}: {error}")

    paths = sorted(CORPUS.glob("*.vaeb"))[:4] * 2
    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_file_that_claims_a_gigabyte_takes_no_memory(runtime: CRuntime, tmp_path: Path) -> None:
    path = tmp_path / "large.vaeb"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert refused(runtime, "check", str(path).encode(), None) == "BundleCorrupt"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    assert refused(runtime, "check", str(path).encode(), None) == "BundleInvalid"


@pytest.mark.parametrize(
    ("name", "error"), [("absent", "BundleError"), ("folder", "BundleInvalid"), ("fifo", "BundleInvalid")]
)
def test_what_is_no_file_is_refused_at_once(name: str, error: str, runtime: CRuntime, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    assert refused(runtime, "check", str(tmp_path / name).encode(), None) == error


def test_an_onnxruntime_that_is_absent_no_library_or_too_old(runtime: CRuntime, cxx: str, tmp_path: Path) -> None:
    def opened(library: Path) -> str:
        session = c.c_void_p()
        options = Options(None, str(library).encode(), 1)
        return refused(runtime, "open", str(TABLE).encode(), c.byref(options), c.byref(session))

    assert opened(tmp_path / "libonnxruntime.so") == "MissingDependency"
    assert "VAE_EDGE_ONNXRUNTIME" in runtime.library.message()
    (tmp_path / "text.so").write_text("no library")
    assert opened(tmp_path / "text.so") == "MissingDependency"
    for name, source, error in (
        ("stranger", "int other;", "MissingDependency"),
        ("old", 'extern "C" { static const void* get(unsigned v) { return v > 16 ? nullptr : "api"; } '
                'static const char* version() { return "1.16.3"; } '
                "struct Base { const void* (*api)(unsigned); const char* (*version)(); }; "
                "const Base* OrtGetApiBase() { static const Base base = {get, version}; return &base; } }",
         "ProviderUnavailable"),
    ):  # fmt: skip
        (tmp_path / f"{name}.cpp").write_text(source)
        library = tmp_path / f"{name}.so"
        subprocess.run([cxx, "-shared", "-fPIC", str(tmp_path / f"{name}.cpp"), "-o", str(library)], check=True)
        assert opened(library) == error
    assert "1.16.3 is too old" in runtime.library.message()


def test_a_forked_child_is_refused(runtime: CRuntime) -> None:
    program = """
import os, sys
import numpy as np
from pathlib import Path
from c_runtime import CRuntime, Refused
runtime = CRuntime(Path(sys.argv[1]), Path(sys.argv[2]))
with runtime.session(Path(sys.argv[3])) as (session, info):
    x = np.zeros((1, *info.input.tuple), np.float32)
    runtime.scores(session, info, x)
    child = os.fork()
    if child == 0:
        try:
            runtime.scores(session, info, x)
        except Refused as error:
            os._exit(7 if error.name == "SessionClosed" else 8)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    path = os.pathsep.join([*sys.path, str(ROOT / "tests" / "cpp")])
    library = runtime.library.c._name
    onnxruntime = runtime.options().onnxruntime.decode()
    run = [sys.executable, "-W", "ignore", "-c", program, library, onnxruntime, str(TABLE)]
    done = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert done.stdout.strip() == "7"


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_stream_does_not_depend_on_how_it_is_cut(block: int, runtime: CRuntime) -> None:
    rng = np.random.default_rng(2)
    with Bundle.open(CORPUS / "v1-window.vaeb") as bundle:
        assert bundle.manifest.stream is not None
        rules = bundle.manifest.stream.guard
        low, high, period_s = np.array(rules.low), np.array(rules.high), rules.period_s or 1.0
    rows = rng.uniform(low, high, (60, len(low))).astype(np.float32)
    rows[30, 0] = np.nan
    times = np.arange(60.0) * period_s
    whole = runtime.stream(CORPUS / "v1-window.vaeb", rows, times)["events"]
    parts = runtime.stream(CORPUS / "v1-window.vaeb", rows, times, block=block)["events"]
    assert len(whole) >= 2
    for ours, theirs in zip(whole, parts, strict=True):
        scores = ours.pop("score"), theirs.pop("score")
        assert scores == (None, None) or scores[0] == pytest.approx(scores[1], rel=1e-5)
        assert ours == theirs
    assert any(event["status"] == "ok" for event in whole)
    assert any(event["status"] == "invalid_input" for event in whole)


def test_messages_hold_nothing_that_a_terminal_obeys(runtime: CRuntime, tmp_path: Path) -> None:
    assert refused(runtime, "check", str(tmp_path / "\x1b[2Jx").encode(), None) == "BundleError"
    assert "\x1b" not in runtime.library.message()
