"""Damaged graphs, manifests and bundles: JavaScript refuses what Python refuses, by the same name.

``VAE_EDGE_JS_MUTANTS=20000`` looks at as many of each; the seed is that of the number.
"""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from mutate import mutated
from targets import TARGETS
from test_node import HERE, needs_node, node

from vae_edge_runtime import VaeEdgeError

MUTANTS = int(os.environ.get("VAE_EDGE_JS_MUTANTS", "1500"))


def name_of(action: Callable[[bytes], object], raw: bytes) -> str:
    try:
        action(raw)
    except VaeEdgeError as error:
        return type(error).__name__
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


@needs_node
@pytest.mark.parametrize("target", ["scanner", "manifest", "archive"])
def test_both_readers_say_the_same_of_damaged_input(target: str, tmp_path: Path) -> None:
    seeds, rng = list(TARGETS[target].seeds()), random.Random(MUTANTS)
    inputs = [*seeds, *(mutated(seeds, rng) for _ in range(MUTANTS))]
    path = tmp_path / "inputs.bin"
    path.write_bytes(b"".join(struct.pack("<I", len(raw)) + raw for raw in inputs))
    said = json.loads(node(HERE / "verdicts.js", target, path))
    differing = {}
    for number, (raw, verdict) in enumerate(zip(inputs, said, strict=True)):
        wanted = name_of(TARGETS[target].run, raw)
        if verdict.split()[0] != wanted:
            (tmp_path / f"{number}.bin").write_bytes(raw)
            differing[number] = f"Python: {wanted}; JavaScript: {verdict[:300]}"
    assert differing == {}
    assert sum(verdict == "accepted" for verdict in said) >= len(seeds)
