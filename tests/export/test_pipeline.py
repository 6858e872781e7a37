"""An export as a story: what is asked once, and what the rooms' front doors hold."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strangers import Plain

from vae_edge_export import ExportConfig, export, inspect_model
from vae_edge_export.adapters import Recipe, recognise

ROOT = Path(__file__).parents[2]


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every model whose halves were looked for."""
    searched: list[Any] = []
    find = recognise.find

    def counted(model: Any, **halves: Any) -> Recipe:
        searched.append(model)
        return find(model, **halves)

    monkeypatch.setattr(recognise, "find", counted)
    return searched


def test_an_export_and_an_inspection_look_for_the_halves_of_a_model_once(
    searches: list[Any], tmp_path: Path, rows: np.ndarray, make: Any
) -> None:
    model = make(Plain)
    export(model, tmp_path / "m.vaeb", calibration=rows, config=ExportConfig(layout="features"))
    assert searches == [model]
    inspect_model(model, rows[:4], config=ExportConfig(layout="features"))
    assert searches == [model, model]


def test_an_export_reads_from_top_to_bottom_in_a_screenful() -> None:
    (function,) = ast.parse(inspect.getsource(export)).body
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:]  # without the docstring
    assert (body[-1].end_lineno or 0) - body[0].lineno + 1 <= 50


@pytest.mark.parametrize("path", sorted((ROOT / "export").rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_an_init_file_holds_public_names_only(path: Path) -> None:
    if path.parent.name == "vae_edge_export":
        return  # says which extra is missing where torch is: test_import_rules holds it
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    assert [type(statement).__name__ for statement in statements if not isinstance(statement, allowed)] == []
