"""Results as JSON that every reader reads: no NaN, no numpy, statuses by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_session import FakeSession, quiet
from tiny_bundle import FEATURES, TinyBundle

from vae_edge_runtime import Event, OptionError, Status, load, verify
from vae_edge_runtime.scoring.plain import plain
from vae_edge_runtime.stream import open_stream

ROWS = np.random.default_rng(0).normal(size=(6, FEATURES)).astype(np.float32)
ROWS[2, 1] = np.nan


def _strict(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_every_column_has_a_value_or_null_per_row(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu", threads=1) as vae:
        scores = vae.score(ROWS, maps=True)
    values = _strict(scores.to_dict(maps=True))
    assert values["rows"] == 6
    assert values["status"] == ["ok", "ok", "non_finite_input", "ok", "ok", "ok"]
    for name in ("score", "p_value", "is_anomaly", "reconstruction", "kl"):
        assert [value is None for value in values[name]] == [i == 2 for i in range(6)], name
    np.testing.assert_array_equal(np.float32(values["score"][3:]), scores.score[3:])
    np.testing.assert_array_equal(np.float64(values["p_value"][3:]), scores.p_value[3:])
    assert values["is_anomaly"][3:] == scores.is_anomaly[3:].tolist()
    assert values["heads"]["elbo"]["score"] == values["score"]
    assert values["threshold"] == scores.threshold
    assert np.shape(values["map"][0]) == (FEATURES,)
    assert values["map"][2] == [None] * FEATURES
    assert _strict(scores.heads["elbo"].to_dict()) == values["heads"]["elbo"]


def test_maps_that_were_not_asked_for_are_refused_and_left_out_by_default(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu", threads=1) as vae:
        scores = vae.score(ROWS)
    assert "map" not in scores.to_dict()
    with pytest.raises(OptionError, match="maps were not asked for"):
        scores.to_dict(maps=True)


def test_a_bundle_without_a_calibration_gives_null_and_no_guess(tiny: TinyBundle) -> None:
    values = tiny.plain
    values["variants"]["fp32"]["calibration"] = None
    del values["members"]["fp32/calibration.bin"], tiny.members["fp32/calibration.bin"]
    with load(tiny.write(values), device="cpu", threads=1) as vae:
        columns = _strict(vae.score(ROWS).to_dict())
        decided = _strict(vae.score(ROWS, threshold=0.0).to_dict())
    assert (columns["threshold"], columns["p_value"], columns["is_anomaly"]) == (None, None, None)
    assert (decided["threshold"], decided["p_value"], decided["is_anomaly"][0]) == (0.0, None, True)


def test_an_event_holds_nothing_that_json_lacks(tiny_path: Path) -> None:
    event = Event("decision", 3, time=math.nan, score=np.float32("nan"), heads={"peak": (math.inf, None)})
    assert _strict(event.to_dict())["time"] is None
    assert _strict(event.to_dict())["heads"] == {"peak": {"score": None, "p_value": None}}
    figures = {"ks": np.float64("nan"), "rows": np.int64(4), "list": (np.float32(0.1), math.inf)}
    assert _strict(Event("drift", 9, figures=figures).to_dict())["figures"] == {
        "ks": None,
        "rows": 4,
        "list": [0.1, None],
    }
    with open_stream(FakeSession(), quiet(30)) as events:
        assert len([_strict(event.to_dict()) for event in events]) > 0


def test_an_anatomy_of_a_row_without_a_score_is_null(tiny_path: Path) -> None:
    with load(tiny_path, device="cpu", threads=1) as vae:
        anatomy = vae.explain(ROWS)
    bad, good = _strict(anatomy.to_dict(2)), _strict(anatomy.to_dict(1))
    assert bad["status"] == "non_finite_input"
    assert bad["score"] is bad["reconstruction"] is bad["kl"] is bad["heads"]["elbo"] is None
    assert good["score"] == pytest.approx(float(anatomy.scores.score[1]))


def test_every_result_with_a_to_dict_is_strict_json(tiny_path: Path) -> None:
    checked = verify(tiny_path)
    assert _strict(checked.to_dict())["ok"] is True
    assert _strict(checked.info.to_dict())["variant"] == "fp32"


def test_plain_values_keep_float32_short_and_name_enumerations() -> None:
    values = {"a": np.float32(0.1), "b": [Status.OK, np.array([[1.5, np.nan]])], "c": Path("x/y"), "d": np.bool_(True)}
    assert plain(values) == {"a": 0.1, "b": ["ok", [[1.5, None]]], "c": str(Path("x/y")), "d": True}
