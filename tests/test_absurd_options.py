"""Absurd arguments of what the front door offers: a result, or one of our own errors, and never a bare TypeError."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absurd import ABSURD
from tiny_bundle import FEATURES, TinyBundle

from vae_edge.evaluation import evaluate, judge, score_rows
from vae_edge.evaluation.ranges import RangeOptions
from vae_edge.models import ModelConfig, build
from vae_edge.watch import appended, open_source
from vae_edge_runtime import OptionError, VaeEdgeError, load

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, about means of infinite rows

from vae_edge.training import TrainConfig, default_units, load_run, train  # noqa: E402

ROWS = np.random.default_rng(0).normal(size=(40, FEATURES)).astype(np.float32)
LABELS = np.arange(40) % 2
MODEL = ModelConfig(kind="mlp", input_shape=(FEATURES,), latent_dim=2, width=4, depth=1)
Call = tuple[Callable[..., Any], dict[str, Any]]


def _read(**options: Any) -> object:
    return next(iter(open_source(**options).rows), None)  # a followed file never ends


def _append(path: Any) -> None:
    with appended(path) as (append, _):
        append("{}\n")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """By name: what is called, and arguments that are in order."""
    folder = tmp_path_factory.mktemp("absurd")
    (folder / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n")
    vae = load(TinyBundle(folder / "tiny.vaeb").write(), device="cpu", threads=1)
    rows = {"condition": None, "heads": "all"}
    judged = {"classes": None, "masks": None, "ranges": None, "bootstrap": 0, "seed": 0}
    sizes = {"kind": "mlp", "input_shape": (4,), "latent_dim": 2, "width": 4, "depth": 1}
    plan = {"model": MODEL, "layout": "any", "offset": None, "scale": None, "names": (), "epochs": 1, "batch_size": 8}
    plan |= {"learning_rate": 1e-3, "beta": 1.0, "anneal_epochs": 0, "free_bits": 0.0, "patience": 0, "seed": 0}
    plan |= {"warmup_epochs": 1, "schedule": "cosine", "augment": (), "perceptual": 0.0}
    source = {"name": str(folder / "rows.csv"), "spec": vae.manifest.input, "follow": False, "time_column": None}
    run = {"config": TrainConfig(model=MODEL, epochs=1), "out": folder / "run", "resume": False, "force": True}
    train(x=ROWS, **run)
    silent = {"progress": lambda done: None}
    return {
        "score_rows": (score_rows, {"vae": vae, "x": ROWS, "maps": False} | rows | silent),
        "evaluate": (
            evaluate,
            {"vae": vae, "rows": ROWS, "labels": LABELS, "condition": None, "heads": "all"} | judged,
        ),
        "judge": (judge, {"scored": score_rows(vae, ROWS), "labels": LABELS} | judged | silent),
        "RangeOptions": (RangeOptions, {"alpha": 0.0, "cardinality": "one", "bias": "flat"}),
        "ModelConfig": (ModelConfig, sizes | {"likelihood": "gaussian", "variance": 1.0}),
        "build": (build, {"config": MODEL}),
        "TrainConfig": (TrainConfig, plan | {"validation": 0.1}),
        "train": (functools.partial(train), {"x": ROWS, "progress": None} | run),
        "load_run": (load_run, {"folder": folder / "run"}),
        "default_units": (default_units, {"x": ROWS, "layout": "any", "likelihood": "mse"}),
        "open_source": (_read, source | {"columns": (), "size": None}),
        "appended": (_append, {"path": folder / "events.jsonl"}),
    }


NAMES = ("score_rows", "evaluate", "judge", "RangeOptions", "ModelConfig", "build", "TrainConfig", "train", "load_run")
NAMES += ("default_units", "open_source", "appended")


@pytest.mark.parametrize("name", NAMES)
def test_a_result_or_an_error_of_ours(
    calls: dict[str, Call], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is written for an absurd path lands there
    call, arguments = calls[name]
    call(**arguments)
    other = []
    for argument in arguments:
        for title, value in ABSURD.items():
            if (callable(value) and argument == "progress") or (
                title == "NUL" and argument in ("out", "path", "folder")
            ):
                continue  # what a caller's function raises is its own affair; a NUL is the system's ValueError
            try:
                call(**(arguments | {argument: value}))
            except VaeEdgeError:
                continue
            except Exception as error:
                other.append(f"{argument}={title}: {type(error).__name__}: {error}")
    assert other == []


def test_the_table_holds_what_is_called(calls: dict[str, Call]) -> None:
    assert set(calls) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("ModelConfig", "latent_dim", 2.5),
        ("ModelConfig", "width", 10**30),
        ("ModelConfig", "input_shape", "x"),
        ("TrainConfig", "epochs", "ten"),
        ("TrainConfig", "learning_rate", None),
        ("TrainConfig", "offset", 0.5),
        ("TrainConfig", "layout", "tall"),
        ("train", "out", None),
        ("train", "force", "no"),
        ("load_run", "folder", 3),
        ("judge", "bootstrap", "many"),
        ("judge", "ranges", {}),
        ("RangeOptions", "alpha", "x"),
        ("score_rows", "heads", None),
        ("build", "config", None),
    ],
)
def test_an_option_error_names_the_option(calls: dict[str, Call], name: str, argument: str, value: object) -> None:
    call, arguments = calls[name]
    with pytest.raises(OptionError, match=argument):
        call(**(arguments | {argument: value}))


def test_numbers_of_numpy_are_taken_and_kept_as_numbers_of_json(tmp_path: Path) -> None:
    model = ModelConfig(kind="mlp", input_shape=(np.int64(FEATURES),), latent_dim=np.int32(2), width=4, depth=1)
    config = TrainConfig(model=model, epochs=np.int64(1), learning_rate=np.float32(0.01), seed=np.uint8(3))
    train(config, ROWS, out=tmp_path / "run")
    assert load_run(tmp_path / "run").config.model == model
