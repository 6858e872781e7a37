"""Bundles of every schema version since the first: each opens, verifies and scores as on the day it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures import FIGURES, TOLERANCES, bundles, figures, format_now, frozen

from vae_edge_runtime import Bundle, verify
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.manifest import SCHEMA_VERSION

STORED: dict[str, Any] = json.loads(FIGURES.read_text())
RUNS = [(path, variant) for path in bundles() for variant in STORED[path.name]["variants"]]
MARGIN_OF_P = {"fp32": 0.02, "fp16": 0.05, "int8": 0.15, "int8-cpu": 0.15}
"""Of p-values by variant, absolute: about two calibration rows of 100 in fp32."""


def identities() -> list[str]:
    return [f"{path.stem} {variant}" for path, variant in RUNS]


def close(found: Any, stored: Any, tolerance: float, what: str) -> None:
    if stored is None:
        assert found is None, what
        return
    wanted = np.asarray(stored, dtype=np.float64)
    size = np.sqrt(np.mean(np.square(wanted)))
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size, err_msg=what)


@pytest.mark.parametrize("path", bundles(), ids=lambda path: path.stem)
def test_a_bundle_of_the_corpus_opens_and_verifies(path: Path) -> None:
    with Bundle.open(path) as bundle:
        assert (bundle.bundle_id, bundle.manifest.pair_id) == (
            STORED[path.name]["bundle_id"], STORED[path.name]["pair_id"],
        )  # fmt: skip
        assert bundle.manifest.schema_version == SCHEMA_VERSION  # whatever the file says
        assert sorted(bundle.manifest.variants) == sorted(STORED[path.name]["variants"])
    assert verify(path, device="cpu", threads=1).ok


@pytest.mark.parametrize(("path", "variant"), RUNS, ids=identities())
def test_a_bundle_of_the_corpus_scores_as_it_did(path: Path, variant: str) -> None:
    stored, now = STORED[path.name]["variants"][variant], figures(path, variant)
    tolerance = TOLERANCES[variant]
    assert now["status"] == stored["status"]
    assert now["heads"].keys() == stored["heads"].keys()
    for head, figures_then in stored["heads"].items():
        figures_now = now["heads"][head]
        assert figures_now["threshold"] == pytest.approx(figures_then["threshold"], rel=1e-8)
        if HEADS[head].computed != "p_values":  # an ensemble's score jumps with the p-values of its parts
            close(figures_now["score"], figures_then["score"], tolerance, head)
        np.testing.assert_allclose(figures_now["p_value"], figures_then["p_value"], atol=MARGIN_OF_P[variant])
        # A decision may turn where the score is as near to the threshold as scores are to each other.
        scores, threshold = np.asarray(figures_then["score"], dtype=np.float64), figures_then["threshold"]
        sure = ~(np.abs(scores - threshold) <= 2 * tolerance * np.maximum(np.abs(scores), abs(threshold)))
        assert sure.mean() >= 0.75, head
        np.testing.assert_array_equal(
            np.asarray(figures_now["is_anomaly"])[sure], np.asarray(figures_then["is_anomaly"])[sure], head
        )
    for name in ("map", "mean", "decoded", "sample"):
        close(now[name], stored[name], tolerance, name)
    assert now["indices"] == stored["indices"]


def test_the_corpus_is_small_and_each_file_has_its_figures() -> None:
    sizes = {path.name: path.stat().st_size for path in bundles()}
    assert max(sizes.values()) < 60_000
    assert sum(sizes.values()) < 600_000 * SCHEMA_VERSION
    assert sorted(sizes) == sorted(STORED)


def test_the_corpus_holds_every_head_likelihood_layout_and_kind() -> None:
    manifests = []
    for path in bundles():
        with Bundle.open(path) as bundle:
            manifests.append(bundle.manifest)
    assert {head for m in manifests for head in m.score.heads} == set(HEADS)
    assert {m.score.likelihood for m in manifests} == set(LIKELIHOODS)
    assert {m.score.transform for m in manifests} == {"identity", "sqrt"}
    assert {m.latent.kind for m in manifests} == {"gaussian", "deterministic", "codes"}
    assert {m.latent.prior.kind for m in manifests} == {"standard_normal", "gaussian_mixture", "categorical", "none"}
    assert {m.input.layout for m in manifests} == {"features", "time_features", "nhwc", "nchw", "any"}
    assert {m.input.dtype for m in manifests} == {"float32", "uint8"}
    assert {m.output.dtype for m in manifests} == {"float32", "uint8"}
    assert {None if m.condition is None else m.condition.dtype for m in manifests} == {None, "int64", "float32"}
    assert {name for m in manifests for name in m.variants} == {"fp32", "fp16", "int8", "int8-cpu"}
    assert {c.source for m in manifests for v in m.variants.values() for c in v.calibrations} == {
        "conformal", "tail", "model",
    }  # fmt: skip
    assert any(m.latent.groups for m in manifests)
    anomalies = [x for r in STORED.values() for v in r["variants"].values() for x in v["heads"].values()]
    decisions = np.concatenate([head["is_anomaly"] for head in anomalies])
    assert 0.1 < decisions.mean() < 0.9  # figures that decide nothing would prove nothing


def test_a_change_of_the_format_needs_a_new_schema_version() -> None:
    """Add no key, head, likelihood, kind or operator to a version that devices may have: they could not say why."""
    stored, now = json.loads(frozen(SCHEMA_VERSION).read_text()), format_now()
    differing = sorted(set(flat(now)) ^ set(flat(stored)))
    assert differing == [], (
        f"the format is no longer that of schema version {SCHEMA_VERSION}: raise SCHEMA_VERSION, add an upgrade "
        "(format/upgrade.py), and make that version's corpus. Before the first release of a version, "
        "tests/corpus/make.py may write it anew"
    )


def test_every_older_format_is_still_written_down() -> None:
    assert all(frozen(version).is_file() for version in range(1, SCHEMA_VERSION + 1))


def flat(value: Any, path: str = "") -> list[str]:
    """One line of text per leaf."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in flat(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [line for item in value for line in flat(item, f"{path}[]")]
    return [f"{path} = {value!r}"]
