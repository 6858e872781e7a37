"""The table of devices: every row is told everywhere, and a row of one's own works everywhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import run
from toy_engine import write_toy_engine

from vae_edge.bench.plan import Plan, cells_of
from vae_edge.tune import tune
from vae_edge_runtime import Bundle, MissingDependency, OptionError, ProviderUnavailable, load
from vae_edge_runtime.__main__ import main
from vae_edge_runtime.device import devices as table
from vae_edge_runtime.device import tuned
from vae_edge_runtime.device.devices import OPTIONS, Candidate, Device, Engine, devices, register, rows_for
from vae_edge_runtime.device.doctor import findings, read_machine, ready_devices

ROOT = Path(__file__).parents[3]
ROWS = np.random.default_rng(4).normal(size=(70, 4)).astype(np.float32)
VALID: dict[str, object] = {"threads": 2, "spin": False}


def squeezed(text: str) -> str:
    """Text without white space: help is wrapped anywhere."""
    return "".join(text.split())


def help_of(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    return squeezed(capsys.readouterr().out)


@pytest.mark.parametrize("row", devices(), ids=lambda row: str(row.name))
def test_every_row_is_in_the_help_of_both_commands_and_in_the_docs(
    row: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    told = squeezed(f"{row.name} ({row.help})")
    assert told in squeezed(run("score", "--help").out)
    assert told in help_of(capsys)
    for command in ("bench", "tune"):
        assert row.name in squeezed(run(command, "--help").out)
    docs = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert f"| `{table.AUTO}` | {table.auto_text()} | threads, spin |" in docs
    assert f"| `{row.name}` | {row.help} | {', '.join(row.takes) or 'none'} |" in docs


@pytest.mark.parametrize("row", devices(), ids=lambda row: str(row.name))
def test_every_option_is_taken_or_refused_with_the_devices_that_take_it(row: Device) -> None:
    for option in OPTIONS:
        if option in row.takes:
            assert rows_for(row.name, {option: VALID[option]}) == (row,)
        else:
            takers = [name for name in table.device_names() if table.takes(name, option)]
            with pytest.raises(OptionError, match=f"does not take {option}; devices that do: {', '.join(takers)}$"):
                rows_for(row.name, {option: VALID[option]})
        assert rows_for(row.name, {option: None}) == (row,)


@pytest.mark.parametrize("row", devices(), ids=lambda row: str(row.name))
def test_every_row_names_a_backend_that_is_there_and_a_fallback_that_takes_its_options(row: Device) -> None:
    for candidate in row.candidates:
        module, _, name = candidate.engine.backend.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert candidate.engine.distributions
    if row.fallback is not None:
        assert set(row.takes) <= set(table.find_device(row.fallback).takes)


def test_extras_of_the_table_are_those_of_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for engine in table.engines():
        assert engine.extra is None or re.search(rf'^{engine.extra} = \[.*"{engine.package}>=', text, re.MULTILINE)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"candidates": ()}, "names no engine"),
        ({"takes": ("speed",)}, "takes 'speed'; valid are threads, spin"),
        ({"tuned": ("spin",)}, "tuned by 'spin', which it does not take"),
        ({"name": "cpu"}, "'cpu' is already in the table"),
        ({"name": "auto"}, "'auto' is already in the table"),
        ({"fallback": "gpu"}, "device is 'gpu'; valid are"),
        ({"fallback": "tensorrt", "takes": ("threads",)}, "'tensorrt', the fallback of 'mine', does not take threads"),
    ],
)
def test_a_row_that_contradicts_itself_or_the_table_is_refused(fields: dict[str, Any], problem: str) -> None:
    before = devices()
    engine = Engine(package="mine", title="Mine", backend="mine:Backend")
    with pytest.raises(OptionError, match=problem):
        register(Device(**{"name": "mine", "help": "", "candidates": (Candidate(engine),), **fields}))
    with pytest.raises(OptionError, match="write module:Class"):
        Engine(package="mine", title="Mine", backend="mine")
    assert devices() == before


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A row for a toy engine; gives the module that makes more rows of it."""
    write_toy_engine(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("VAE_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    rows = importlib.import_module("toy_rows")
    register(rows.row())
    yield rows
    for name in ("toy_rows", "toy_chip"):
        sys.modules.pop(name, None)


def test_a_row_of_ones_own_is_loaded_and_described(toy: Any, tiny_path: Path) -> None:
    with load(tiny_path, device="toy", threads=3) as vae, load(tiny_path, device="cpu") as cpu:
        np.testing.assert_array_equal(vae.score(ROWS).score, cpu.score(ROWS).score)
        info = vae.info
        assert (info.backend, info.engine_version, info.provider) == ("toy", "1.4", "small")
        assert (info.device, info.threads, info.degraded) == ("toy", 3, False)
    assert importlib.import_module("toy_chip").LOG == [("score", "toy", 3), "closed"]
    with pytest.raises(OptionError, match=r"'toy' does not take spin; devices that do: auto, cpu, cuda, cuda-tf32$"):
        load(tiny_path, device="toy", spin=True)


def test_a_row_of_ones_own_is_tuned_benched_and_its_choice_followed(
    toy: Any, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tune(tiny_path, devices=("cpu", "toy"), threads=(1, 2), rounds=12, keep=False)
    toys = [(c.threads, c.spin, c.flips) for c in report.candidates if c.device == "toy"]
    assert toys == [(1, None, 0), (2, None, 0)]
    assert report.choice.engines["toy-chip"] == "1.4"
    with Bundle.open(tiny_path) as bundle:
        plan, bundle_id = Plan(devices=("toy", "tensorrt"), batches=(1,)), bundle.bundle_id
        assert [(c.device, c.threads) for c in cells_of(plan, bundle.manifest)] == [
            ("toy", 1), ("toy", None), ("tensorrt", None),
        ]  # fmt: skip
    machine = tuned.this_machine()
    choice = tuned.Choice(tuned.FORMAT, bundle_id, "fp32", "toy", 2, None, *machine, "measured")
    tuned.store_choice(choice)
    with load(tiny_path) as vae:
        assert (vae.info.device, vae.info.threads, vae.info.tuned) == ("toy", 2, "measured")
    # In a process that does not know the device, or no longer passes it an option, auto is what it was.
    for row in (None, toy.row(takes=(), tuned=())):
        monkeypatch.setattr(table, "_TABLE", {r.name: r for r in devices() if r.name != "toy"})
        if row is not None:
            register(row)
        monkeypatch.setattr(tuned, "this_machine", lambda: machine)
        assert tuned.find_choice(bundle_id) is None
        with load(tiny_path) as vae:
            assert (vae.info.device, vae.info.tuned) == ("cpu", None)


def test_threads_for_devices_that_take_none_are_refused_by_tune_and_bench(tiny_path: Path) -> None:
    with pytest.raises(OptionError, match="none of the devices tensorrt takes a number of threads"):
        Plan(devices=("tensorrt",), threads=(4,))
    with pytest.raises(OptionError, match="none of the devices cuda, tensorrt is tuned by a number of threads"):
        tune(tiny_path, devices=("cuda", "tensorrt"), threads=(4,))


def test_a_row_of_ones_own_is_seen_by_the_doctor(toy: Any) -> None:
    try:
        subprocess.run([sys.executable, "-c", ""], check=True)
    except OSError:
        pytest.skip("this machine starts no Python from Python: it is emulated")
    machine = read_machine()
    assert (machine.modules["toy_chip"].version, machine.modules["toy_chip"].providers) == ("1.4", ("small", "large"))
    assert machine.distributions["toy-chip"] == "1.4"
    assert "toy" in [row.name for row in ready_devices(machine)]
    told = {f.subject: f for f in findings(machine)}
    assert (told["Toy"].level, told["Toy"].what) == ("ok", "1.4")
    assert "toy" in told["devices"].what


def test_a_row_of_ones_own_is_in_the_help(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "toy(Toyonitsownchip)" in help_of(capsys)
    program = "import toy_rows, vae_edge_runtime.device.devices as d; d.register(toy_rows.row()); \
               from vae_edge.cli import main; main(['score', '--help'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "toy(Toyonitsownchip)" in squeezed(done.stdout)


def test_auto_tries_rows_by_rank_and_only_those_that_take_the_options(toy: Any, tiny_path: Path) -> None:
    register(toy.row("no-chip", "absent", auto_rank=-2))
    register(toy.row("best", "large", auto_rank=-1))
    with load(tiny_path, threads=2) as vae:  # the first one is not there, which is no loss
        assert (vae.info.device, vae.info.degraded) == ("best", False)
    with load(tiny_path, spin=False) as vae:
        assert (vae.info.device, vae.info.spin) == ("cpu", False)


@pytest.mark.parametrize(
    ("mode", "problem"), [("absent", "there is no such chip: buy one"), ("shaky", "the chip is hot: wait")]
)
def test_a_device_that_is_not_there_at_the_start_or_later_is_an_error_or_a_visible_fallback(
    toy: Any, tiny_path: Path, mode: str, problem: str
) -> None:
    register(toy.row("other", mode))
    with pytest.raises(ProviderUnavailable, match=problem):
        load(tiny_path, device="other")
    with load(tiny_path, device="other", threads=1, allow_fallback=True) as vae:
        assert (vae.info.device, vae.info.threads, vae.info.degraded) == ("cpu", 1, True)
        assert vae.info.degraded_reason == f"{problem.split(':')[0]}; running on cpu"
        assert np.isfinite(vae.score(ROWS).score).all()
        assert np.isfinite(vae.sample(2, seed=1)).all()
    log = importlib.import_module("toy_chip").LOG
    assert log.count("closed") == (2 if mode == "shaky" else 0)


def test_auto_that_starts_and_then_fails_runs_visibly_on_the_fallback(toy: Any, tiny_path: Path) -> None:
    register(toy.row("other", "shaky", auto_rank=0))
    with load(tiny_path) as vae:
        assert (vae.info.device, vae.info.degraded_reason) == ("cpu", "the chip is hot; running on cpu")


def test_candidates_are_tried_in_order_and_an_error_names_all(toy: Any, tiny_path: Path) -> None:
    absent, here = Candidate(toy.TOY, "absent"), Candidate(toy.TOY, "small")
    missing = Candidate(Engine(package="no_such_package", title="Nothing", backend="toy_chip:Needy"))
    chip = importlib.import_module("toy_chip")
    chip.Needy = lambda load, options: options.import_engine()
    register(Device(name="second", help="", candidates=(absent, here)))
    with load(tiny_path, device="second") as vae:
        assert (vae.info.provider, vae.info.degraded) == ("small", False)
    register(Device(name="neither", help="", candidates=(absent, missing)))
    with pytest.raises(
        ProviderUnavailable, match=r"Toy itself: there is no such chip: .*By Nothing: .*no_such_package"
    ):
        load(tiny_path, device="neither")
    register(Device(name="nothing", help="", candidates=(missing,)))
    with pytest.raises(MissingDependency, match='device="nothing" needs the package'):
        load(tiny_path, device="nothing")
