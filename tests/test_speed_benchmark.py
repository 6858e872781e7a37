"""The speed benchmark: its arithmetic on figures made up here, and one quick run of the real thing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))

import speed_page  # noqa: E402
import speed_targets  # noqa: E402


def document(ours_ms: float = 1.0) -> dict[str, Any]:
    """One model; PyTorch takes 4 ms, separate sessions 2 ms, OpenVINO 1.5 ms, int8 a quarter of ours."""
    times = {"PyTorch": 4.0, "split sessions": 2.0, "split sessions, not spinning": 1.8, "OpenVINO": 1.5,
             "vae-edge fp32": ours_ms, "vae-edge int8-cpu": ours_ms / 4, "vae-edge bf16": ours_ms / 2,
             f"vae-edge fp32{speed_page.CHOSEN}": ours_ms / 1.25,
             f"vae-edge int8-cpu{speed_page.CHOSEN}": ours_ms / 5}  # fmt: skip
    cells = [
        {
            "subject": "toy", "task": task, "batch": batch, "threads": threads, "who": who, "p50_ms": ms,
            "p95_ms": ms * 1.1, "p99_ms": None, "times_as_fast_as": {other: t / ms for other, t in times.items()},
        }
        for task in ("score", "sample") for batch in (1, 32) for threads in (1, 2) for who, ms in times.items()
    ]  # fmt: skip
    cold = {who: {"turns": [0.2, 0.1], "peak_mb": 80.0} for who in ("imports", *times) if speed_page.CHOSEN not in who}
    cold["PyTorch"]["turns"] = [1.4, 0.7]
    return {
        "date": "2026-01-01", "cpu": "a CPU", "cores": 2, "system": "Linux", "python": "3.11",
        "packages": {"numpy": "2"},
        "load_before": [0.1, 0.1, 0.1], "floor": {"1": {"gflops": 100.0, "copy_gb_s": 20.0}}, "cells": cells,
        "subjects": [{"name": "toy", "title": "toy rows", "batch": 32, "mflop": 1.0, "weight_bytes": 4000,
                      "variant_bytes": {"fp32": 4000, "int8-cpu": 1100}}],
        "overhead_us": {"toy": {"score": 12.0, "sample": 50.0}},
        "nodes": {"toy": [{"variant": "fp32", "graph": "score", "batch": 1, "ms": 0.5, "products": 0.75, "moves": 0.05,
                           "rest": 0.2, "most": {"Conv": 0.7, "Pow": 0.1, "Gemm": 0.05}}]},
        "beside": {"toy": {"1": {"1 thread": {"p50_ms": 0.4, "p95_ms": 0.8},
                                 "2 threads": {"p50_ms": 0.5, "p95_ms": None}}}},
        "stream": {"toy": {"each for itself": 230.0, "waiting ones together": 460.0}},
        "isolation": {"toy": {"start_s": {"plain": 0.1, "isolated": 0.35}, "score": {
            "1": {"plain": {"p50_ms": 0.4, "p95_ms": 0.8}, "isolated": {"p50_ms": 0.6, "p95_ms": None}}}}},
        "errors": {"toy": dict.fromkeys(times, 2e-7)}, "cold": {"toy": cold},
        "quality": {"toy": {"rows": 2000, "auroc": 0.9, "ways": {
            "int8": {"spearman": 0.9991, "equal_decisions": 0.999, "auroc": 0.899},
            "bf16": {"spearman": 0.9985, "equal_decisions": 0.998, "auroc": 0.9}}}},
    }  # fmt: skip


def line(text: str, start: str) -> list[str]:
    return [cell.strip() for cell in next(row for row in text.splitlines() if row.startswith(f"| {start}")).split("|")]


def test_targets_are_ratios_of_the_same_cells() -> None:
    text = speed_targets.targets_page(document())
    assert line(text, "fp32, PyTorch eager")[2:5] == [">= 2.5", "4.000", "yes"]
    assert line(text, "fp32, separate sessions |")[3:5] == ["2.000", "yes"]
    assert line(text, "fp32, the fastest peer")[3:5] == ["1.500", "yes"]
    assert line(text, "int8, our own fp32")[3:5] == ["4.000", "yes"]
    assert line(text, "cold start, PyTorch")[3:5] == ["7.000", "yes"]
    assert line(text, "int8 AUROC drop, toy")[3:5] == ["+0.0010", "yes"]
    assert line(text, "bf16, our own fp32")[3:5] == ["2.000", "yes"]
    assert line(text, "fp32 on the engine chosen, PyTorch")[3:5] == ["5.000", "yes"]
    assert line(text, "fp32 on the engine chosen, separate")[2:5] == [">= 1.4", "2.500", "yes"]
    assert line(text, "fp32 on the engine chosen, the fastest peer")[3:5] == ["1.875", "yes"]
    assert line(text, "int8 on the engine chosen, our own fp32")[2:5] == [">= 2", "5.000", "yes"]
    assert line(text, "toy, fp32, score, 1 row")[2:7] == ["0.5", "75%", "5%", "20%", "Conv 70%, Pow 10%, Gemm 5%"]
    assert line(text, "bf16 Spearman, toy")[2:5] == [">= 0.999", "0.9985", "**no**"]
    assert line(text, "int8 bytes over fp32's, toy")[3:5] == ["0.28", "yes"]
    assert line(text, "toy, 32 rows, 1 thread")[2:7] == ["100", "20", "0.32", "1", "3.12"]


def test_the_page_of_users_begins_with_speed_and_memory() -> None:
    text = speed_page.page(document(), "speed.png")
    assert "with fp32 graphs it is 4 times as fast as PyTorch eager, with int8-cpu graphs it is 16 times" in text
    assert line(text, "Toy rows")[2:7] == ["4 ms", "1 ms", "0.25 ms", "1.05 s, 80 MB", "0.15 s, 80 MB"]
    assert text.index("Toy rows") < text.index("## Every cell") < text.index("## Cold start and memory")
    assert "asked |" not in text
    assert line(text, "toy, 1 row | 0.4")[2:4] == ["0.4 / 0.8", "0.5 / -"]
    assert line(text, "toy | 230")[2:4] == ["230", "460"]
    assert line(text, "toy, load to first score")[2:4] == ["0.10 s", "0.35 s"]
    assert line(text, "toy, score of 1 row")[2:4] == ["0.4 / 0.8 ms", "0.6 / - ms"]
    assert speed_page.CHOSEN not in text  # no column of its own: its times are of other rounds


def test_a_target_that_is_missed_says_so() -> None:
    text = speed_targets.targets_page(document(ours_ms=2.0))
    assert line(text, "fp32, PyTorch eager")[3:5] == ["2.000", "**no**"]
    assert line(text, "fp32, the fastest peer")[3:5] == ["0.750", "**no**"]


def test_the_published_pages_are_laid_out_as_the_script_writes_them() -> None:
    """Their figures are of a run of half an hour; headings and heads of tables are those of the code."""
    speed = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    targets = (ROOT / "benchmarks" / "speed" / "targets.md").read_text(encoding="utf-8")
    for published, written in (
        (speed, speed_page.page(document(), "images/speed.png")),
        (targets, speed_targets.targets_page(document())),
    ):
        assert re.findall(r"^##? .*", published, flags=re.MULTILINE) == re.findall(
            r"^##? .*", written, flags=re.MULTILINE
        )
        assert published.split("## ")[0].split("Written by")[0] == written.split("## ")[0].split("Written by")[0]
        assert re.search(r"^Written by `make bench` on 20\d\d-", published, flags=re.MULTILINE)
    assert speed.count("\n### ") >= 3
    assert line(speed, "Sensor windows")[1:7] == [
        "Sensor windows, 100 x 38, MLP", "1.39 ms", "0.64 ms", "0.172 ms", "1.02 s, 265 MB", "0.18 s, 91 MB"
    ]  # fmt: skip


def test_the_picture_is_a_png() -> None:
    assert speed_page.figure(document())[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_a_quick_run_measures_everything_once(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "speed" / "run.py"), "--quick", "--subjects", "windows", "--output",
         str(tmp_path)], check=True, capture_output=True,
    )  # fmt: skip
    found = json.loads((tmp_path / "speed-quick.json").read_text("utf-8"))
    assert {(c["task"], c["batch"], c["threads"]) for c in found["cells"]} == {
        (task, batch, threads) for task in ("score", "sample") for batch in (1, 32) for threads in (1, 2)
    }
    assert found["errors"]["windows"]["vae-edge fp32"] < 1e-5
    assert {"vae-edge fp32, not spinning", "vae-edge int8-cpu, not spinning"} <= {
        c["who"] for c in found["cells"] if c["threads"] == 2
    }
    assert [one["p50_ms"] > 0 for ways in found["beside"]["windows"].values() for one in ways.values()] == [True] * 6
    cost = found["isolation"]["windows"]
    assert cost["start_s"]["isolated"] > cost["start_s"]["plain"]  # a process has to begin
    assert cost["score"].keys() == {"1", "32"}
    nodes = found["nodes"]["windows"]
    assert [n["ms"] > 0 and n["products"] > 0.4 and min(n["moves"], n["rest"]) > -1e-9 for n in nodes] == [True] * 8
    assert found["quality"]["windows"]["ways"]["int8"]["spearman"] > 0.99
    assert "| fp32, PyTorch eager |" in (tmp_path / "speed-quick-targets.md").read_text("utf-8")
    assert (tmp_path / "speed-quick.png").stat().st_size > 5000
