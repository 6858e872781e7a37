from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny_bundle import FEATURES, GRAPHS, TinyBundle, model

from vae_edge_runtime import BundleCorrupt, BundleInvalid, GraphRefused, load, verify
from vae_edge_runtime.verification import max_errors


def test_a_good_bundle_proves_itself_with_figures(tiny_path: Path) -> None:
    found = verify(tiny_path)
    assert found.ok
    assert [(c.graph, c.output) for c in found.checks] == [
        ("encode", "mean"), ("encode", "logvar"), ("decode", "x_hat"), ("score", "score"),
    ]  # fmt: skip
    assert all(c.max_relative < 1e-6 for c in found.checks)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ok"] is True


def test_a_golden_miss_is_a_negative_verdict_with_the_figure(tiny: TinyBundle) -> None:
    member = "golden/fp32.score.score.bin"
    expected = np.frombuffer(tiny.members[member], "<f4")
    plain = tiny.replace_member(member, (expected * np.float32(1.01)).tobytes())
    found = verify(tiny.write(plain))
    assert not found.ok
    (miss,) = [c for c in found.checks if not c.passed]
    assert (miss.graph, miss.output) == ("score", "score")
    assert miss.max_relative == pytest.approx(0.01 / 1.01, rel=0.3)


def test_a_flipped_weight_is_refused_by_name(tiny: TinyBundle) -> None:
    path = tiny.write()
    raw = bytearray(path.read_bytes())
    raw[raw.index(tiny.members["fp32/decoder.weights"]) + 30] ^= 4
    path.write_bytes(raw)
    with pytest.raises(BundleCorrupt, match=r"fp32/decoder\.weights"):
        verify(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", 1e30), ("threshold", -1e300), ("threshold", 0.0), ("false_positive_rate", 0.4), ("n", 10**6)],
)
def test_a_threshold_that_its_calibration_scores_do_not_give_is_refused(
    tiny: TinyBundle, field: str, value: float
) -> None:
    plain = tiny.plain
    plain["variants"]["fp32"]["calibration"][field] = value
    path = tiny.write(plain)
    for call in (verify, load):
        with pytest.raises(BundleInvalid, match=r"head 'elbo': a threshold of .* is not what the calibration scores"):
            call(path, device="cpu")


@pytest.mark.parametrize(("rate", "said"), [(0.1, None), (0.3, "false-positive rate of 0.3")])
def test_a_threshold_of_the_model_has_the_rate_that_its_scores_show(
    tiny: TinyBundle, rate: float, said: str | None
) -> None:
    plain = tiny.plain
    calibration = plain["variants"]["fp32"]["calibration"]
    scores = np.frombuffer(tiny.members[calibration["member"]][:80], "<f4")
    calibration |= {"source": "model", "threshold": float(scores[18:].mean()), "false_positive_rate": rate * 20 / 21}
    path = tiny.write(plain)
    if said is None:
        assert verify(path).ok
        return
    with pytest.raises(BundleInvalid, match="a threshold of"):
        verify(path)


def test_what_only_further_heads_read_is_verified_too(tmp_path: Path) -> None:
    tiny = TinyBundle(tmp_path / "head.vaeb")
    plain = tiny.replace_member("fp32/calibration-kl.bin", tiny.members["fp32/calibration.bin"])
    plain["score"]["heads"] = ["elbo", "kl"]
    variant = plain["variants"]["fp32"]
    variant["channels"] = {"kl": {**variant["calibration"], "member": "fp32/calibration-kl.bin", "threshold": 1e9}}
    with pytest.raises(BundleInvalid, match="head 'kl': a threshold of"):
        verify(tiny.write(plain))


@pytest.mark.parametrize("shape", [(1,), (-1, 1)], ids=["one row for all", "an axis more"])
def test_outputs_of_another_shape_than_the_manifest_says_are_no_scores(
    tiny: TinyBundle, shape: tuple[int, ...]
) -> None:
    """Of 64 rows one score was spread over all of them, without a word."""
    nodes, inputs, outputs, _ = GRAPHS["score"]
    *others, total = nodes
    constant = helper.make_node("Constant", [], ["wanted"], value_ints=list(shape))
    if shape == (1,):
        ends = [helper.make_node("ReduceMax", ["all"], ["peak"], keepdims=0)]
        ends.append(helper.make_node("Reshape", ["peak", "wanted"], ["score"]))
    else:
        ends = [helper.make_node("Reshape", ["all", "wanted"], ["score"])]
    spoilt = [*others, helper.make_node(total.op_type, list(total.input), ["all"]), constant, *ends]
    plain = tiny.replace_member("fp32/score.onnx", model(spoilt, inputs, outputs).SerializeToString())
    path = tiny.write(plain)
    with load(path, device="cpu") as vae:
        for n in (2, 64, 65):
            with pytest.raises(GraphRefused, match=r"graph 'score' gave score of shape .* and the manifest says"):
                vae.score(np.zeros((n, FEATURES), np.float32))
    with pytest.raises(GraphRefused, match="and the manifest says"):
        verify(path)


@pytest.mark.parametrize(
    ("actual", "reference", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, 0.0),
        ([1.1, 100.0], [1.0, 100.0], 0.1, 0.1 / math.sqrt(5000.5)),
        ([0.0, 1e-9], [0.0, 0.0], 1e-9, math.inf),
        ([math.nan, 1.0], [1.0, 1.0], math.inf, math.inf),
        ([], [], 0.0, 0.0),
    ],
)
def test_relative_error_is_against_the_size_of_the_output(
    actual: list[float], reference: list[float], absolute: float, relative: float
) -> None:
    found = max_errors(np.array(actual), np.array(reference))
    assert found == pytest.approx((absolute, relative), rel=1e-12)


def test_one_step_of_an_integer_output_is_rounding() -> None:
    assert max_errors(np.array([9, 11], np.uint8), np.array([10, 10], np.uint8)) == (0.0, 0.0)
    assert max_errors(np.array([12], np.uint8), np.array([10], np.uint8)) == (1.0, 0.1)
