"""Absurd arguments of the exporter: a result, or one of our own errors, and never a bare TypeError."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
import torch
from absurd import Call, others_than_ours, public_calls
from torch import nn

from vae_edge_export import (
    ExportConfig,
    Prior,
    export,
    export_for_generation,
    inspect_model,
    load_weights,
    open_saved,
)
from vae_edge_export.gates import DEFAULT_GATES, Gate
from vae_edge_runtime import OptionError
from vae_edge_runtime.format.stream_rules import AlarmSpec

ROWS = np.random.default_rng(0).normal(size=(150, handmade.FEATURES)).astype(np.float32)
MADE_BY_US = frozenset({"ExportReport", "GenerationReport", "Inspection"})
MODEL = handmade.Logvar()
SLOW = ("export", "export_for_generation", "inspect_model")
"""What an absurd value gets through to is a whole export."""


def options(function: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of those parameters that have one."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    folder = tmp_path_factory.mktemp("absurd_export")
    torch.save(MODEL.state_dict(), folder / "weights.pt")
    for half in ("encoder", "decoder"):
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(3, 2),)), folder / f"{half}.pt2")
    path = {"path": folder / "weights.pt", "trust_pickle": True}
    target = {"model": MODEL, "path": folder / "made.vaeb", "force": True}
    config = ExportConfig()
    return {
        "ExportConfig": (ExportConfig, vars(config)),
        "ExportConfig.gate": (config.gate, {"variant": "fp16"}),
        "Gate": (Gate, dataclasses.asdict(DEFAULT_GATES["fp16"])),
        "Prior": (Prior, vars(Prior("none", "by hand"))),
        "load_weights": (load_weights, path | {"model": handmade.Logvar(), "key": None}),
        "open_saved": (open_saved, {"kind": "pt2", "path": folder, "trust_pickle": True}),
        "inspect_model": (inspect_model, options(inspect_model) | {"model": MODEL, "rows": ROWS}),
        "export": (export, options(export) | target | {"calibration": ROWS}),
        "export_for_generation": (
            export_for_generation,
            options(export_for_generation) | target | {"rows": ROWS},
        ),
    }


NAMES = ("ExportConfig", "ExportConfig.gate", "Gate", "Prior", "load_weights", "open_saved", "inspect_model", "export")
NAMES += ("export_for_generation",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
)
def test_a_result_or_an_error_of_ours(
    calls: dict[str, Call], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is written for an absurd path lands there
    call, own = calls[name]
    assert others_than_ours(call, own.copy) == []


def test_the_table_holds_every_call_and_every_argument(calls: dict[str, Call]) -> None:
    assert set(calls) == set(NAMES)
    public = public_calls("vae_edge_export", "vae_edge_export.sources", made_by_us=MADE_BY_US)
    assert public == {name: set(own) for name, (_, own) in calls.items() if name != "Gate"}


@pytest.mark.parametrize(
    ("name", "argument", "value", "said"),
    [
        ("ExportConfig", "heads", "elbo", "heads is 'elbo'; pass a list: heads=['elbo']"),
        ("ExportConfig", "names", "abc", "names is 'abc'; pass a list: names=['abc']"),
        ("ExportConfig", "precisions", "fp32", "precisions is 'fp32'; pass a list: precisions=['fp32']"),
        ("ExportConfig", "precisions", {"fp32"}, "precisions is {'fp32'}; pass a list, each 'fp32' or 'fp16'"),
        ("ExportConfig", "offset", 0.5, "offset is 0.5; pass a list: offset=[0.5]"),
        ("ExportConfig", "scale", "255", "scale is '255'; pass a list, each a finite number"),
        ("ExportConfig", "scale", (1.0, "2"), "scale[1] is '2'; pass a finite number"),
        ("ExportConfig", "release", "1", "release is '1'; pass a whole number"),
        ("ExportConfig", "draws", True, "draws is True; pass a whole number"),
        ("ExportConfig", "kl_weight", float("nan"), "kl_weight is nan; pass a finite number"),
        ("ExportConfig", "logits", "no", "logits is 'no'; pass True or False"),
        ("ExportConfig", "name", None, "name is None; pass text"),
        ("ExportConfig", "likelihood", 3, "likelihood is 3; valid are mse, bernoulli"),
        ("ExportConfig", "metrics", {"auroc": "0.9"}, "metrics['auroc'] is '0.9'; pass a finite number"),
        ("ExportConfig", "gates", {"fp16": 0.9}, "gates['fp16'] is 0.9; pass a Gate"),
        ("ExportConfig", "alarm", {}, "alarm is {}; pass an AlarmSpec"),
        ("Prior", "means", "zero", "means is 'zero'; pass an array"),
        ("open_saved", "kind", "keras", "kind is 'keras'; valid are diffusers, pythae, pyod, pt2"),
        ("load_weights", "trust_pickle", "yes", "trust_pickle is 'yes'; pass True or False"),
        ("export", "evaluation", [], "evaluation has 0 parts; pass (rows, labels)"),
        ("export", "config", {"release": 2}, "config is {'release': 2}; pass an ExportConfig"),
        ("export", "force", 1, "force is 1; pass True or False"),
        ("export", "codebook", "64", "codebook is '64'; pass a whole number"),
        ("export", "prior", "normal", "prior is 'normal'; pass a Prior, or 'standard_normal' or 'fitted' or 'none'"),
        ("export_for_generation", "shape", 6, "shape is 6; pass a list: shape=[6]"),
    ],
)
def test_an_option_error_says_what_to_pass(
    calls: dict[str, Call], name: str, argument: str, value: object, said: str
) -> None:
    call, own = calls[name]
    with pytest.raises(OptionError, match=re.escape(said)):
        call(**(own | {argument: value}))


def test_lists_and_numbers_of_numpy_become_what_a_manifest_holds() -> None:
    given: dict[str, Any] = {"offset": np.zeros(2), "scale": [1, np.float32(2)], "heads": ["reconstruction"]}
    given |= {"release": np.int64(2), "logits": np.False_, "draws": np.uint8(8), "metrics": {"auroc": np.float32(0.5)}}
    config = ExportConfig(**given)
    assert config == ExportConfig(
        offset=(0.0, 0.0), scale=(1.0, 2.0), heads=("reconstruction",), release=2, metrics={"auroc": 0.5}
    )
    assert type(config.release) is int
    assert type(config.metrics["auroc"]) is float
    tiles: dict[str, Any] = {"layout": "nchw", "tile": 64, "precisions": ["fp32"]}
    assert ExportConfig(**tiles, alarm=AlarmSpec(np.int64(1), 1, 1, 0.5, 0)).precisions == ("fp32",)
