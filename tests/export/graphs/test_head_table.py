"""The tables of heads and likelihoods, row by row: what is added halfway fails here and says what is missing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_heads as formulas
from shell import run as shell

from vae_edge.cli import _source
from vae_edge_export import ExportConfig
from vae_edge_export.graphs.head_formulas import CONSTANTS, FORMULAS, SAMPLED_FORMULAS
from vae_edge_export.graphs.likelihoods import NEGATIVE_LOG, SHOWN
from vae_edge_export.sources import KINDS
from vae_edge_runtime import BundleInvalid
from vae_edge_runtime.format.heads import HEADS, Head, computed, defaults
from vae_edge_runtime.format.likelihoods import LIKELIHOODS
from vae_edge_runtime.format.manifest import Variant
from vae_edge_runtime.format.schema import manifest_schema
from vae_edge_runtime.format.specs import ScoreSpec
from vae_edge_runtime.record import field_types
from vae_edge_runtime.scoring.heads import FROM_P_VALUES, FROM_STATISTICS

DOCS = Path(__file__).parents[3] / "docs"
COST = {"score": "one decode", "sampled": "K decodes", "statistics": "+ numpy", "p_values": "+ numpy"}
TESTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("elbo", "reconstruction", "kl", "top", "peak"), formulas.test_heads_of_one_decode),
    **dict.fromkeys(("ssim", "gradient"), formulas.test_image_heads_find_the_small_defect_that_the_sum_drowns),
    **dict.fromkeys(
        ("reconstruction_probability", "iwae"), formulas.test_sampled_heads_are_those_of_the_written_down_noise
    ),
    "mahalanobis": formulas.test_mahalanobis_is_the_distance_from_the_calibration_codes,
    "typicality": formulas.test_typicality_is_the_distance_from_the_mean_score,
    **dict.fromkeys(("fisher", "harmonic", "ranks"), formulas.test_ensembles_combine_the_p_values_of_their_parts),
}
"""By head: the test that compares it with its formula."""


@pytest.fixture(scope="module")
def export_help() -> str:
    return re.sub(r"[\s│]+", " ", shell("export", "--help").out)


@pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))
def test_a_head_has_a_formula_a_test_of_it_a_line_in_the_docs_and_is_named_by_help_and_schema(
    head: Head, export_help: str
) -> None:
    by_place = {
        "score": FORMULAS, "sampled": SAMPLED_FORMULAS, "statistics": FROM_STATISTICS, "p_values": FROM_P_VALUES,
    }  # fmt: skip
    assert [place for place, named in by_place.items() if head.name in named] == [head.computed]
    assert f'"{head.name}"' in inspect.getsource(TESTS[head.name])
    cells = (f"`{head.name}`", head.help.replace("|", r"\|"), COST[head.computed], head.source)
    line = f"| {' | '.join(cells)}".rstrip()
    assert f"\n{line} |\n" in (DOCS / "anomaly-scores.md").read_text()
    assert f" {head.name}," in export_help or f" {head.name}. " in export_help
    assert head.name in manifest_schema()["$defs"]["ScoreSpec"]["properties"]["heads"]["items"]["enum"]
    assert head.statistic is None or head.statistic in field_types(Variant)


def test_no_formula_is_of_no_head() -> None:
    named = [*FORMULAS, *SAMPLED_FORMULAS, *FROM_STATISTICS, *FROM_P_VALUES]
    assert sorted(named) == sorted(HEADS) == sorted(TESTS)
    assert set(CONSTANTS) <= set(FORMULAS)
    docs = re.findall(
        r"^\| `(\w+)` \| .* (?:decodes?|numpy) \|", (DOCS / "anomaly-scores.md").read_text(), re.MULTILINE
    )
    assert sorted(docs) == sorted(HEADS)


def test_only_heads_of_one_decode_may_be_the_default_and_never_kl() -> None:
    assert set(defaults()) == set(computed("score")) - {"kl"}
    assert not any(head.may_be_part for head in HEADS.values() if head.computed == "p_values")
    advice = sorted(head.trap_advice for head in HEADS.values() if head.trap_advice is not None)
    assert advice == list(range(1, len(advice) + 1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=list(LIKELIHOODS))
def test_a_likelihood_has_its_formulas_a_line_in_the_docs_and_is_named_by_help_and_schema(
    likelihood: Any, export_help: str
) -> None:
    assert sorted(LIKELIHOODS) == sorted(NEGATIVE_LOG) == sorted(SHOWN)
    assert f"| reconstruction, `{likelihood.name}` |" in (DOCS / "concepts.md").read_text()
    assert re.search(rf"^\| .*`{likelihood.name}`", (DOCS / "bring-your-own-vae.md").read_text(), re.MULTILINE)
    assert re.search(rf" {likelihood.name}[,.]", export_help)
    assert likelihood.name in manifest_schema()["$defs"]["ScoreSpec"]["properties"]["likelihood"]["enum"]
    assert f"``{likelihood.name}``" in (inspect.getdoc(ExportConfig) or "")


def test_help_names_every_library_whose_files_are_opened() -> None:
    assert [words.split(":")[0] for words in re.split(", | or ", _source._SAVED)] == list(KINDS)


@pytest.mark.parametrize(
    ("heads", "parts", "problem"),
    [
        (("elbo", "depth"), (), "'depth' is no head; valid are elbo, "),
        (("kl",), (), "kl cannot be the default head"),
        (("elbo", "top", "ranks"), ("elbo", "depth"), "'depth' is no head"),
    ],
)
def test_a_score_of_what_is_no_head_is_refused(heads: tuple[str, ...], parts: tuple[str, ...], problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        ScoreSpec("mse", None, 1.0, 1.0, "identity", heads, 0.01, 0, 0.0, parts)
