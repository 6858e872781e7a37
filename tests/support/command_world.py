"""A table, a trained run and its bundle, as the commands make them: fixtures of the tests of the command line."""

from __future__ import annotations

import numpy as np
import pytest
from shell import Cli, World, run


@pytest.fixture(scope="session")
def cli() -> Cli:
    return run


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> World:
    """300 rows of 5 features; the last 100 are three times as wide."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 5)) + 0.05 * rng.normal(size=(300, 5))).astype(np.float32)
    rows[200:] *= 3
    header = "a,b,c,d,e\n"
    text = header + "\n".join(",".join(map(repr, row.tolist())) for row in rows[:200])
    (folder / "normal.csv").write_text(text)
    np.save(folder / "rows.npy", rows)
    np.savez(folder / "labelled.npz", x=rows[100:], y=np.repeat([0, 1], 100))
    options = ["--latent", 2, "--width", 16, "--depth", 1, "--epochs", 3]
    trained = cli("train", "mlp", "--data", folder / "normal.csv", *options, "-o", folder / "run")
    assert trained.code == 0, trained.err
    exported = cli(
        "export", folder / "run", "--calibration", folder / "normal.csv", "--evaluation", folder / "labelled.npz",
        "--licence", "CC0-1.0", "-o", folder / "table.vaeb",
    )  # fmt: skip
    assert exported.code == 0, exported.err
    return World(folder, rows, exported)
