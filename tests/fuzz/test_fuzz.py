"""What the fuzzer found before stays refused, and some more of what it makes; ``make fuzz`` goes on for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from all_targets import TARGETS
from engine import ENGINES, end_of, graphs
from targets import accepted

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*/*.bin"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.stem[:8]}")
def test_what_was_found_once_is_refused_or_survived(path: Path) -> None:
    name, raw = path.parent.name, path.read_bytes()
    if name in TARGETS:
        if (package := TARGETS[name].needs) is not None:
            pytest.importorskip(package)
        accepted(TARGETS[name], raw)
        return
    pytest.importorskip(name)
    from vae_edge_runtime import GraphRefused
    from vae_edge_runtime.format.onnx_scan import scan

    with pytest.raises(GraphRefused):
        scan(raw)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_raise_nothing_but_deliberate_errors(name: str) -> None:
    target, rng = TARGETS[name], random.Random(0)
    if target.needs is not None:
        pytest.importorskip(target.needs)
    seeds = target.seeds()
    assert accepted(target, seeds[0])
    results = [accepted(target, target.mutate(seeds, rng)) for _ in range(target.runs)]
    assert results.count(False) > target.least_refused * len(results)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_graphs_that_pass_the_scanner_do_not_end_their_process(engine: str) -> None:
    pytest.importorskip(engine)
    stream = graphs(random.Random(7))
    passed = [raw for raw in (next(stream) for _ in range(150)) if raw is not None]
    assert len(passed) > 50
    for start in range(0, len(passed), 25):
        assert end_of(engine, passed[start : start + 25]) == ""
