"""The fastest way to run a bundle: a rule on times that tests make up, and the command on a real bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from shell import run
from tiny_bundle import TinyBundle

from vae_edge.bench.rows import Rows
from vae_edge.tune import Limits, Timed, choose, tune
from vae_edge.tune.choice import refusal, reported
from vae_edge_runtime import Bundle, GateFailed, OptionError, load
from vae_edge_runtime.device import tuned as kept
from vae_edge_runtime.device.devices import device_names

ROUNDS = np.arange(24)[:, None]


def timed(ms: float, *, batch: int = 1, flips: int | None = 0, noise: float = 0.01, tail: float = 1.0) -> Timed:
    """24 rounds of 10 calls around ``ms``; every tenth call takes ``tail`` times as long."""
    seconds = np.full((24, 10), ms / 1e3) * (1 + noise * np.sin(ROUNDS * 1.7 + ms * 31))
    seconds[:, 9] *= tail
    return Timed(seconds, batch, flips, 512)


def test_the_most_rows_per_second_win() -> None:
    assert choose([timed(2.0), timed(1.0), timed(1.5)], Limits()) == 1
    assert choose([timed(2.0), timed(40.0, batch=32), timed(1.5)], Limits()) == 1


def test_a_tie_goes_to_the_one_that_was_named_first() -> None:
    assert choose([timed(1.0, noise=0.2), timed(0.99, noise=0.2)], Limits()) == 0


def test_limits_refuse_the_fastest_with_the_reason() -> None:
    slow_tail, flipping, plain = timed(1.0, tail=30), timed(0.5, flips=3), timed(2.0)
    limits = Limits(p99_ms=10.0, max_flips=2)
    assert choose([flipping, slow_tail, plain], limits) == 2
    assert refusal(flipping, limits) == "3 of 512 decisions differ, at most 2"
    assert str(refusal(slow_tail, limits)).startswith("p99 30.")
    assert refusal(plain, limits) is None
    assert choose([flipping, slow_tail], limits) is None
    assert choose([flipping, plain], Limits(max_flips=None)) == 0


def test_the_rounds_that_report_are_not_those_that_choose() -> None:
    seconds = np.full((24, 10), 1e-3)
    seconds[1::2] = 5e-3  # fast in the rounds that choose only
    lucky = Timed(seconds, 1, 0, 512)
    assert choose([timed(2.0), lucky], Limits()) == 1
    assert reported(lucky).p50_ms == pytest.approx(5.0)


def test_a_p99_of_too_few_calls_is_refused_and_not_made_up() -> None:
    few = Timed(np.full((12, 6), 1e-3), 1, 0, 512)
    with pytest.raises(OptionError, match="a p99 needs 100 calls in the rounds to choose by, there are 36"):
        choose([few], Limits(p99_ms=10))
    with pytest.raises(OptionError, match="positive time"):
        Limits(p99_ms=0)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_EDGE_CACHE", str(tmp_path / "cache"))
    return TinyBundle(tmp_path / "tiny.vaeb").write()


def test_auto_takes_what_tune_kept_and_says_so(path: Path) -> None:
    found = run("tune", path, "--rounds", 12, "--devices", "cpu,openvino", "--threads", "1", "--json")
    assert found.code == 0, found.err
    report = found.json()
    best = report["candidates"][report["winner"]]
    assert {(c["device"], c["threads"], c["flips"]) for c in report["candidates"]} == {
        ("cpu", 1, 0),
        ("openvino", 1, 0),
    }
    assert best["rows_per_s"] == pytest.approx(1000 / best["latency"]["p50_ms"])
    assert report["choice"]["device"] == best["device"]
    with load(path) as vae:
        assert (vae.info.device, vae.info.threads) == (best["device"], 1)
        assert vae.info.tuned == report["choice"]["why"]
        assert f"tuned: {best['variant']} on {best['device']}, 1 thread" in str(vae.info)
    with load(path, device="cpu") as vae:  # a wish is a wish
        assert (vae.info.threads, vae.info.tuned) == (None, None)
    assert run("tune", path, "--forget").out == "forgotten\n"
    assert run("tune", path, "--forget", "--json").json()["forgotten"] is False
    with load(path) as vae:
        assert vae.info.tuned is None


def test_several_threads_of_the_cpu_compete_spinning_and_not(path: Path) -> None:
    found = run(
        "tune", path, "--rounds", 12, "--devices", "cpu,openvino", "--threads", "1,2,auto", "--dry-run", "--json"
    )
    assert found.code == 0, found.err
    assert {(c["device"], c["threads"], c["spin"]) for c in found.json()["candidates"]} == {
        ("cpu", 1, None), ("cpu", 2, None), ("cpu", 2, False), ("cpu", None, None), ("cpu", None, False),
        ("openvino", 1, None), ("openvino", 2, None), ("openvino", None, None),
    }  # fmt: skip


def test_auto_follows_a_choice_not_to_spin(path: Path) -> None:
    with Bundle.open(path) as bundle:
        machine = kept.this_machine()
        kept.store_choice(kept.Choice(kept.FORMAT, bundle.bundle_id, "fp32", "cpu", 2, False, *machine, "measured"))
    with load(path) as vae:
        assert (vae.info.threads, vae.info.spin, vae.info.tuned) == (2, False, "measured")
    with load(path, spin=True) as vae:  # a wish is a wish
        assert (vae.info.threads, vae.info.spin, vae.info.tuned) == (None, True, None)


def test_bfloat16_competes_only_where_rows_can_say_what_it_decides(path: Path) -> None:
    def devices(rows: Rows | None) -> set[str]:
        report = tune(path, rows, threads=(1,), rounds=12, keep=False)
        return {c.device for c in report.candidates} | set(report.absent)

    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    assert "openvino-bf16" not in devices(None)
    assert "openvino-bf16" in devices(Rows(x, None, None, "rows", "file"))


def test_a_choice_of_another_machine_or_engine_or_a_damaged_one_is_not_followed(path: Path, tmp_path: Path) -> None:
    assert run("tune", path, "--rounds", 12, "--devices", "cpu", "--threads", 1).code == 0
    with Bundle.open(path) as bundle:
        bundle_id = bundle.bundle_id
    choice = kept.find_choice(bundle_id)
    assert choice is not None
    changes: list[dict[str, object]] = [
        {"cpu": "riscv64 Other"}, {"usable_cores": 99}, {"engines": {"onnxruntime": "0.1"}}, {"bundle_id": "0" * 64},
        {"format": 1},
    ]  # fmt: skip
    file = tmp_path / "cache" / "tuned" / f"{bundle_id}.json"
    for change in changes:
        changed = dataclasses.replace(choice, **change)  # type: ignore[arg-type]
        kept.store_choice(changed)
        file.write_text(json.dumps(dataclasses.asdict(changed)))
        assert kept.find_choice(bundle_id) is None
    kept.store_choice(choice)
    good = file.read_bytes()
    assert kept.find_choice(bundle_id) == choice
    for end in range(len(good) - 1):
        file.write_bytes(good[:end])
        assert kept.find_choice(bundle_id) is None
    file.write_bytes(good)
    file.parent.chmod(0o777)
    assert kept.find_choice(bundle_id) is None


def test_a_dry_run_keeps_nothing_and_absent_devices_are_named(path: Path, tmp_path: Path) -> None:
    found = run("tune", path, "--rounds", 12, "--threads", 1, "--dry-run")
    assert (found.code, "nothing was kept" in found.out) == (0, True)
    assert "note: cuda: " in found.err
    assert not (tmp_path / "cache").exists()


def test_where_no_candidate_keeps_the_limits_nothing_is_kept(path: Path, tmp_path: Path) -> None:
    found = run("tune", path, "--rounds", 40, "--threads", 1, "--devices", "cpu", "--p99", "1us")
    assert (found.code, found.out) == (1, "")
    assert "no candidate keeps the limits" in found.err
    assert not (tmp_path / "cache").exists()
    x = np.zeros((4, 4), np.float32)
    with pytest.raises(GateFailed, match="p99"):
        tune(path, Rows(x, None, None, "rows", "file"), limits=Limits(p99_ms=1e-3), devices=("cpu",), rounds=40)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--p99", "10"], "500us, 10ms or 1.5s"),
        (["--devices", "tpu"], f"valid are {', '.join(device_names()[1:])}"),
        (["--variants", "int4"], "this bundle has fp32"),
        (["--threads", "0"], "no whole number from 1"),
        (["--window", 3], "pass --rows too"),
    ],
)
def test_wrong_options_are_refused(path: Path, arguments: list[object], said: str) -> None:
    found = run("tune", path, *arguments)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
