"""The blocks of docs/lakes.md on the real engines, and workers that are killed: every row once (``make lakes``)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FEATURES, TinyBundle

from vae_edge_runtime import load

pytestmark = pytest.mark.lakes

PAGE = (Path(__file__).parents[2] / "docs" / "lakes.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^### ([^\n]+)\n\n```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))
ENGINES = {"Polars": "polars", "Ray Data": "ray", "Spark": "pyspark", "Daft": "daft"}
"""Heading of the page to package."""
FILES, ROWS = 24, 500
BEFORE = {"Ray Data": "import ray\nray.init(num_cpus=4, include_dashboard=False, object_store_memory=200 << 20)\n"}
"""Two actors and the reading take three cores, which a small machine does not have."""

KILLED = """
import os, signal
import vae_edge_runtime
from vae_edge_runtime import table_scorer

class Dying(table_scorer.Scorer):
    # Each of the first two processes that reach their third batch dies as the kernel's memory killer would kill it.
    batches = 0

    def __call__(self, batch):
        Dying.batches += 1
        if Dying.batches == 3 and os.getpid() != int(os.environ["DRIVER"]):
            for flag in ("killed-1", "killed-2"):
                try:
                    os.close(os.open(os.path.join(os.environ["LAKE"], flag), os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)

vae_edge_runtime.Scorer = Dying
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("lakes")
    TinyBundle(folder / "pump.vaeb").write()
    (folder / "lake").mkdir()
    x = np.random.default_rng(0).normal(size=(FILES, ROWS, FEATURES)).astype(np.float32)
    x[:, 3, 1] = np.nan
    for i, rows in enumerate(x):
        columns = {name: arrow.array(rows[:, j], from_pandas=True) for j, name in enumerate("abcd")}
        parquet.write_table(
            arrow.table({"id": np.arange(ROWS) + i * ROWS, **columns}), folder / "lake" / f"{i}.parquet"
        )
    np.save(folder / "x.npy", x.reshape(-1, FEATURES))
    return folder


def _run(lake: Path, program: str) -> None:
    """In a process of its own, where no thread of this one can be forked along."""
    code = "import os\nos.environ['DRIVER'] = str(os.getpid())\n" + program
    quiet = {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "DAFT_ANALYTICS_ENABLED": "0", "LAKE": str(lake)}
    quiet |= {"PYSPARK_PYTHON": sys.executable, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "DO_NOT_TRACK": "true"}
    quiet["PYTHONPATH"] = os.pathsep.join([str(lake), os.environ.get("PYTHONPATH", "")])
    with (lake / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=lake,
            stdout=log,
            stderr=log,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
        try:
            code_of_exit = process.wait(200)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # an engine may leave processes of its own behind
    assert code_of_exit == 0, (lake / "log.txt").read_text()[-3000:]


def _check(lake: Path, output: str) -> None:
    """Every row is there once, with the score of the session."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(lake / output).sort_by("id").to_pydict()
    assert table["id"] == list(range(FILES * ROWS))
    with load(lake / "pump.vaeb", device="cpu", threads=1) as vae:
        expected = vae.score(np.load(lake / "x.npy"))
    assert [status == "ok" for status in table["status"]] == expected.ok.tolist()
    for name in ("score", "p_value"):
        values = np.array([np.nan if v is None else v for v in table[name]])
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-5)
    assert [v is True for v in table["is_anomaly"]] == expected.is_anomaly.tolist()
    assert [v is None for v in table["is_anomaly"]] == (~expected.ok).tolist()


def _output(block: str) -> str:
    return re.findall(r'"(scored-[a-z.]+)"', block)[0]


def _needs(engine: str) -> None:
    pytest.importorskip(ENGINES[engine])
    if engine == "Spark" and shutil.which("java") is None:
        pytest.skip("Spark needs java")


def test_the_page_has_a_block_for_every_engine() -> None:
    assert list(BLOCKS) == list(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_block_of_the_page_gives_every_row_once_also_when_run_twice(lake: Path, engine: str) -> None:
    _needs(engine)
    for _ in range(2):
        _run(lake, BEFORE.get(engine, "") + BLOCKS[engine])
        _check(lake, _output(BLOCKS[engine]))


@pytest.mark.parametrize("engine", ["Ray Data", "Spark"])
def test_workers_that_are_killed_cost_no_row_and_double_none(lake: Path, engine: str) -> None:
    _needs(engine)
    for flag in lake.glob("killed-[12]"):
        flag.unlink()
    (lake / "dying.py").write_text(KILLED)
    block = BLOCKS[engine].replace("batch_size=4096", "batch_size=100").replace("scored-", "killed-scored-")
    if engine == "Spark":
        block = block.replace(
            ".getOrCreate()", '.config("spark.sql.execution.arrow.maxRecordsPerBatch", 50).getOrCreate()'
        )
    _run(lake, "import dying\n" + BEFORE.get(engine, "") + block)
    assert len(list(lake.glob("killed-[12]"))) == 2  # otherwise nobody died, and nothing was shown
    _check(lake, f"killed-{_output(BLOCKS[engine])}")


def test_the_append_that_the_page_warns_of_doubles_rows(lake: Path) -> None:
    _needs("Ray Data")
    parquet = pytest.importorskip("pyarrow.parquet")
    block = BLOCKS["Ray Data"].replace(", mode=ray.data.SaveMode.OVERWRITE", "").replace("scored-ray", "doubled")
    for _ in range(2):
        _run(lake, BEFORE["Ray Data"] + block)
    assert parquet.read_table(lake / "doubled").num_rows == 2 * FILES * ROWS
