"""The page on hardening names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "hardening.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!kind|---)", line) and not line.startswith("|---")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:50])
def test_every_row_has_a_cause_a_mend_and_a_test_that_is_there(row: str) -> None:
    kind, cause, mend, test = (cell.strip() for cell in row.strip("|").split(" | "))
    assert all((kind, cause, mend))
    path, _, name = test.strip("`").partition("::")
    assert (ROOT / path).is_file()
    assert name == "" or f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_the_page_has_all_nine_sections_of_the_review_and_is_linked() -> None:
    assert len(re.findall(r"^## ", PAGE, re.MULTILINE)) == 10
    assert len(ROWS) > 70
    assert "docs/hardening.md" in (ROOT / "SECURITY.md").read_text("utf-8")
