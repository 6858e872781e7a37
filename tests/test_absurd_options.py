"""Absurd arguments of what the front door offers: a result, or one of our own errors, and never a bare TypeError."""

from __future__ import annotations

import functools
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absurd import Call, others_than_ours, public_calls
from tiny_bundle import FEATURES, TinyBundle

from vae_edge.data import TableOptions, read
from vae_edge.evaluation import evaluate, judge, score_rows
from vae_edge.evaluation.ranges import RangeOptions
from vae_edge.lakes import is_folder_of_tables, score_folder
from vae_edge.lakes.listing import list_tables
from vae_edge.models import ModelConfig, build
from vae_edge.report import find, render
from vae_edge.unpacking import unpack
from vae_edge.watch import appended, open_source
from vae_edge_runtime import DataError, InputError, OptionError, load

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, about means of infinite rows

from vae_edge.training import TrainConfig, default_units, load_run, train  # noqa: E402

ROWS = np.random.default_rng(0).normal(size=(40, FEATURES)).astype(np.float32)
LABELS = np.arange(40) % 2
MODEL = ModelConfig(kind="mlp", input_shape=(FEATURES,), latent_dim=2, width=4, depth=1)
MADE_BY_US = frozenset({"Dataset", "Evaluation", "FileResult", "Findings", "HeadFigures", "ReadReport", "ScoredRows"})
MADE_BY_US |= {"EpochReport", "Run", "Source", "TrainResult", "Unpacked"}
PACKAGES = ("data", "evaluation", "lakes", "models", "report", "training", "unpacking", "watch")


def _read(**options: Any) -> object:
    return next(iter(open_source(**options).rows), None)  # a followed file never ends


def options(function: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of those parameters that have one."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _unpacked(folder: Any, **options: Any) -> None:
    unpack(folder=folder, **options)
    shutil.rmtree(folder)


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
    source = {"name": str(folder / "rows.csv"), "spec": vae.manifest.input}
    ids, found = [f"row {i}" for i in range(len(ROWS))], find(vae, ROWS, [""] * len(ROWS))
    lake = {"source": folder, "target": folder / "scores", "tables": list_tables(folder), "read": read}
    lake |= {"score": lambda rows, part: vae.score(rows.x[part]), "empty": lambda: vae.score(ROWS[:0]), "settings": {}}
    lake |= {"step": lambda size: None}
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
        "open_source": (_read, source | options(open_source)),
        "appended": (_append, {"path": folder / "events.jsonl"}),
        "read": (read, {"path": folder / "rows.csv"} | options(read)),
        "TableOptions": (lambda **o: read(folder / "rows.csv", table=TableOptions(**o)), vars(TableOptions())),
        "is_folder_of_tables": (is_folder_of_tables, {"path": folder}),
        "score_folder": (lambda **o: list(score_folder(**o)), lake),
        "find": (find, {"vae": vae, "x": ROWS, "row_ids": ids} | options(find)),
        "Findings.borderline": (found.borderline, {"count": 2}),
        "render": (render, {"vae": vae, "x": ROWS, "found": found, "source": "day.csv"} | options(render)),
        "unpack": (_unpacked, {"path": vae.info.path, "folder": folder / "unpacked"} | options(unpack)),
    }


NAMES = ("score_rows", "evaluate", "judge", "RangeOptions", "ModelConfig", "build", "TrainConfig", "train", "load_run")
NAMES += ("default_units", "open_source", "appended", "read", "TableOptions", "is_folder_of_tables", "score_folder")
NAMES += ("find", "Findings.borderline", "render", "unpack")


@pytest.mark.parametrize("name", NAMES)
def test_a_result_or_an_error_of_ours(
    calls: dict[str, Call], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is written for an absurd path lands there
    call, arguments = calls[name]
    assert others_than_ours(call, arguments.copy) == []


def test_the_table_holds_every_call_and_every_argument(calls: dict[str, Call]) -> None:
    assert set(calls) == set(NAMES)
    public = public_calls(*(f"vae_edge.{name}" for name in PACKAGES), made_by_us=MADE_BY_US)
    assert public == {name: set(own) for name, (_, own) in calls.items() if name != "RangeOptions"}


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


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("TableOptions", "columns"),
        ("TableOptions", "drop"),
        ("TableOptions", "missing"),
        ("read", "columns"),
        ("read", "features"),
        ("open_source", "columns"),
        ("find", "row_ids"),
    ],
)
def test_a_text_is_no_list_of_its_letters(calls: dict[str, Call], name: str, argument: str) -> None:
    call, arguments = calls[name]
    with pytest.raises(OptionError, match=re.escape(f"{argument} is 'ab'; pass a list: {argument}=['ab']")):
        call(**(arguments | {argument: "ab"}))


def test_sequences_of_any_kind_are_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n")
    for columns in (["b", "a"], ("b", "a"), np.array(["b", "a"]), dict.fromkeys("ba").keys(), iter(["b", "a"])):
        assert read(str(tmp_path / "t.csv"), columns=columns).names == ("b", "a")
    options = TableOptions(columns=["b"], skip_lines=np.int64(0), header=np.True_, subtract={"b": np.float32(1)})
    assert options == TableOptions(columns=("b",), header=True, subtract={"b": 1.0})
    assert read(tmp_path / "t.csv", table=options).x.tolist() == [[1.0]]


def test_a_stride_of_zero_is_refused_and_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,5\n4,7\n")
    with pytest.raises(DataError, match="stride 0 must be at least 1"):
        read(tmp_path / "t.csv", window=2, stride=0)


def test_what_stands_beside_rows_of_a_report_is_one_per_row(calls: dict[str, Call]) -> None:
    call, arguments = calls["find"]
    for name, value in (("row_ids", ["a"]), ("labels", np.zeros(3, bool)), ("kinds", np.array(["x"]))):
        with pytest.raises(InputError, match=f"{name} has . for 40 rows: pass one per row"):
            call(**(arguments | {name: value}))
    with pytest.raises(OptionError, match="pass an array of truth values"):  # ~1 is -2
        call(**(arguments | {"labels": LABELS}))


def test_numbers_of_numpy_are_taken_and_kept_as_numbers_of_json(tmp_path: Path) -> None:
    model = ModelConfig(kind="mlp", input_shape=(np.int64(FEATURES),), latent_dim=np.int32(2), width=4, depth=1)
    config = TrainConfig(model=model, epochs=np.int64(1), learning_rate=np.float32(0.01), seed=np.uint8(3))
    train(config, ROWS, out=tmp_path / "run")
    assert load_run(tmp_path / "run").config.model == model
