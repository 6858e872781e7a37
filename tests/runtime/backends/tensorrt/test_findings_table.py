"""The table of findings in docs/tensorrt.md names tests that there are, and lanes of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_every_test_and_lane_of_the_table_exists() -> None:
    text = (ROOT / "docs" / "tensorrt.md").read_text()
    rows = re.findall(r"^\| (A\d+|B) \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    assert [number for number, *_ in rows] == [*(f"A{i}" for i in range(1, 21)), "B"]
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    for number, _, tests, lanes in rows:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, number
        assert set(named) <= there, number
        assert set(re.findall(r"`make ([\w-]+)`", lanes)) <= {"test", "rtx", "gpu-stubs", "ort-gpu"}, number
