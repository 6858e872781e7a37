"""The Python runtime against the cases that every language runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from results import PAGE, counted, page, stored
from runner import HERE, cases, python, run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "sweep/flip")) for name in cases()]
)
def test_python_answers_as_every_language_must(name: str) -> None:
    run(cases()[name], python())


def test_the_suite_stays_small_and_every_file_of_it_is_used() -> None:
    files = [path for folder in ("data", "bundles") for path in (HERE / folder).iterdir()]
    assert sum(path.stat().st_size for path in [*files, HERE / "cases.json"]) < 1_000_000
    text = (HERE / "cases.json").read_text("utf-8")
    assert [str(path) for path in files if f'"{path.parent.name}/{path.name}"' not in text] == []


def test_the_readme_names_every_kind_of_case_and_no_other() -> None:
    text = (HERE / "README.md").read_text("utf-8")
    kinds = {case["do"] for case in cases().values()}
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == kinds


def test_every_error_of_a_bundle_has_its_cases() -> None:
    errors = {case["error"] for case in cases().values() if "error" in case}
    assert {"BundleCorrupt", "BundleInvalid", "BundleTooNew", "GraphRefused", "PairMismatch"} < errors
    assert {"InputError", "OptionError"} < errors


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    """Each kind of case, with one thing in its expectation changed."""
    changes = {
        "open/v1-gaussian": ("bundle_id", "0" * 64),
        "alarm/3-of-5": ("states", ["off"]),
        "score/no-finite-row": ("status", [0, 0, 0]),
        "decide/v1-gaussian/fp32/elbo": ("p_value", [0.5]),
        "noise/seed-7": ("noise", cases()["noise/seed-0"]["expect"]["noise"]),
    }
    for name, (key, value) in changes.items():
        case = json.loads(json.dumps(cases()[name]))
        case["expect"][key] = value
        with pytest.raises(AssertionError):
            run(case, python())
    accepted = {**cases()["open/sound"], "error": "BundleCorrupt"}
    with pytest.raises(AssertionError, match="accepted"):
        run(accepted, python())


def test_the_page_of_results_is_that_of_the_stored_results() -> None:
    assert PAGE.read_text("utf-8") == page(stored())


@pytest.mark.parametrize("language", sorted(stored()))
def test_stored_results_are_of_these_cases(language: str) -> None:
    assert {kind: total for kind, (_, total) in stored()[language]["kinds"].items()} == counted()


def test_python_passes_every_case() -> None:
    assert all(passed == total for passed, total in stored()["python"]["kinds"].values())
