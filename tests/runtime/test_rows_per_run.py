"""Rows given to the engine at once follow from the bytes that a row needs inside the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_edge_runtime import graph_session, load


def test_rows_are_given_to_the_engine_within_a_budget_of_bytes(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(tiny_path, device="cpu") as vae:
        shape, dtype = vae.manifest.input.shape, vae.manifest.input.dtype
        rows = np.random.default_rng(0).integers(0, 2, (7, *shape)).astype(dtype)
        whole = vae.score(rows).score
        needed = vae._bundle.row_bytes[vae._variant_name, "score"]
        assert needed >= 4 * int(np.prod(shape))
        sizes: list[int] = []
        run = vae._backend.run

        def counted(graph: str, feeds: dict[str, Any], names: Any) -> Any:
            sizes.append(len(next(iter(feeds.values()))))
            return run(graph, feeds, names)

        monkeypatch.setattr(vae._backend, "run", counted)
        monkeypatch.setattr(graph_session, "BYTES_PER_RUN", 3 * needed)
        np.testing.assert_allclose(vae.score(rows).score, whole, rtol=1e-6)
        assert sizes == [3, 3, 1]


def test_a_row_larger_than_the_budget_runs_alone(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_session, "BYTES_PER_RUN", 1)
    with load(tiny_path, device="cpu") as vae:
        rows = np.zeros((3, *vae.manifest.input.shape), vae.manifest.input.dtype)
        assert vae.score(rows).score.shape == (3,)
