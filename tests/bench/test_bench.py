"""``bench`` on real bundles of 5 kB: figures, fresh processes, refusals, what is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from second_variant import add_variant
from shell import Cli
from tiny_bundle import TinyBundle

from vae_edge.bench.environment import environment
from vae_edge.bench.fresh import Start, cold_starts
from vae_edge.bench.measure import Latency, Pace
from vae_edge.bench.plan import Plan
from vae_edge.bench.report import Cell, CellFigures, warnings_of
from vae_edge.bench.rows import Rows
from vae_edge.bench.run import bench, steps
from vae_edge_runtime import InputError, OptionError, load
from vae_edge_runtime.errors import BackendError
from vae_edge_runtime.stdio import DOCUMENT_VERSION

QUICK = Pace(rounds=2, calls_per_turn=2, gap_seconds=0.0)


def _plan(**options: object) -> Plan:
    return Plan(**{"batches": (1, 4), "threads": (1,), "pace": QUICK, "processes": 0, **options})  # type: ignore[arg-type]


def _rows(path: Path) -> Rows:
    with np.load(path) as file:
        return Rows(file["x"], None, file["y"].astype(bool), str(path), "file")


def test_every_cell_of_the_product_is_measured_fp32_first(pair_path: Path) -> None:
    found = bench(pair_path, _plan(threads=(1, None)))
    cells = [(c.cell.variant, c.cell.threads, c.cell.batch) for c in found.cells]
    assert cells == [(v, t, b) for v in ("fp32", "int8") for t in (1, None) for b in (1, 4)]
    assert {c.latency.calls for c in found.cells} == {4}
    for c in found.cells:
        assert c.rows_per_s == pytest.approx(1000 * c.cell.batch / c.latency.mean_ms)
        assert (c.against_fp32 is None) == (c.cell.variant == "fp32")
        assert c.energy is None


def test_variants_are_compared_with_fp32_on_the_same_rows(pair_path: Path, labelled: Path) -> None:
    rows = _rows(labelled)
    fp32, int8 = bench(pair_path, _plan(), rows).variants
    with load(pair_path, variant="fp32") as a, load(pair_path, variant="int8") as b:
        one, other = a.score(rows.x), b.score(rows.x)
    assert (fp32.agreement, fp32.auroc_change) == (None, None)
    assert int8.agreement is not None
    assert int8.agreement.rows == 200
    assert int8.agreement.decisions_differ == int((one.is_anomaly != other.is_anomaly).sum())
    assert 0.0 < int8.agreement.error_max < 0.1
    assert 0.6 < (fp32.auroc or 0) < 1.0
    assert int8.auroc_change == pytest.approx((int8.auroc or 0) - (fp32.auroc or 0))


def test_shared_weights_of_a_variant_count_once(pair_path: Path) -> None:
    found = bench(pair_path, _plan(variants=("fp32",)))
    with load(pair_path) as vae:
        members = vae.manifest.members
    stored = {"fp32/encode.onnx", "fp32/decode.onnx", "fp32/score.onnx", "fp32/encoder.weights", "fp32/decoder.weights"}
    assert found.variants[0].graph_bytes == sum(members[name].size_bytes for name in stored)
    assert found.size_bytes == pair_path.stat().st_size


def test_fp32_is_the_reference_of_agreement_even_where_it_is_not_measured(pair_path: Path) -> None:
    found = bench(pair_path, _plan(variants=("int8",)))
    assert [c.against_fp32 for c in found.cells] == [None, None]
    assert found.variants[0].agreement is not None
    assert found.variants[0].agreement.rows == 2


def test_without_rows_the_golden_ones_are_used_and_that_is_said(pair_path: Path) -> None:
    found = bench(pair_path, _plan())
    assert (found.rows, found.rows_source) == (2, "2 golden rows of the bundle")
    assert found.warnings[0].startswith("no rows were given: the 2 golden rows of the bundle, tiled")


@pytest.mark.parametrize("task", ["encode", "sample"])
def test_other_tasks_are_timed_too(pair_path: Path, task: str) -> None:
    found = bench(pair_path, _plan(task=task))
    assert found.task == task
    assert all(c.latency.p50_ms > 0 for c in found.cells)


def test_progress_takes_as_many_steps_as_were_announced(pair_path: Path) -> None:
    done: list[str] = []
    plan = _plan(processes=1)
    bench(pair_path, plan, progress=done.append)
    assert len(done) == steps(pair_path, plan) == 4 + 8 + 2
    assert list(dict.fromkeys(done)) == ["cold starts", "timing", "scoring"]
    assert steps(pair_path, _plan(pace=Pace(rounds=None, seconds=1.0))) is None


def test_a_cold_start_is_longer_than_its_parts_and_small_in_memory(pair_path: Path) -> None:
    with load(pair_path) as vae:
        x = np.zeros((1, *vae.manifest.input.shape), dtype=np.float32)
    ballast = np.ones(40_000_000)  # 320 MB in this process must not be counted in that one
    (found,) = cold_starts(pair_path, [Start("int8", "cpu", 1)], x, None, processes=2).values()
    assert ballast.nbytes == 320_000_000
    assert found.processes == 2
    assert found.total_s > found.import_s > found.first_s > 0
    assert 20e6 < (found.peak_rss_bytes or 0) < 200e6


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"ended with 1 before its score: .*none.vaeb"):
        cold_starts(tmp_path / "none.vaeb", [Start("fp32", "cpu", None)], np.zeros((1, 4)), None, processes=1)


def test_batches_go_round_the_rows_and_tile_what_is_too_short() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    rows = Rows(x, x.astype(np.int64)[:, 0], None, "x", "file")
    assert [b.x[:, 0].tolist() for b in rows.batches(4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    (tiled,) = rows.batches(12)
    assert tiled.x[:, 0].tolist() == [*range(10), 0, 1]
    assert tiled.condition is not None
    assert tiled.condition.tolist() == [*range(10), 0, 1]
    assert len(rows.batches(1)) == 10
    with pytest.raises(InputError, match="holds no row"):
        Rows(x[:0], None, None, "x", "file").batches(1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"task": "decode"}, "task is 'decode'; valid are score, encode, sample"),
        ({"batches": (0,)}, "batches and threads are whole numbers from 1"),
        ({"batches": (1, 1)}, "batches are missing or repeated: 1, 1"),
        ({"devices": ()}, "devices are missing or repeated: none"),
        ({"threads": (0,)}, "batches and threads are whole numbers from 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        _plan(**options)


def test_an_unknown_variant_is_refused_with_those_there_are(pair_path: Path) -> None:
    with pytest.raises(OptionError, match="variant is 'fp16'; this bundle has fp32, int8"):
        bench(pair_path, _plan(variants=("fp16",)))


def test_labels_of_one_kind_are_refused_before_the_work(pair_path: Path) -> None:
    rows = Rows(np.zeros((3, 4), np.float32), None, np.zeros(3, bool), "x", "file")
    with pytest.raises(InputError, match=r"no anomalous \(1\) row"):
        bench(pair_path, _plan(pace=Pace(rounds=10_000)), rows)


def _figures(p50: float, p95: float | None, missing: str | None = None) -> CellFigures:
    return CellFigures(Cell("fp32", "cpu", 1, None), Latency(20, p50, p50, p95, None, missing), 1.0, None, None)


def test_warnings_name_a_loaded_machine_unsteady_cells_and_missing_percentiles() -> None:
    class Silent:
        def text(self, path: str) -> None: ...
        def names(self, folder: str) -> tuple[str, ...]:
            return ()

        def output_of(self, *command: str) -> None: ...

    calm = dataclasses.replace(environment(Silent(), engine="", providers={}, load=(0.1, 0, 0)), cores=2)
    busy = dataclasses.replace(calm, load_average=(1.5, 0, 0))
    assert warnings_of(calm, (_figures(1.0, 2.0),), ()) == ()
    assert "load average 1.50 on 2 cores" in warnings_of(busy, (_figures(1.0, 2.0),), ())[0]
    assert warnings_of(calm, (_figures(1.0, 2.1),), ("first",)) == (
        "first",
        "p95 is above 2 x p50 for fp32 cpu batch 1, threads auto: something disturbed it",
    )
    assert "p99 needs 100" in warnings_of(calm, (_figures(1.0, None, "p99 needs 100 calls; there were 20"),), ())[0]


def test_the_command_prints_tables_and_writes_report_and_plot(cli: Cli, pair_path: Path, labelled: Path) -> None:
    output, plot = pair_path.with_suffix(".json"), pair_path.with_suffix(".png")
    options = ["--rounds", 4, "--threads", 1, "--batches", "1,8", "--starts", 1, "-o", output, "--plot", plot]
    done = cli("bench", pair_path, "--rows", labelled, *options)
    assert done.code == 0, done.err
    assert "4 interleaved rounds of 6 calls" in done.out
    assert "time / fp32" in done.out
    assert "AUROC" in done.out
    assert "note: no percentile where there are too few calls: p99 needs 100 calls; there were 24" in done.err
    written = json.loads(output.read_text())
    assert (written["command"], written["schema_version"], written["rounds"]) == ("bench", DOCUMENT_VERSION, 4)
    assert written["variants"][1]["cold_start"]["peak_rss_bytes"] > 1e7
    assert written["cells"][3]["cell"] == {"variant": "int8", "device": "cpu", "batch": 8, "threads": 1}
    assert written["cells"][0]["latency"]["p99_ms"] is None
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert cli("bench", pair_path, "-o", output).code == 2  # nothing is overwritten


def test_json_is_one_document_with_plain_values(cli: Cli, pair_path: Path) -> None:
    done = cli("bench", pair_path, "--seconds", 0, "--starts", 0, "--json", "--threads", 1, "--batches", 1)
    assert done.code == 0, done.err
    found = done.json()
    assert (found["rounds"], found["rows_source"], found["environment"]["jetson"]) == (
        3, "2 golden rows of the bundle", None,
    )  # fmt: skip
    assert found["variants"][1]["agreement"]["rows"] == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--rounds", 2, "--seconds", 1], "--rounds and --seconds both say how long"),
        (["--batches", "1,x"], "batches: 'x' is no whole number"),
        (["--label-column", "y"], "--label-column is about rows: pass --rows too"),
        (["--devices", "tensorrt"], "'tensorrt' is not in this onnxruntime"),
        (["--output", "report.csv"], "ends with none of .json"),
    ],
)
def test_options_that_cannot_work_end_before_the_work(
    cli: Cli, pair_path: Path, options: list[object], problem: str
) -> None:
    done = cli("bench", pair_path, *options)
    assert done.code in (2, 3)
    assert problem in done.err
    assert done.out == ""


def test_interrupted_it_leaves_nothing_behind(cli: Cli, pair_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vae_edge.bench.run.interleaved", interrupt)
    before = sorted(pair_path.parent.iterdir())
    done = cli("bench", pair_path, "--starts", 0, "-o", pair_path.with_suffix(".json"))
    assert (done.code, done.out) == (130, "")
    assert sorted(pair_path.parent.iterdir()) == before


def test_a_bundle_without_fp32_has_no_reference(tmp_path: Path) -> None:
    tiny = TinyBundle(tmp_path / "int8.vaeb")
    add_variant(tiny, "int8", factor=1.0)
    assert tiny.manifest
    golden = tiny.manifest.golden
    left = {"int8": tiny.manifest.variants["int8"]}
    golden = dataclasses.replace(
        golden,
        expected={"int8": golden.expected["int8"]},
        tolerance_relative={"int8": golden.tolerance_relative["int8"]},
    )
    unused = "fp32/decoder.weights"
    del tiny.members[unused]
    members = {name: spec for name, spec in tiny.manifest.members.items() if name != unused}
    tiny.manifest = dataclasses.replace(tiny.manifest, variants=left, golden=golden, members=members)
    (found,) = bench(tiny.write(), _plan()).variants
    assert (found.variant, found.agreement) == ("int8", None)
