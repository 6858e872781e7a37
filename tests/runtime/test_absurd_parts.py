"""Absurd arguments of what stands beside a session, as ``test_absurd_arguments`` has them of the session itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from absurd import Call, others_than_ours, public_calls
from fake_session import ALARM, GUARD, FakeSession
from tiny_bundle import FEATURES, TinyBundle

import vae_edge_runtime
from vae_edge_runtime import VAE, Bundle, InputError, Manifest, OptionError, Scorer, ScoreSketch, load
from vae_edge_runtime.format import strict_json
from vae_edge_runtime.format.stream_rules import AlarmSpec, GuardSpec, StreamSpec
from vae_edge_runtime.stream import Alarm, Rows, StreamOptions, open_stream

ROWS = np.random.default_rng(0).normal(size=(40, FEATURES)).astype(np.float32)
STEPS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
SCORES = np.arange(300, dtype=np.float32)
SKETCH = ScoreSketch.fit(SCORES)
MADE_BY_US = frozenset(
    {"VAE", "Anatomy", "Bundle", "Decompressed", "Event", "Fault", "GoldenCheck", "HeadScores", "Manifest", "Posterior"}
    | {"Recalibration", "Scores", "SessionInfo", "Status", "Stream", "ThresholdChange", "Verification"}
)
BESIDE = {"AlarmSpec", "GuardSpec"}
"""Of ``VAE.stream``, which are no part of a package's ``__all__``."""
ELSEWHERE = {"Bundle.row_bytes_at"}
"""Of a bundle of free size: ``tests/export/test_free_size.py``."""


def _stepped(**options: Any) -> object:
    return Alarm(ALARM).step(**options)


def _restored(**options: Any) -> None:
    stream = open_stream(FakeSession(), STEPS)
    stream.restore(**(options if options["state"] is not None else options | {"state": stream.state()}))


@pytest.fixture
def vae(tiny: TinyBundle) -> Iterator[VAE]:
    with load(tiny.write(), device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture
def calls(vae: VAE) -> dict[str, Call]:
    bundle = Bundle.open(vae.info.path)
    scores, posterior = vae.score(ROWS, heads="all", maps=True), vae.encode(ROWS)
    anatomy = vae.explain(ROWS)
    sketch = {"values": SKETCH.values, "above": SKETCH.above, "n": SKETCH.n}
    graph = {"variant": "fp32", "graph": "score"}
    state = {"recent": [True], "on": False, "clear": 0, "cooling": 0}
    options = {name: getattr(StreamOptions(), name) for name in StreamOptions.__dataclass_fields__}
    load_options = {"device": "cpu", "variant": "auto", "allow_fallback": False, "threads": 1, "spin": None}
    load_options |= {"isolate": False, "deadline_s": None, "memory_bytes": None}
    table = {"columns": [f"c{i}" for i in range(FEATURES)], "condition": None, "batch": 8, "threshold": None}
    scorer = Scorer(vae.info.path, **(table | load_options))
    batch = {f"c{i}": ROWS[:, i] for i in range(FEATURES)}
    return {
        "Anatomy.top": (anatomy.top, {"row": 0, "count": 2}),
        "Anatomy.to_dict": (anatomy.to_dict, {"row": 0, "count": 2}),
        "Bundle.open": (Bundle.open, {"path": vae.info.path}),
        "Bundle.read": (bundle.read, {"member": "golden/input.bin"}),
        "Bundle.graph": (bundle.graph, graph),
        "Bundle.graph_file": (lambda **o: bundle.graph_file(**o).__enter__(), graph),
        "Bundle.choose_variant": (bundle.choose_variant, {"wish": "auto"}),
        "Bundle.check_engine": (bundle.check_engine, {"name": "onnxruntime", "version": "99.0"}),
        "HeadScores.discoveries": (scores.heads["elbo"].discoveries, {"false_discovery_rate": 0.1}),
        "Manifest.variant_bytes": (bundle.manifest.variant_bytes, {"name": "fp32"}),
        "Manifest.from_json": (Manifest.from_json, {"raw": bundle.manifest.to_json()}),
        "Posterior.codes_for": (posterior.codes_for, {"pair_id": bundle.manifest.pair_id}),
        "Posterior.sample": (posterior.sample, {"seed": 1, "temperature": 1.0}),
        "ScoreSketch": (ScoreSketch, sketch),
        "ScoreSketch.fit": (ScoreSketch.fit, {"scores": SCORES}),
        "ScoreSketch.p_values": (SKETCH.p_values, {"scores": SCORES}),
        "ScoreSketch.rate_above": (SKETCH.rate_above, {"threshold": 1.0}),
        "ScoreSketch.threshold": (SKETCH.threshold, {"false_positive_rate": 0.1}),
        "ScoreSketch.from_bytes": (ScoreSketch.from_bytes, {"raw": SKETCH.to_bytes(), "n": SKETCH.n}),
        "Scorer": (Scorer, table | load_options | {"bundle": vae.info.path, "prefix": "", "heads": ()}),
        "Scorer.__call__": (scorer, {"batch": batch}),
        "Scores.decided_by": (scores.decided_by, {"head": "elbo", "threshold": 1.0}),
        "Scores.to_dict": (scores.to_dict, {"maps": True}),
        "Alarm": (Alarm, {"spec": ALARM}),
        "Alarm.step": (_stepped, {"is_anomaly": True, "p_value": 0.1}),
        "Alarm.restore": (Alarm(ALARM).restore, {"state": state, "same_model": True}),
        "Rows": (Rows, {"values": STEPS, "time": None, "labels": (), "missing": None}),
        "StreamOptions": (StreamOptions, options),
        "StreamOptions.named": (StreamOptions.named, {"options": {}}),
        "Stream.restore": (_restored, {"state": None, "same_model": True, "same_clock": True, "lost": ""}),
        "open_stream": (lambda **o: list(open_stream(**o)), {"vae": FakeSession(), "source": STEPS}),
        "AlarmSpec": (AlarmSpec, {name: getattr(ALARM, name) for name in AlarmSpec.__dataclass_fields__}),
        "GuardSpec": (GuardSpec, {name: getattr(GUARD, name) for name in GuardSpec.__dataclass_fields__}),
    }


def test_the_table_holds_every_call_and_every_argument(calls: dict[str, Call]) -> None:
    public = public_calls("vae_edge_runtime", "vae_edge_runtime.stream", made_by_us=MADE_BY_US)
    functions = {name for name in public if inspect.isfunction(getattr(vae_edge_runtime, name, None))}
    session = {name for name in public if name.startswith("VAE.")}
    wanted = {name: public[name] for name in public.keys() - functions - session - ELSEWHERE}
    assert wanted == {name: set(own) for name, (_, own) in calls.items() if name not in {*BESIDE, "Scorer.__call__"}}


def test_a_result_or_an_error_of_ours(calls: dict[str, Call]) -> None:
    other = [f"{name}: {each}" for name, (call, own) in calls.items() for each in others_than_ours(call, own.copy)]
    assert other == []


@pytest.mark.parametrize(
    ("name", "argument", "value", "said"),
    [
        ("AlarmSpec", "raise_after", "2", "raise_after is '2'; pass a whole number"),
        ("AlarmSpec", "of", 2.0, "of is 2.0; pass a whole number"),
        ("AlarmSpec", "cool_down", True, "cool_down is True; pass a whole number"),
        ("AlarmSpec", "clear_rate", float("nan"), "clear_rate is nan; pass a finite number"),
        ("GuardSpec", "low", 0.5, "low is 0.5; pass a list: low=[0.5]"),
        ("GuardSpec", "high", (1.0, "x", 1.0), "high[1] is 'x'; pass a finite number"),
        ("GuardSpec", "constant", (0, 0, 0), "constant[0] is 0; pass True or False"),
        ("StreamOptions", "maps", "some", "maps is 'some'; valid are off, anomalies, all"),
        ("Bundle.read", "member", 3, "member is 3; pass text"),
        ("Bundle.graph", "variant", None, "variant is None; pass text"),
        ("ScoreSketch", "n", "300", "n is '300'; pass a whole number"),
        ("ScoreSketch.threshold", "false_positive_rate", "1 %", "false_positive_rate is '1 %': pass a number"),
        ("Anatomy.top", "row", 40, "row is 40; pass a whole number of at least -40 and at most 39"),
        ("Posterior.sample", "temperature", "warm", "temperature is 'warm'; pass a finite number"),
        ("Scores.decided_by", "head", ["elbo"], "head is ['elbo']; pass text"),
        ("Stream.restore", "same_model", "no", "same_model is 'no'; pass True or False"),
        ("open_stream", "vae", "tiny.vaeb", "vae is 'tiny.vaeb'; pass a session: load(...)"),
    ],
)
def test_an_option_error_says_what_to_pass(
    calls: dict[str, Call], name: str, argument: str, value: object, said: str
) -> None:
    call, arguments = calls[name]
    with pytest.raises(OptionError, match=re.escape(said)):
        call(**(arguments | {argument: value}))


@pytest.mark.parametrize("labels", ["ab", b"ab", None, 3])
def test_labels_are_one_per_row_and_no_text_of_as_many_letters(labels: Any) -> None:
    with pytest.raises(InputError, match="pass a list with one label per row"):
        Rows(STEPS[:2], labels=labels)


def test_numbers_of_numpy_and_lists_become_what_a_manifest_holds() -> None:
    alarm = AlarmSpec(np.int64(1), np.uint8(2), 1, np.float32(0.5), 0)
    guard = GuardSpec([0], np.zeros(1, np.float32), np.float64(0.5), 0, 0, None, [np.False_])
    assert alarm == AlarmSpec(1, 2, 1, 0.5, 0)
    assert guard == GuardSpec((0.0,), (0.0,), 0.5, 0, 0, None, (False,))
    assert strict_json.dump(StreamSpec(guard, alarm)).startswith(b"{")
    assert type(guard.low[0]) is float
    assert type(guard.constant[0]) is bool
    assert StreamOptions(stride=np.int64(2), heads=["elbo"]) == StreamOptions(stride=2, heads=("elbo",))
