"""A service around one bundle: scores over HTTP, health proven by golden vectors, a shutdown that drops nothing.

VAE_EDGE_BUNDLE=pump.vaeb uvicorn --app-dir examples/service app:app --timeout-graceful-shutdown 30
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

from vae_edge_runtime import VAE, InputError, VaeEdgeError, load, verify

LOG = logging.getLogger("service")
MOST_ROWS = 4096
"""Of one request; a client with more sends several."""
MOST_WAITING = 256
"""Requests that score or wait to. More are refused with 503 at once, so that no client waits for minutes."""
AT_ONCE = 2
"""Requests that score at the same time. The engine takes cores of its own, so more of them only wait for each other."""


class Rows(BaseModel):
    """A request: rows in data units, each of the shape that the bundle takes; null is a missing value."""

    rows: list[Any] = Field(min_length=1, max_length=MOST_ROWS)
    threshold: float | None = None


class Service:
    """What the requests share."""

    def __init__(self, path: str) -> None:
        self.vae: VAE = load(path, threads=1)
        self.golden = verify(path)
        self.waiting = 0
        self.free = asyncio.Semaphore(AT_ONCE)

    def score(self, request: Rows) -> dict[str, Any]:
        """Runs in a thread: the engine lets go of Python's lock, and the event loop goes on."""
        return self.vae.score(self._rows(request.rows), threshold=request.threshold).to_dict()

    def _rows(self, rows: list[Any]) -> np.ndarray:
        spec = self.vae.manifest.input
        wrong = InputError(f"rows are not numbers of the shape (n, {', '.join(map(str, spec.shape))})")
        try:
            x = np.array(rows)
            if x.dtype == object and all(value is None or isinstance(value, (int, float)) for value in x.flat):
                x = x.astype(np.float64)  # None becomes NaN
        except (ValueError, OverflowError) as error:
            raise wrong from error
        if x.dtype.kind not in "biuf":
            raise wrong
        with np.errstate(over="ignore", invalid="ignore"):
            exact = x.astype(spec.dtype)
        if spec.dtype != "float32" and not (x == exact).all():
            raise InputError(f"rows hold values that are no {spec.dtype}")
        return exact


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the bundle and prove it before the first request; close it after the last one."""
    app.state.service = service = await asyncio.to_thread(Service, os.environ["VAE_EDGE_BUNDLE"])
    LOG.info("serving %s, golden vectors %s", service.vae.info, "ok" if service.golden.ok else "FAILED")
    yield
    await asyncio.to_thread(service.vae.close)  # waits for the calls that run
    LOG.info("closed after the last request")


app = FastAPI(title="vae-edge service", lifespan=lifespan)


@app.post("/score")
async def score(request: Rows, http: Request) -> dict[str, Any]:
    """Scores, p-values, decisions and statuses of the rows."""
    service: Service = http.app.state.service
    if service.waiting >= MOST_WAITING:
        raise HTTPException(503, "too many requests wait; try again", headers={"Retry-After": "1"})
    service.waiting += 1
    try:
        async with service.free:
            return await asyncio.to_thread(service.score, request)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except VaeEdgeError as error:
        LOG.exception("scoring failed")
        raise HTTPException(500, f"{type(error).__name__}: {error}") from error
    finally:
        service.waiting -= 1


@app.get("/health")
async def health(http: Request, response: Response) -> dict[str, Any]:
    """Whether this device computes what the exporter promised: the bundle's golden vectors, checked at the start."""
    service: Service = http.app.state.service
    response.status_code = 200 if service.golden.ok else 503
    checks = {f"{c.variant}/{c.graph}.{c.output}": c.passed for c in service.golden.checks}
    return {"ok": service.golden.ok, "golden": checks, "info": service.vae.info.to_dict(), "waiting": service.waiting}
