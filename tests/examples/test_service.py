"""examples/service on a real server: 50 requests at once, a loop that beats on, a shutdown that drops none."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import FEATURES, TinyBundle

from vae_edge_runtime import load

pytest.importorskip("fastapi")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "service"
ROWS = np.random.default_rng(0).normal(size=(50, 3, FEATURES)).astype(np.float32)


@pytest.fixture
def module(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VAE_EDGE_BUNDLE", str(tiny_path))
    spec = importlib.util.spec_from_file_location("service_app", FOLDER / "app.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "service_app", loaded)
    spec.loader.exec_module(loaded)
    return loaded


async def _ask(app: Any, path: str, body: Any = None) -> tuple[int, Any]:
    """One request to an ASGI app, without a network: status and JSON."""
    sent: list[dict[str, Any]] = []
    content = b"" if body is None else json.dumps(body).encode()
    messages = iter([{"type": "http.request", "body": content}])

    async def receive() -> dict[str, Any]:
        try:
            return next(messages)
        except StopIteration:
            await asyncio.Event().wait()
            raise

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET" if body is None else "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


def test_fifty_requests_at_once_leave_the_loop_beating(module: Any) -> None:
    """Each call of the engine ends only when the loop has beaten 5 times meanwhile: a blocked loop never ends it."""
    beats_during: list[int] = []

    async def everything() -> list[tuple[int, Any]]:
        async with module.lifespan(module.app):
            service, beats, wake = module.app.state.service, 0, threading.Condition()
            real = service.vae.score

            def slow(*args: Any, **options: Any) -> Any:
                with wake:
                    first = beats
                    enough = wake.wait_for(lambda: beats >= first + 5, timeout=20)
                    beats_during.append(beats - first)
                assert enough, "the event loop stood still while the engine ran"
                return real(*args, **options)

            service.vae.score = slow

            async def heart() -> None:
                nonlocal beats
                while True:
                    await asyncio.sleep(0.001)
                    with wake:
                        beats += 1
                        wake.notify_all()

            beating = asyncio.create_task(heart())
            answers = await asyncio.gather(*(_ask(module.app, "/score", {"rows": x.tolist()}) for x in ROWS))
            beating.cancel()
            return answers

    answers = asyncio.run(everything())
    assert len(beats_during) == 50
    assert min(beats_during) >= 5
    with load(os.environ["VAE_EDGE_BUNDLE"], device="cpu", threads=1) as vae:
        for x, (status, answer) in zip(ROWS, answers, strict=True):
            assert status == 200
            np.testing.assert_allclose(answer["score"], vae.score(x).score, rtol=1e-6)  # each gets its own rows


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([[1, 2, 3, 4]], 200, None),
        ([[1, None, 3, 4]], 200, "non_finite_input"),
        ([[1, 1e300, 3, 4]], 200, "non_finite_input"),
        ([[1, 2, 3]], 422, "the model takes 4 columns; the rows have 3"),
        ([[1, 2, 3], [1, 2]], 422, "not numbers of the shape (n, 4)"),
        ([["1", "2", "3", "4"]], 422, "not numbers of the shape"),
        ([["1", None, 3, 4]], 422, "not numbers of the shape"),
        ([{"a": 1}], 422, "not numbers of the shape"),
        ([], 422, "at least 1 item"),
        ("text", 422, "valid list"),
    ],
)
def test_rows_are_scored_or_refused_with_the_reason(module: Any, rows: Any, status: int, said: str | None) -> None:
    async def ask() -> tuple[int, Any]:
        async with module.lifespan(module.app):
            return await _ask(module.app, "/score", {"rows": rows})

    answered, answer = asyncio.run(ask())
    assert answered == status
    assert said is None or said in json.dumps(answer)


def test_more_requests_than_may_wait_are_refused_at_once(module: Any) -> None:
    async def ask() -> list[tuple[int, Any]]:
        async with module.lifespan(module.app):
            module.MOST_WAITING = 8
            return await asyncio.gather(*(_ask(module.app, "/score", {"rows": x.tolist()}) for x in ROWS))

    statuses = [status for status, _ in asyncio.run(ask())]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 8


def test_health_is_503_where_golden_vectors_fail(
    tiny: TinyBundle, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> tuple[int, Any]:
        async with module.lifespan(module.app):
            return await _ask(module.app, "/health")

    status, answer = asyncio.run(ask())
    assert (status, answer["ok"], len(answer["golden"])) == (200, True, 4)
    wrong = np.zeros(2, "<f4").tobytes()
    tiny.write(tiny.replace_member("golden/fp32.score.score.bin", wrong))
    status, answer = asyncio.run(ask())
    assert (status, answer["ok"], answer["golden"]["fp32/score.score"]) == (503, False, False)


@contextmanager
def _server(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^VAE_EDGE_BUNDLE=pump.vaeb uvicorn (.*)$", readme, flags=re.MULTILINE)
    command = [sys.executable, "-m", "uvicorn", *shlex.split(shown), "--port", str(port)]
    environment = {**os.environ, "VAE_EDGE_BUNDLE": str(bundle)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    try:
        for _ in range(600):
            try:
                _post(port, None)
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.05)
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _post(port: int, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if body is None:
            connection.request("GET", "/health")
        else:
            connection.request("POST", "/score", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _status(future: Future[tuple[int, Any]]) -> int:
    """Of an answer; 0 where the server had not read the request before it shut down."""
    try:
        return future.result()[0]
    except ConnectionError:
        return 0


@pytest.mark.slow
def test_a_real_server_answers_fifty_at_once_and_what_it_has_at_sigterm(tiny_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with _server(tiny_path) as (process, port), ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda x: _post(port, {"rows": x.tolist()}), ROWS))
        assert [status for status, _ in answers] == [200] * 50
        assert _post(port, None)[1]["ok"] is True
        many = np.tile(ROWS[0], (1000, 1)).tolist()
        started = [pool.submit(_post, port, {"rows": many}) for _ in range(16)]
        while (waiting := _post(port, None)[1]["waiting"]) < 2:
            assert not all(future.done() for future in started)
        process.send_signal(signal.SIGTERM)
        statuses = [_status(future) for future in started]
        assert set(statuses) <= {0, 200}
        assert statuses.count(200) >= waiting  # all that the server had taken in
        process.wait(30)
        assert process.stderr is not None
        assert "Application shutdown complete" in process.stderr.read()
