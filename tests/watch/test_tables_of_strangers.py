"""Tables in a stream are read by the rules of files, or refused with the option that decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from blocks import read
from cpu_time import least_cpu_s

from vae_edge.data import TableOptions
from vae_edge.data import read as read_file
from vae_edge.watch import open_source
from vae_edge.watch.text_files import CsvLines
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.stream import Rows

SPEC = InputSpec((2,), "float32", "features", -1.0, 1.0, ("a", "b"))
CLOCK = InputSpec((2,), "float32", "features", -1.0, 1.0, ("t (minus 1700000000.0)", "b"))


def rows(tmp_path: Path, text: str | bytes, spec: InputSpec = SPEC, name: str = "t.csv", **options: object) -> Rows:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(open_source(str(tmp_path / name), spec, **options).rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1,5;2\n2,5;4\n",
        "a\tb\n1.5\t2\n2.5\t4\n",
        "# of a logger\na,b\n# 12:00\n1.5,2\n2.5,4\n",
        ",b,a\n7,2,1.5\n8,4,2.5\n",
        'a,b\n"1.5","2"\n"2.5","4"\n',
    ],
)
def test_every_spelling_of_one_table_gives_the_same_rows(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(rows(tmp_path, text).values, [[1.5, 2], [2.5, 4]])


def test_the_same_rules_hold_line_by_line(tmp_path: Path) -> None:
    parse = CsvLines("t", names=("a", "b"), count=2, time_column=None)
    assert parse(1, ["a;b"]) is None
    blocks = [parse(i, [line]) for i, line in enumerate(("1;2", "1,5;2", "NA;3", "12.345;1"), start=2)]
    values = [block.values[0].tolist() for block in blocks if block is not None]
    assert values[:2] == [[1, 2], [1.5, 2]]
    assert blocks[2] is not None
    assert blocks[2].missing is not None
    assert blocks[2].missing.tolist() == [[True, False]]
    assert values[3] == [12345, 1]  # after the proof that the comma is the decimal mark


def test_columns_that_are_left_out_are_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    rows(tmp_path, "id,a,b,note\n1,2,3,x\n2,3,4,y\n", note=said.append)
    assert said == [f"{tmp_path / 't.csv'}: left out id, note: no feature of the model"]
    said.clear()
    assert len(rows(tmp_path, "a,b\n1,2\n#2,3\n#4,3\n3,4\n", note=said.append)) == 2
    assert said == [f"{tmp_path / 't.csv'}: left out line 3 and every other that begins with #"]
    said.clear()
    assert len(rows(tmp_path, "id,b, a\n1,2,3\nid,b,a\n2,3,3\nid, b ,a\n3,4,1\n", note=said.append)) == 3
    assert said[1:] == [f"{tmp_path / 't.csv'}: left out line 3 and every other that repeats the header"]
    with pytest.raises(DataError, match="line 3 holds 'b' in column 1"):
        rows(tmp_path, "a,b\n1,2\nb,a\n")


def test_columns_of_parquet_are_numbers_in_a_stream_where_they_are_in_a_file(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "decimal": arrow.array([Decimal("1.50"), None, Decimal("2.25")]),
        "integer": arrow.array([2**53 + 1, None, -1]),
        "boolean": arrow.array([True, None, False]),
        "half": arrow.array(np.array([1, np.nan, 2], np.float16)),
        "categories": arrow.array([1.5, None, 2.5]).dictionary_encode(),
        "text": arrow.array(["1", None, "2"]),
        "moment": arrow.array([1, None, 2], arrow.timestamp("s")),
        "list": arrow.array([[1.0], None, [2.0]]),
        "nothing": arrow.nulls(3),
    }
    path, numeric = tmp_path / "t.parquet", set()
    for kind, column in columns.items():
        parquet.write_table(arrow.table({"b": arrow.array([1.0, 2.0, 3.0]), "a": column}), path)
        try:
            whole = read_file(path, features=("a", "b")).x
        except DataError:
            with pytest.raises(DataError, match=r"column 'a' is .*, no numbers"):
                read(open_source(str(path), SPEC).rows)
            continue
        numeric.add(kind)
        np.testing.assert_array_equal(read(open_source(str(path), SPEC).rows).values.astype(np.float32), whole)
    assert numeric == {"decimal", "integer", "boolean", "half", "categories"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n1,234;5\n", "'1,234', which is 1234 or 1.234: say which with --decimal"),
        ("a,b\r1,2\r3,4\r", "ends its lines with CR alone"),
        ("a,b\n1,2\n".encode("utf-16"), "zero bytes"),
    ],
)
def test_what_a_stream_cannot_read_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        rows(tmp_path, text)


def test_options_of_tables_hold_and_those_that_cannot_are_refused(tmp_path: Path) -> None:
    table = TableOptions(skip_lines=1, decimal=",", missing=("Bad",))
    found = rows(tmp_path, "title\na;b\n1,234;Bad\n", table=table)
    assert found.values[0, 0] == 1.234
    assert found.missing is not None
    for wrong in (TableOptions(subtract={"a": 1.0}), TableOptions(drop_missing=True)):
        with pytest.raises(OptionError, match="leave out --subtract and --drop-missing"):
            rows(tmp_path, "a,b\n1,2\n", table=wrong)


@pytest.mark.parametrize("names", [(), ("a", "b", "c"), ("2", "1", "0")])
@pytest.mark.parametrize(
    "first",
    [
        "0,1,2",
        "1,2,3",
        "10,20,30",
        "0,2,1",
        "2,1,0",
        "0.5,0.25,7",
        "a,b,c",
        "c,b,a",
        "a,2,3",
        "Bad,2,1",
        "NA,2,1",
        ",,",
    ],
)
def test_a_stream_takes_the_first_line_for_what_a_file_takes_it(
    tmp_path: Path, first: str, names: tuple[str, ...]
) -> None:
    spec, table = InputSpec((3,), "float32", "features", -1.0, 1.0, names), TableOptions(missing=("Bad",))
    text = f"{first}\n4,5,6\n8,8,9\n"

    def outcome(call: Callable[[], object]) -> str:
        try:
            return str(call())
        except DataError as error:
            return "asks" if "--no-header" in str(error) else f"refuses: {error}"

    def whole() -> list[list[float]]:
        path = tmp_path / "t.csv"
        path.write_text(text)
        found = read_file(path, features=names, table=table).x.tolist()
        assert all(len(row) == 3 for row in found)
        return [[float(value) for value in row] for row in found]

    def stream() -> list[list[float]]:
        return [[float(value) for value in row] for row in rows(tmp_path, text, spec, table=table).values.tolist()]

    file, streamed = outcome(whole), outcome(stream)
    assert file == streamed or (file.startswith("refuses") and streamed.startswith("refuses"))


def test_a_file_whose_first_line_is_numbers_has_the_header_of_the_file_before_it() -> None:
    parse = CsvLines("t", names=(), count=3, time_column=None)

    def read_one(parse: CsvLines, *lines: str) -> list[list[float]]:
        block = parse(1, list(lines))
        return [] if block is None else [[float(value) for value in row] for row in block.values]

    assert read_one(parse, "0.5,1,7") == [[0.5, 1, 7]]
    parse.restart()
    assert read_one(parse, "0,1,2") == [[0, 1, 2]]
    later = CsvLines("t", names=(), count=3, time_column=None)
    later.restore(parse.state())  # another process
    later.restart()
    assert read_one(later, "1,2,3") == [[1, 2, 3]]

    named = CsvLines("t", names=(), count=3, time_column=None)
    assert read_one(named, "0,1,2", "1,2,3") == [[1, 2, 3]]
    named.restart()
    assert read_one(named, "0,1,2", "1,2,3") == [[1, 2, 3]]
    named.restart()
    assert read_one(named, "1,2,3") == [[1, 2, 3]]  # a file that begins without the header

    fresh = CsvLines("t", names=(), count=3, time_column=None)
    with pytest.raises(DataError, match="may be names of columns or a row"):
        fresh(1, ["1,2,3"])


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "b,t\n2,1700000001.25\n"), ("t.jsonl", '{"t": 1700000001.25, "b": 2}\n')],
)
def test_what_a_bundle_subtracts_is_subtracted_in_float64(tmp_path: Path, name: str, text: str) -> None:
    np.testing.assert_array_equal(rows(tmp_path, text, CLOCK, name).values, [[1.25, 2]])


def test_many_columns_cost_linear_time(tmp_path: Path) -> None:
    def read_line(columns: int) -> None:
        names = tuple(f"c{i}" for i in range(columns))
        spec = InputSpec((columns,), "float32", "features", -1.0, 1.0, names)
        text = ",".join(names) + "\n" + ",".join(["1.5"] * columns) + "\n"
        assert rows(tmp_path, text, spec).values.shape == (1, columns)

    read_line(100)
    assert least_cpu_s(lambda: read_line(20_000)) < 40 * least_cpu_s(
        lambda: read_line(2000)
    )  # 100 times, were it quadratic


@pytest.mark.parametrize(
    "wrong",
    [{"features": [0, 2]}, {"features": [2**63, 0]}, {"features": [-1, 0]}, {"time": 2}, {"time": -1}, {"width": 0}]
    + [{"delimiter": delimiter} for delimiter in ("", ",,", '"', "\n", None, 7, [])],
)
def test_columns_of_a_state_that_no_line_has_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    source = open_source(str(tmp_path / "t.csv"), SPEC, resumable=True)
    read(source.rows)
    assert source.position is not None
    position = json.loads(json.dumps(source.position()))
    again = open_source(str(tmp_path / "t.csv"), SPEC, resumable=True, position=position)
    assert [block for block in again.rows if block is not None] == []
    position["parser"]["columns"].update(wrong)
    with pytest.raises(DataError, match=r"the place in .* cannot be read from the state"):
        open_source(str(tmp_path / "t.csv"), SPEC, resumable=True, position=position)
