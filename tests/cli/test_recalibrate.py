"""``recalibrate``: new thresholds, the same graphs, a higher release."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from shell import Cli, World

from vae_edge_export.checks.head_choice import head_advice
from vae_edge_runtime import Bundle, CalibrationError, InputError, OptionError, load, recalibrate, verify
from vae_edge_runtime.format.heads import HEADS


@pytest.fixture(scope="session")
def several(world: World, cli: Cli) -> World:
    """The model of ``world`` exported with every kind of head, as ``heads.vaeb``."""
    done = cli(
        "export", world.folder / "run", "--calibration", world.folder / "normal.csv",
        "--heads", "elbo,top,iwae,mahalanobis,typicality,harmonic", "--draws", 2, "--alarm", "2/3", "--clear-rate", 0.2,
        "-o", world.folder / "heads.vaeb",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "head (the first is the default)" in done.out
    return World(world.folder, world.rows, done)


def test_the_command_shows_what_changes_and_keeps_the_graphs(several: World, cli: Cli) -> None:
    old, new, rows = several.folder / "heads.vaeb", several.folder / "again.vaeb", several.folder / "wide.npy"
    np.save(rows, several.rows[180:].repeat(3, axis=0))
    done = cli("recalibrate", old, rows, "-o", new, "--json")
    assert done.code == 0, done.err
    document = done.json()
    assert (document["release_before"], document["release"]) == (1, 2)
    changes = {c["head"]: c for c in document["changes"]}
    assert list(changes) == ["elbo", "top", "iwae", "mahalanobis", "typicality", "harmonic"]
    assert changes["elbo"]["after"] > changes["elbo"]["before"]
    assert changes["elbo"]["rows_after"] == 360
    with load(old) as vae:
        flagged = vae.score(np.load(rows), heads="all").heads
        for head, change in changes.items():
            assert change["above_before"] == pytest.approx(flagged[head].is_anomaly.mean(), abs=1e-9), head
    assert verify(new).ok
    with Bundle.open(old) as before, Bundle.open(new) as after:
        assert after.manifest.pair_id == before.manifest.pair_id
        assert after.manifest.release == 2
        assert before.manifest.stream is not None
        assert after.manifest.stream is not None
        assert after.manifest.stream.alarm == before.manifest.stream.alarm
        assert after.manifest.stream.alarm.raise_after == 2
        assert after.manifest.stream.guard.high[0] == float(several.rows[180:, 0].max())
        for graph in before.manifest.variants["fp32"].graphs:
            assert before.graph("fp32", graph) == after.graph("fp32", graph)
    with load(new) as vae:
        found = vae.score(np.load(rows), heads="all")
        for head in vae.heads:
            assert found.heads[head].is_anomaly.mean() <= 0.011, head
        assert float(found.threshold or 0) == changes["elbo"]["after"]


def test_the_table_is_for_people(several: World, cli: Cli) -> None:
    new = several.folder / "table-again.vaeb"
    done = cli("recalibrate", several.folder / "heads.vaeb", several.folder / "normal.csv", "-o", new)
    assert done.code == 0, done.err
    assert "new rows above the old one" in done.out
    assert "release 2 (was 1); graphs and weights are the same" in done.out


def test_nothing_is_written_where_it_cannot_be_done(several: World, cli: Cli) -> None:
    old, new = several.folder / "heads.vaeb", several.folder / "never.vaeb"
    few = several.rows[:30]
    bad = several.rows[:200].copy()
    bad[7, 2] = np.nan
    with pytest.raises(CalibrationError, match="needs at least 99 normal calibration rows"):
        recalibrate(old, new, rows=few)
    with pytest.raises(CalibrationError, match="cannot be scored"):
        recalibrate(old, new, rows=bad)
    with pytest.raises(InputError, match="holds none"):
        recalibrate(old, new, rows=few[:0])
    with pytest.raises(InputError, match="the model takes float32"):
        recalibrate(old, new, rows=few.astype(np.float64))
    with pytest.raises(OptionError, match="must be above that of"):
        recalibrate(old, new, rows=several.rows[:200], release=1)
    assert not new.exists()
    assert cli("recalibrate", old, several.data, "-o", old).code == 2


def test_score_writes_a_column_per_head(several: World, cli: Cli) -> None:
    done = cli("score", several.folder / "heads.vaeb", several.data, "--heads", "all")
    assert done.code == 0, done.err
    header = done.out.splitlines()[0].split(",")
    assert header[7:] == [
        name for head in ("top", "iwae", "mahalanobis", "typicality", "harmonic") for name in (head, f"{head}_p_value")
    ]
    assert cli("score", several.folder / "heads.vaeb", several.data, "--heads", "depth").code == 2


@pytest.mark.parametrize("head", ["top", "iwae", "mahalanobis", "typicality", "harmonic"])
def test_commands_that_export_advises_run_as_they_are_printed(several: World, cli: Cli, head: str) -> None:
    assert HEADS[head].may_decide
    truth = np.arange(40) >= 20
    noise = np.random.default_rng(0).normal(size=40)
    advice = " ".join(head_advice("elbo", {"elbo": noise, head: noise + 9.0 * truth}, truth, {}))
    score, recalibration = map(shlex.split, re.findall(r"(?:score|recalibrate) --[^,;]*", advice))
    bundle, new = several.folder / "heads.vaeb", several.folder / f"advised-{head}.vaeb"
    assert cli(*score, bundle, several.folder / "normal.csv", "-o", several.folder / f"advised-{head}.csv").code == 0
    done = cli(*recalibration, bundle, "-o", new)
    assert done.code == 0, done.err
    with load(new, device="cpu") as vae:
        assert vae.heads[0] == head
