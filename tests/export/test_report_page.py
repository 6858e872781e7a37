"""The report of an export as a table of a notebook, and as strict JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from tiny_bundle import TinyBundle

from vae_edge_export import ExportReport
from vae_edge_runtime.format.figures import ModelFit, Parity, Verdict


def _report(tiny: TinyBundle) -> ExportReport:
    assert tiny.manifest
    parity = {"score.score": Parity(float("nan"), 1.5e-7, 1e-5, "float64", 100)}
    verdict = Verdict(40, 1e-6, 1e-7, 0.99999, 1, None, None)
    fp32 = replace(tiny.manifest.variants["fp32"], parity=parity, verdict=verdict)
    values = {
        "path": tiny.path,
        "size_bytes": 5120,
        "bundle_id": "ab" * 32,
        "default_variant": "fp32",
        "fit": ModelFit(100, 0.91, -1.0, 1.0, 2, 2, False),
        "variants": {"fp32": fp32},
        "graph_bytes": {"fp32": 4096},
        "warnings": ("few rows: <b>bold</b>",),
    }
    others = {field.name: () for field in fields(ExportReport) if field.name not in values}
    return ExportReport(**values, **others)  # type: ignore[arg-type]


def test_a_report_is_a_row_per_variant_with_its_warnings_escaped(tiny: TinyBundle) -> None:
    page = _report(tiny)._repr_html_()
    assert page.count("<tr") == 2
    for shown in ("fp32", "4,096", "1.5e-07", "1 of 40", "0.99999", "bundle abababababab", "R² 0.91"):
        assert shown in page
    assert "few rows: &lt;b&gt;bold&lt;/b&gt;" in page
    assert len(page) < 4000


def test_a_report_is_strict_json(tiny: TinyBundle) -> None:
    values = json.loads(json.dumps(_report(tiny).to_dict(), allow_nan=False))
    assert values["path"] == str(tiny.path)
    assert values["parity"]["score.score"]["max_absolute"] is None
    assert values["variants"]["fp32"]["verdict"]["flipped"] == 1
    assert "graphs" not in values["variants"]["fp32"]
