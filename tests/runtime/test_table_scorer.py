"""One Scorer for every kind of batch: the same columns come back, with four more, in whatever process."""

from __future__ import annotations

import concurrent.futures
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import FEATURES, TinyBundle

from vae_edge_runtime import BundleError, CalibrationError, InputError, OptionError, Scorer, load, table_scorer

ROWS = np.random.default_rng(0).normal(size=(10, FEATURES)).astype(np.float32)
ROWS[3, 2] = np.nan
NAMES = ("a", "b", "c", "d")
CORPUS = Path(__file__).parents[1] / "corpus"
OK = [i != 3 for i in range(10)]


def _dict(values: dict[str, Any]) -> Any:
    return values


def _arrow(values: dict[str, Any]) -> Any:
    arrow = pytest.importorskip("pyarrow")
    arrays = [arrow.array(v, from_pandas=v.dtype.kind == "f") for v in values.values()]
    return arrow.RecordBatch.from_arrays(arrays, names=list(values))


def _arrow_table(values: dict[str, Any]) -> Any:
    batch = _arrow(values)
    return pytest.importorskip("pyarrow").Table.from_batches([batch.slice(0, 4), batch.slice(4)])


def _pandas(values: dict[str, Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame(values, index=range(5, 5 + len(values["a"])))


def _polars(values: dict[str, Any]) -> Any:
    return pytest.importorskip("polars").DataFrame(values)


KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": _dict, "arrow": _arrow, "arrow-table": _arrow_table, "pandas": _pandas, "polars": _polars
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_session_stays(monkeypatch: pytest.MonkeyPatch) -> Any:
    sessions = table_scorer._Sessions()
    monkeypatch.setattr(table_scorer, "_sessions", sessions)
    yield
    for vae in sessions.opened.values():
        vae.close()


def _values() -> dict[str, Any]:
    columns = {name: ROWS[:, i] for i, name in enumerate(NAMES)}
    return {"id": np.arange(10), "d": columns.pop("d"), **columns}  # in another order than the model's


def _lists(batch: Any) -> dict[str, list[Any]]:
    if isinstance(batch, dict):
        return {name: np.asarray(column).tolist() for name, column in batch.items()}
    for method, kwargs in (("to_pydict", {}), ("to_dict", {"as_series": False}), ("to_dict", {"orient": "list"})):
        try:
            return getattr(batch, method)(**kwargs)  # type: ignore[no-any-return]
        except (AttributeError, TypeError):
            continue
    raise AssertionError(type(batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3, 4096])
def test_every_kind_of_batch_comes_back_with_the_scores_of_the_session(tiny_path: Path, kind: str, batch: int) -> None:
    scorer = Scorer(tiny_path, device="cpu", threads=1, batch=batch)
    given = KINDS[kind](_values())
    result = scorer(given)
    assert type(result) is type(given)
    columns = _lists(result)
    assert list(columns) == ["id", "d", "a", "b", "c", *table_scorer.ADDED]
    assert columns["id"] == list(range(10))
    with load(tiny_path, device="cpu", threads=1) as vae:
        expected = vae.score(ROWS)
    assert columns["status"] == ["ok" if ok else "non_finite_input" for ok in OK]
    for name in ("score", "p_value", "is_anomaly"):
        values = [v for v, ok in zip(columns[name], OK, strict=True) if ok]
        np.testing.assert_allclose(values, getattr(expected, name)[OK], rtol=1e-6)
    missing = [columns[name][3] for name in ("score", "p_value", "is_anomaly")]
    if kind in ("dict", "pandas"):
        assert np.isnan(missing[:2]).all()
        assert missing[2] is False
    else:
        assert missing == [None, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_rows_with_the_same_columns_and_types(tiny_path: Path, kind: str) -> None:
    scorer = Scorer(tiny_path, device="cpu", threads=1)
    one, none = _values(), {name: column[:0] for name, column in _values().items()}
    columns = _lists(scorer(KINDS[kind](none)))
    assert list(columns) == ["id", "d", "a", "b", "c", *table_scorer.ADDED]
    assert all(len(column) == 0 for column in columns.values())
    if kind.startswith("arrow"):
        assert scorer(KINDS[kind](none)).schema == scorer(KINDS[kind](one)).schema


def test_the_types_of_the_new_columns_and_the_metadata_of_the_old(tiny_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    batch = _arrow(_values()).replace_schema_metadata({"made_by": "a test"})
    schema = Scorer(tiny_path, device="cpu", threads=1)(batch).schema
    assert [str(schema.field(name).type) for name in table_scorer.ADDED] == ["float", "double", "bool", "string"]
    assert schema.metadata == {b"made_by": b"a test"}
    assert schema.field("id").type == arrow.int64()


def test_columns_of_other_types_are_taken_where_they_are_numbers(tiny_path: Path) -> None:
    arrow, decimal = pytest.importorskip("pyarrow"), pytest.importorskip("decimal")
    scorer = Scorer(tiny_path, device="cpu", threads=1)
    batch = arrow.RecordBatch.from_pydict(
        {
            "a": arrow.array([1, 2, 1], arrow.int8()).dictionary_encode(),
            "b": arrow.array([True, False, None]),
            "c": arrow.array([decimal.Decimal("1.5"), None, decimal.Decimal("-2.25")]),
            "d": arrow.array([0.5, 0.25, 1.0], arrow.float16()),
            "text": ["x", "y", "z"],
        }
    )
    result = _lists(scorer(batch))
    assert result["status"] == ["ok", "non_finite_input", "non_finite_input"]
    plain = {"a": [1.0], "b": [1.0], "c": [1.5], "d": [0.5]}
    assert result["score"][0] == pytest.approx(float(scorer(plain)["score"][0]), rel=1e-6)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": pandas.Categorical([1, 2, 1]),
            "b": pandas.array([True, False, None], dtype="boolean"),
            "c": pandas.array([1.5, None, -2.25], dtype="Float64"),
            "d": np.array([0.5, 0.25, 1.0], ">f8"),
        }
    )
    assert scorer(frame)["status"].tolist() == result["status"]
    assert scorer(frame)["score"][0] == pytest.approx(result["score"][0], rel=1e-6)
    masked = {name: np.ma.masked_array([1.0, 2.0], [name == "a", False]) for name in NAMES}
    assert scorer(masked)["status"].tolist() == ["non_finite_input", "ok"]


@pytest.mark.parametrize("kind", ["dict", "arrow", "pandas"])
def test_whole_rows_in_the_cells_of_one_column(kind: str) -> None:
    path = CORPUS / "v1-window.vaeb"
    with load(path, device="cpu", threads=1) as vae:
        shape = vae.manifest.input.shape
        x = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
        expected = vae.score(x)
    scorer = Scorer(path, columns="window", device="cpu", threads=1)
    cells = [*x[:5].reshape(5, -1), None]
    if kind == "dict":
        full = scorer({"window": x})
        np.testing.assert_allclose(full["score"], expected.score, rtol=1e-6)
        result = scorer({"window": np.array([*map(list, cells[:5]), None], dtype=object)})["score"]
    elif kind == "arrow":
        arrow = pytest.importorskip("pyarrow")
        for type_ in (arrow.list_(arrow.float32()), arrow.list_(arrow.float32(), x[0].size)):
            batch = arrow.RecordBatch.from_pydict(
                {"window": arrow.array([None if c is None else c.tolist() for c in cells], type_)}
            )
            result = np.array([np.nan if v is None else v for v in _lists(scorer(batch))["score"]])
            np.testing.assert_allclose(result[:5], expected.score[:5], rtol=1e-6)
        storage = arrow.array(list(x.reshape(6, -1)), arrow.list_(arrow.float32(), x[0].size))
        tensor = arrow.ExtensionArray.from_storage(arrow.fixed_shape_tensor(arrow.float32(), shape), storage)
        full = scorer(arrow.RecordBatch.from_arrays([tensor], names=["window"]))
        np.testing.assert_allclose(full.column("score"), expected.score, rtol=1e-6)
        nothing = arrow.RecordBatch.from_pydict({"window": arrow.array([None, None], arrow.list_(arrow.float32()))})
        assert _lists(scorer(nothing))["status"] == ["non_finite_input"] * 2
    else:
        result = scorer(pytest.importorskip("pandas").DataFrame({"window": cells}))["score"].to_numpy()
    np.testing.assert_allclose(result[:5], expected.score[:5], rtol=1e-6)
    assert np.isnan(result[5])


def test_an_offset_of_a_feature_is_subtracted_before_rounding(tiny: TinyBundle) -> None:
    values = tiny.plain
    values["input"]["names"] = ["t (minus 1700000000.0)", "b", "c", "d"]
    scorer = Scorer(tiny.write(values), device="cpu", threads=1)
    rest = {name: np.ones(1) for name in "bcd"}
    small = scorer({"t (minus 1700000000.0)": np.array([0.25]), **rest})["score"]
    assert scorer({"t": np.array([1700000000.25]), **rest})["score"] == small
    other = Scorer(tiny.path, columns=("clock", "b", "c", "d"), device="cpu", threads=1)
    assert other({"clock": np.array([1700000000.25]), **rest})["score"] == small


def test_a_condition_comes_from_a_column() -> None:
    path = CORPUS / "v1-label.vaeb"
    with load(path, device="cpu", threads=1) as vae:
        spec, names = vae.manifest.input, [f"f{i}" for i in range(vae.manifest.input.shape[0])]
        x, labels = np.random.default_rng(2).uniform(0, 1, (4, *spec.shape)).astype(spec.dtype), np.array([0, 1, 1, 0])
        expected = vae.score(x, condition=labels).score
    batch = {**{name: x[:, i] for i, name in enumerate(names)}, "label": labels}
    scorer = Scorer(path, columns=names, condition="label", device="cpu", threads=1)
    np.testing.assert_allclose(scorer(batch)["score"], expected, rtol=1e-6)
    with pytest.raises(InputError, match=r"'label' holds 0\.5; the model takes whole numbers"):
        scorer({**batch, "label": labels + 0.5})
    with pytest.raises(OptionError, match="pass condition=, the name of the column"):
        Scorer(path, columns=names)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "absent": ({"a": 1, "b": 1, "c": 1}, InputError, "no column 'd'; it has 'a', 'b', 'c'"),
    "text": ({"a": "1", "b": 1, "c": 1, "d": 1}, InputError, "column 'a' is .*, which is no number"),
    "time": ({"a": np.datetime64("2026-01-01"), "b": 1, "c": 1, "d": 1}, InputError, "which is no number"),
    "object text": ({"a": None, "b": 1, "c": 1, "d": 1}, InputError, "neither numbers nor arrays|no number"),
    "taken": ({"a": 1, "b": 1, "c": 1, "d": 1, "score": 1}, OptionError, "has a column 'score' already.*prefix="),
    "nested": ({"a": [1.0, 2.0], "b": 1, "c": 1, "d": 1}, InputError, r"holds arrays of shape \(2,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_batch_that_does_not_fit_is_one_typed_error(tiny_path: Path, case: str) -> None:
    cells, error, message = WRONG[case]
    batch: dict[str, Any] = {name: np.array([cell, cell]) for name, cell in cells.items()}
    if case == "object text":
        batch["a"] = np.array(["1.5", 2.0], dtype=object)
    with pytest.raises(error, match=message):
        Scorer(tiny_path, device="cpu", threads=1)(batch)


def test_batches_of_other_kinds_and_ragged_or_doubled_columns_are_refused(tiny_path: Path) -> None:
    scorer = Scorer(tiny_path, device="cpu", threads=1)
    for batch in ([1, 2], ROWS, None, "a.parquet"):
        with pytest.raises(InputError, match="pass a pyarrow RecordBatch or Table, a pandas or polars DataFrame"):
            scorer(batch)
    with pytest.raises(InputError, match="not arrays of equal length"):
        scorer({"a": ROWS[:, 0], "b": ROWS[:3, 0], "c": ROWS[:, 0], "d": ROWS[:, 0]})
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="names a column twice: 'a'"):
        scorer(pandas.DataFrame(ROWS[:, [0, 0, 1, 2, 3]], columns=["a", "a", "b", "c", "d"]))
    arrow = pytest.importorskip("pyarrow")
    ragged = arrow.RecordBatch.from_pydict({"rows": [[1.0, 2.0], [1.0]]})
    with pytest.raises(InputError, match="lists of 1 to 2 values"):
        Scorer(tiny_path, columns="rows", device="cpu", threads=1)(ragged)


def test_options_that_do_not_fit_the_model_are_refused_before_any_batch(tiny: TinyBundle, tiny_path: Path) -> None:
    for options, message in (
        ({"columns": ("a", "b")}, "names 2 columns; the model takes 4: a, b, c, d"),
        ({"columns": ("b", "x", "c", "d")}, "'b' in the place of another feature"),
        ({"batch": 0}, "batch is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"condition": "label"}, "takes no condition"),
        ({"columns": 3}, "columns is 3"),
    ):
        with pytest.raises(OptionError, match=message):
            Scorer(tiny_path, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="windows: the cut would depend on its borders"):
        Scorer(CORPUS / "v1-window.vaeb", columns=("x", "y"))
    with pytest.raises(OptionError, match="pass columns= with one column whose cells hold whole rows"):
        Scorer(CORPUS / "v1-picture.vaeb")
    values = tiny.plain
    values["variants"]["fp32"]["calibration"] = None
    del values["members"]["fp32/calibration.bin"], tiny.members["fp32/calibration.bin"]
    path = tiny.write(values)
    with pytest.raises(CalibrationError, match="pass threshold="):
        Scorer(path)
    decided = Scorer(path, threshold=0.0, prefix="vae_", device="cpu", threads=1)(_values())
    assert decided["vae_is_anomaly"].tolist() == OK
    assert np.isnan(decided["vae_p_value"]).all()


def test_it_pickles_as_path_and_options_and_opens_once_in_each_process(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = table_scorer.opened
    monkeypatch.setattr(table_scorer, "opened", lambda *a, **o: (opened.append(os.getpid()), real(*a, **o))[1])
    monkeypatch.chdir(tiny_path.parent)
    scorer = Scorer(tiny_path.name, device="cpu", threads=1)
    raw = pickle.dumps(scorer)
    assert len(raw) < 700
    monkeypatch.chdir("/")
    assert opened == []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: pickle.loads(raw)(_values())["score"], range(24)))
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert len(opened) == 1
    scorer.close()
    np.testing.assert_array_equal(scorer(_values())["score"], results[0])
    assert len(opened) == 2


def test_another_bundle_in_its_place_is_refused(tiny: TinyBundle, tiny_path: Path) -> None:
    raw = pickle.dumps(Scorer(tiny_path, device="cpu", threads=1))
    values = tiny.plain
    values["release"] = 2
    tiny.write(values)
    with pytest.raises(BundleError, match="load the file again"):
        pickle.loads(raw)(_values())


def test_a_spawned_worker_scores_with_the_scorer_it_was_sent(tiny_path: Path, tmp_path: Path) -> None:
    scorer = Scorer(tiny_path, device="cpu", threads=1)
    (tmp_path / "s.pickle").write_bytes(pickle.dumps(scorer))
    program = (
        "import pickle, sys, numpy as np; scorer = pickle.load(open(sys.argv[1], 'rb'));"
        "print(scorer({n: np.zeros(1) for n in 'abcd'})['score'][0])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s.pickle")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(scorer({n: np.zeros(1) for n in "abcd"})["score"][0]), rel=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_a_session_of_its_own(tiny_path: Path) -> None:
    program = (
        "import os, sys, numpy as np\nfrom vae_edge_runtime import Scorer\n"
        "scorer = Scorer(sys.argv[1], device='cpu', threads=1)\nbatch = {n: np.ones(3) for n in 'abcd'}\n"
        "before = scorer(batch)['score'].tolist()\npid = os.fork()\n"
        "if pid == 0:\n    os._exit(0 if scorer(batch)['score'].tolist() == before else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), scorer(batch)['score'].tolist() == before)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_scores_do_not_depend_on_how_the_rows_are_cut(tiny_path: Path) -> None:
    many = {name: np.random.default_rng(i).normal(size=5000) for i, name in enumerate(NAMES)}
    whole = Scorer(tiny_path, device="cpu", threads=1)(many)
    pieces = Scorer(tiny_path, device="cpu", threads=1, batch=7)(many)
    np.testing.assert_allclose(whole["score"], pieces["score"], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_further_heads_add_a_score_and_a_p_value_each(kind: str) -> None:
    path, names = CORPUS / "v1-table.vaeb", "abcdef"
    x = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    x[4, 1] = np.nan
    given = KINDS[kind]({name: x[:, i] for i, name in enumerate(names)})
    scorer = Scorer(path, device="cpu", threads=1, batch=4, heads=("kl", "elbo", "mahalanobis"), prefix="vae_")
    columns = _lists(scorer(given))
    further = ("vae_kl", "vae_kl_p_value", "vae_mahalanobis", "vae_mahalanobis_p_value")
    assert scorer.added == (*(f"vae_{name}" for name in table_scorer.ADDED), *further)
    assert list(columns) == [*names, *scorer.added]
    with load(path, device="cpu", threads=1) as vae:
        scores = vae.score(x, heads="all")
    ok = np.arange(9) != 4
    for head in ("kl", "mahalanobis"):
        for name, wanted in ((f"vae_{head}", "score"), (f"vae_{head}_p_value", "p_value")):
            values = [value for value, good in zip(columns[name], ok, strict=True) if good]
            np.testing.assert_allclose(values, getattr(scores.heads[head], wanted)[ok], rtol=1e-5)
            assert columns[name][4] is None or np.isnan(columns[name][4])
    assert scorer.added == pickle.loads(pickle.dumps(scorer)).added
    assert len(Scorer(path, heads="all").added) == 4 + 2 * 11


def test_a_head_that_the_bundle_does_not_have_is_refused_before_a_row_is_scored(tiny_path: Path) -> None:
    for heads in ("iwae", ("elbo", "iwae"), 3, (3,)):
        with pytest.raises(OptionError, match="heads"):
            Scorer(tiny_path, heads=heads)  # type: ignore[arg-type]
    assert Scorer(tiny_path, heads="elbo").added == table_scorer.ADDED


def test_it_takes_every_option_of_load_and_checks_it_as_load_does(tiny_path: Path) -> None:
    options = {name: p for name, p in inspect.signature(load).parameters.items() if p.kind is p.KEYWORD_ONLY}
    own = inspect.signature(Scorer).parameters
    assert {name: (p.default, p.annotation) for name, p in options.items()} == {
        name: (own[name].default, own[name].annotation) for name in options
    }
    wrong: list[dict[str, Any]] = [
        {"device": 3}, {"variant": None}, {"allow_fallback": "no"}, {"threads": 0}, {"spin": "no"}, {"isolate": 1},
        {"deadline_s": 5.0}, {"memory_bytes": 1 << 30}, {"isolate": True, "deadline_s": -1},
    ]  # fmt: skip
    for options_ in wrong:
        with pytest.raises(OptionError) as ours:
            Scorer(tiny_path, **options_)
        with pytest.raises(OptionError) as of_load:
            load(tiny_path, **options_)
        assert str(ours.value) == str(of_load.value)


@pytest.mark.skipif(os.name != "posix", reason="a process is isolated on Linux and macOS only")
def test_the_engine_of_a_scorer_may_run_in_a_process_of_its_own(tiny_path: Path) -> None:
    scorer = Scorer(tiny_path, device="cpu", threads=1, isolate=True, deadline_s=60)
    assert scorer._session().info.isolated
    here = Scorer(tiny_path, device="cpu", threads=1)
    assert not here._session().info.isolated
    np.testing.assert_array_equal(scorer(_values())["score"], here(_values())["score"])
