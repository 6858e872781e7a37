from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import TinyBundle

from vae_edge_runtime import BundleError, BundleInvalid, BundleTooNew, Manifest
from vae_edge_runtime.format.manifest import SCHEMA_VERSION
from vae_edge_runtime.format.schema import manifest_schema, schema_text

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "manifest.schema.json"
PLAIN: dict[str, Any] = TinyBundle(Path("unused")).plain
TEXT = json.dumps(PLAIN)


def read(plain: Any) -> Manifest:
    return Manifest.from_json(json.dumps(plain).encode())


def test_a_manifest_comes_back_as_it_was_and_its_text_is_one(tiny: TinyBundle) -> None:
    assert tiny.manifest
    raw = tiny.manifest.to_json()
    assert Manifest.from_json(raw) == tiny.manifest
    assert Manifest.from_json(raw).to_json() == raw
    assert read(json.loads(raw)).to_json() == raw


def test_the_published_schema_is_the_generated_one() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), (
        "run: python -m vae_edge_runtime schema > docs/manifest.schema.json"
    )


def test_the_page_of_the_format_is_of_this_version() -> None:
    page = (SCHEMA_FILE.parent / "bundle-format.md").read_text()
    assert page.startswith(f"# The bundle format, schema version {SCHEMA_VERSION}\n")
    assert f'| `format`, `schema_version` | `"vae-edge-bundle"`, {SCHEMA_VERSION} |' in page


def test_the_schema_takes_a_real_manifest_and_refuses_a_spoilt_one() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    validator = jsonschema.Draft202012Validator(manifest_schema())
    assert list(validator.iter_errors(PLAIN)) == []
    for path, value in (
        (("release",), "1"),
        (("input", "dtype"), "int7"),
        (("schema_version",), SCHEMA_VERSION + 1),
        (("golden",), None),
    ):
        spoilt: Any = copy.deepcopy(PLAIN)
        holder = spoilt
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        assert len(list(validator.iter_errors(spoilt))) == 1, path


def objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value inside, parents first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*path, key), *objects(item, (*path, key))]]


def edited(path: tuple[Any, ...], edit: Callable[[Any, Any], Any]) -> Any:
    plain = copy.deepcopy(PLAIN)
    holder: Any = plain
    for key in path[:-1]:
        holder = holder[key]
    edit(holder, path[-1])
    return plain


FREE_KEYS = {("model", "metrics"), ("made_with",)}


@pytest.mark.parametrize("value", [None, True, [], {}, "x", -1, 0.5, [[]], "\x1b"])
def test_no_value_of_a_wrong_type_anywhere_is_taken_or_crashes(value: Any) -> None:
    validator = jsonschema.Draft202012Validator(manifest_schema())
    for path in objects(PLAIN):
        plain = edited(path, lambda holder, key: holder.__setitem__(key, value))
        try:
            manifest = read(plain)
        except BundleError:
            continue
        assert validator.is_valid(plain), path
        assert read(json.loads(manifest.to_json())) == manifest, path


def test_every_key_is_needed_and_no_other_is_known() -> None:
    validator = jsonschema.Draft202012Validator(manifest_schema())
    for path in objects(PLAIN):
        if isinstance(path[-1], int) or path[:-1] in FREE_KEYS:
            continue
        with pytest.raises(BundleInvalid):
            read(edited(path, lambda holder, key: holder.pop(key)))
    for path in [(), *objects(PLAIN)]:
        plain = edited((*path, "surprise"), lambda holder, key: isinstance(holder, dict) and holder.update({key: 1}))
        if plain != PLAIN and path != ("model", "metrics"):
            with pytest.raises(BundleInvalid):
                read(plain)
            assert not validator.is_valid(plain) or path[:2] == ("golden", "tolerance_relative"), path


@given(path=st.sampled_from(objects(PLAIN)), data=st.data())
@settings(max_examples=300)
def test_any_json_value_anywhere_is_taken_whole_or_refused(path: tuple[Any, ...], data: st.DataObject) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    value = data.draw(
        scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=3)
    )
    plain = edited(path, lambda holder, key: holder.__setitem__(key, value))
    try:
        manifest = read(plain)
    except BundleError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="key 'release' occurs twice"):
        Manifest.from_json(TEXT.replace('"release": 1', '"release": 1, "release": 2').encode())


def test_a_tail_that_is_no_distribution_is_an_invalid_bundle() -> None:
    """Its class says CalibrationError, which is about rows; here the file is to blame."""
    plain = copy.deepcopy(PLAIN)
    plain["variants"]["fp32"]["calibration"]["tail"] = {
        "level": 1.0,
        "shape": 0.1,
        "scale": -1.0,
        "excesses": 5,
        "n": 20,
    }
    with pytest.raises(BundleInvalid, match=r"calibration\.tail"):
        read(plain)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999"])
def test_a_threshold_that_is_no_number_is_refused(text: str) -> None:
    threshold = json.dumps(PLAIN["variants"]["fp32"]["calibration"]["threshold"])
    assert TEXT.count(threshold) == 1
    with pytest.raises(BundleInvalid, match=r"not a number|overflows"):
        Manifest.from_json(TEXT.replace(threshold, text).encode())


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 1000, 1 << 40])
def test_a_newer_schema_says_what_to_update(version: int) -> None:
    problem = f"schema version {version}, this runtime reads up to {SCHEMA_VERSION}: update vae-edge"
    with pytest.raises(BundleTooNew, match=problem):
        read({"schema_version": version, "whatever": 1})


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_schema_version_that_never_existed_is_refused(version: Any) -> None:
    with pytest.raises(BundleInvalid):
        read(PLAIN | {"schema_version": version})


GRAPH = ("variants", "fp32", "graphs", "decode")


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("format",), "zip", "format is 'zip'; valid are vae-edge-bundle"),
        (("release",), 0, "release is below 1"),
        (("pair_id",), "0" * 31, "pair_id is not 32 hex digits"),
        (("pair_id",), "0" * 32 + "\n", "pair_id"),
        (("model", "name"), " ", "the name is empty"),
        (("variants",), {}, "there is no variant"),
        (("input", "shape"), [4, 4], "layout features needs 1 axes"),
        (("input", "shape"), [0], "is not a shape"),
        (("input", "shape"), [1 << 31], "is not a shape"),
        (("input", "names"), ["a"], "1 names for 4 features"),
        (("input", "low"), 9.0, "low 9.0 is above high 4.0"),
        (("latent", "shape"), [3], "decode inputs are|encode outputs are"),
        (("latent", "shape"), [1 << 20, 1 << 20], "too many elements"),
        (("preprocessing", "scale"), [0.0], "a scale is not positive"),
        (("preprocessing", "offset"), [], "offset and scale differ in length"),
        (("score", "kl_weight"), -1.0, "a weight is negative"),
        (("score", "variance"), 0.0, "variance is not positive"),
        ((*GRAPH, "parts"), [], "parts are missing or repeated"),
        ((*GRAPH, "parts"), ["fp32/decode.onnx"] * 2, "parts are missing or repeated"),
        ((*GRAPH, "parts"), ["fp32/decode.onnx"], "parts of decode add up to"),
        ((*GRAPH, "parts"), ["fp32/decode.onnx", "gone"], "member 'gone' is used and not listed"),
        ((*GRAPH, "size_bytes"), 1, "parts of decode add up to"),
        ((*GRAPH, "size_bytes"), 1 << 31, "below 2 GiB"),
        ((*GRAPH, "sha256"), "A" * 64, "sha256 is not 64 hex digits"),
        ((*GRAPH, "outputs"), [], "tensors are missing or repeated"),
        (("variants", "fp32", "calibration"), None, "'fp32/calibration.bin' is listed and not used"),
        (("variants", "fp32", "calibration", "points"), 21, "points and n disagree"),
        (("variants", "fp32", "calibration", "points"), 19, "holds 160 bytes, not 152"),
        (("variants", "fp32", "calibration", "false_positive_rate"), 1.0, "not inside"),
        (("golden", "rows"), 0, "there are no golden rows"),
        (("golden", "rows"), 3, "holds 32 bytes, not 48"),
        (("golden", "expected"), {}, "golden"),
        (("golden", "tolerance_relative"), {}, "golden vectors and variants differ"),
        (("members", "fp32/encoder.weights", "sha256"), "0", "64 hex digits"),
        (("members", "fp32/encoder.weights", "size_bytes"), -1, "size_bytes"),
    ],
)
def test_values_that_contradict_each_other_are_refused(path: tuple[Any, ...], value: Any, problem: str) -> None:
    with pytest.raises(BundleInvalid, match=problem):
        read(edited(path, lambda holder, key: holder.__setitem__(key, value)))


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "A", "C:x", "a\\b", "a/..", "con", "manifest.json", "é", ""])
def test_a_member_name_that_is_no_plain_file_is_refused(name: str) -> None:
    plain = json.loads(TEXT.replace("golden/input.bin", "PLACE"))
    plain["golden"]["input"] = name
    plain["members"][name] = plain["members"].pop("PLACE")
    with pytest.raises(BundleInvalid, match=r"member name .* is not valid"):
        read(plain)


def test_golden_rows_of_an_output_that_does_not_exist_are_refused() -> None:
    with pytest.raises(BundleInvalid, match=r"golden output 'score\.nope' does not exist"):
        Manifest.from_json(TEXT.replace('"score.score"', '"score.nope"').encode())


def test_golden_rows_without_the_latents_that_decode_is_fed_are_refused() -> None:
    with pytest.raises(BundleInvalid, match=r"lack encode\.mean"):
        Manifest.from_json(TEXT.replace('"encode.mean"', '"encode.nope"').encode())
