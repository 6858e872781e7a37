"""Sources of a stream: what they read, what they refuse, and what they do while a file grows."""

from __future__ import annotations

import io
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from csv import reader as csv_reader
from pathlib import Path

import numpy as np
import pytest
from blocks import read
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.watch import open_source
from vae_edge.watch.columns import Columns
from vae_edge.watch.followed import Followed
from vae_edge.watch.text_files import CsvLines, JsonLines, lines_of
from vae_edge.watch.times import Times, plain_number
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.format.specs import InputSpec
from vae_edge_runtime.stream import Rows

SPEC = InputSpec((5, 2), "float32", "time_features", -1.0, 1.0, ("a", "b"))
UNNAMED = InputSpec((2,), "float32", "features", -1.0, 1.0, ())
IMAGE = InputSpec((4, 6, 1), "uint8", "nhwc", 0.0, 255.0, ())


def csv(tmp_path: Path, text: str | bytes, **options: object) -> Rows:
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(open_source(str(path), options.pop("spec", SPEC), **options).rows)  # type: ignore[arg-type]


def test_columns_are_found_by_name_in_any_order_among_others(tmp_path: Path) -> None:
    found = csv(tmp_path, "time,b,note,a\n0.5,2,x,1\n0.6,4,y,3\n", time_column="time")
    np.testing.assert_array_equal(found.values, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found.time, [0.5, 0.6])


@pytest.mark.parametrize("text", ["a,b\r\n1,2\r\n", "\ufeffa,b\n1,2", '"a","b"\n"1","2"\n', "1,2\n", "a,b\n\n1,2\n"])
def test_line_ends_marks_quotes_and_missing_headers_are_no_obstacle(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(csv(tmp_path, text).values, [[1, 2]])


def test_an_empty_cell_is_missing_and_nan_is_a_nan_of_the_sensor(tmp_path: Path) -> None:
    found = csv(tmp_path, "a,b\n1,\nnan,2\n , inf\n")
    assert found.missing is not None
    np.testing.assert_array_equal(found.missing, [[False, True], [False, False], [True, False]])
    np.testing.assert_array_equal(found.values, [[1, np.nan], [np.nan, 2], [np.nan, np.inf]])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,c\n1,2\n", r"lacks the column 'b': the model takes 2 columns; the rows have 2: a, c$"),
        ("a,b,a\n1,2,3\n", "names the column 'a' twice"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the first has 2"),
        ("a,b\n1,2\n1,x\n", "line 3 holds 'x' in column 2, which is no number"),
        ("a,b\n1,1_000\n", "line 2 holds '1_000'"),
        ("1,2,4\n", r"has no header: the model takes 2 columns \(a, b\); the rows have 3"),
        ("1,2,x\n", "the rows have 3: 1, 2, x. Its first line was taken as names: if it is a row, say --no-header"),
        ('a,b\n1,"2\n3,4"\n', "quoted cell"),
        (b"a,b\n1,\xff\n", "is no UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        csv(tmp_path, text)


def test_a_model_without_names_takes_as_many_columns_or_those_named(tmp_path: Path) -> None:
    np.testing.assert_array_equal(csv(tmp_path, "x,y\n1,2\n", spec=UNNAMED).values, [[1, 2]])
    found = csv(tmp_path, "x,y,z\n1,2,3\n", spec=UNNAMED, columns=("z", "x"))
    np.testing.assert_array_equal(found.values, [[3, 1]])
    with pytest.raises(DataError, match="the model takes 2 columns; the rows have 3: name them"):
        csv(tmp_path, "x,y,z\n1,2,3\n", spec=UNNAMED)
    with pytest.raises(DataError, match="no column 't' for the time"):
        csv(tmp_path, "x,y\n1,2\n", spec=UNNAMED, time_column="t")


class Trickle(io.RawIOBase):
    """A pipe that gives its bytes in pieces of given sizes."""

    def __init__(self, raw: bytes, sizes: list[int]) -> None:
        self._raw, self._sizes = raw, [*sizes, len(raw)]

    def read1(self, _: int = -1) -> bytes:
        size = self._sizes.pop(0) if self._sizes else len(self._raw)
        piece, self._raw = self._raw[:size], self._raw[size:]
        return piece


@given(st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_rows_do_not_depend_on_how_a_pipe_cuts_its_bytes(sizes: list[int], ends: bool) -> None:
    lines = [f'{{"time": {i}, "b": {i + 0.5}, "a": {i if i % 3 else "null"}}}' for i in range(9)]
    raw = ("\n".join(lines) + ("\n" if ends else "")).encode()
    parse = JsonLines("stdin", names=("a", "b"), count=2, time_column=None)
    found = read(lines_of(Trickle(raw, sizes), parse, "stdin"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.values[:, 1], np.arange(9) + 0.5)
    np.testing.assert_array_equal(found.time, np.arange(9))
    assert found.missing is not None
    np.testing.assert_array_equal(np.flatnonzero(found.missing[:, 0]), [0, 3, 6])


def test_json_rows_have_times_where_the_first_has_one() -> None:
    def lines(*texts: str, time_column: str | None = None) -> list[np.ndarray | None]:
        parse = JsonLines("stdin", names=("a",), count=1, time_column=time_column)
        blocks = [parse(i + 1, [text]) for i, text in enumerate(texts)]
        return [None if block is None else block.time for block in blocks]

    timed = lines('{"a": 1, "time": 0.5}', '{"a": 1}', '{"a": 1, "time": null}')
    np.testing.assert_array_equal(np.concatenate([t for t in timed if t is not None]), [0.5, np.nan, np.nan])
    assert lines("[1]", '{"a": 1, "time": 0.5}') == [None, None]
    with pytest.raises(DataError, match="stdin line 1 has no 't' for the time"):
        lines('{"a": 1, "time": 0.5}', time_column="t")


def test_a_whole_number_beyond_any_float_is_infinite_and_not_a_crash() -> None:
    rows = JsonLines("stdin", names=(), count=2, time_column=None)(1, [f"[{10**400}, -{10**400}]"])
    assert rows is not None
    np.testing.assert_array_equal(rows.values, [[np.inf, -np.inf]])


CELLS = st.one_of(
    st.floats(width=32).map(repr),
    st.sampled_from(
        ["", " ", "nan", " 1", "1 ", "+2", "1_0", "x", '"3"', "1d2", "0x1", "1e400", "\u0661", "#", "-inf"]
    ),
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_plain_lines_read_fast_are_what_a_close_look_says(rows: list[tuple[str, str, str]]) -> None:
    lines = [",".join(row) for row in rows]
    columns = Columns("f", (2, 0), 1, 3)
    fast = columns.plain_rows(lines, Times("f")) if _is_finite(rows[0][1]) else None
    if fast is None:
        return
    slow = columns.rows([(i, next(csv_reader([line]))) for i, line in enumerate(lines)], Times("f"))
    np.testing.assert_array_equal(fast.values, slow.values)
    np.testing.assert_array_equal(fast.time, slow.time)
    assert (fast.labels or [""] * len(lines)) == (slow.labels or [""] * len(lines))
    assert slow.missing is None


def _is_finite(cell: str) -> bool:
    try:
        return bool(np.isfinite(plain_number(cell)))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 1 is no JSON"),
        ('{"a": 1}', "line 1 lacks b; write null"),
        ("[1, 2, 3]", "line 1 holds no 2 values"),
        ('[1, "2"]', 'line 1 holds "2", which is no number'),
        ("[true, 2]", "line 1 holds true"),
        ("3", "line 1 holds no 2 values"),
    ],
)
def test_json_that_is_no_row_is_named_with_its_line(line: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        JsonLines("stdin", names=("a", "b"), count=2, time_column=None)(1, [line])


def test_parquet_nulls_are_missing_and_timestamps_are_times(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    moments = arrow.array([0, 500, 1000], arrow.timestamp("ms"))
    table = arrow.table({"t": moments, "b": [2, None, 6], "a": [1.0, 3.0, float("nan")], "note": ["x", "y", "z"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    found = read(open_source(str(tmp_path / "rows.parquet"), SPEC, time_column="t").rows)
    np.testing.assert_array_equal(found.values, [[1, 2], [3, np.nan], [np.nan, 6]])
    np.testing.assert_array_equal(found.missing, [[False, False], [False, True], [False, False]])
    np.testing.assert_array_equal(found.time, [0.0, 0.5, 1.0])
    assert found.labels == ("1970-01-01T00:00:00.000", "1970-01-01T00:00:00.500", "1970-01-01T00:00:01.000")
    fine = table.set_column(0, "t", arrow.array([1, None, 3], arrow.timestamp("ns")))  # finer than datetime
    parquet.write_table(fine, tmp_path / "fine.parquet")
    fine_rows = read(open_source(str(tmp_path / "fine.parquet"), SPEC, time_column="t").rows)
    np.testing.assert_array_equal(fine_rows.time, [1e-9, np.nan, 3e-9])
    assert fine_rows.labels[2] == "1970-01-01T00:00:00.000000003"
    with pytest.raises(DataError, match="lacks the column 'q'"):
        read(open_source(str(tmp_path / "rows.parquet"), SPEC, columns=("a", "q")).rows)
    twice = arrow.table([arrow.array([1.0])] * 3, names=["a", "b", "a"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="names a column twice: a"):
        read(open_source(str(tmp_path / "twice.parquet"), SPEC, columns=("a", "b")).rows)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(open_source(str(tmp_path / "bad.parquet"), SPEC).rows)


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[tuple[Path, list[list[float]], Callable[[int], None]]]:
    """A growing CSV, the rows seen of it so far, and how to wait for a number of them."""
    path, seen = tmp_path / "grow.csv", []
    path.write_text("a,b\n1,2\n")
    source = Followed(path, CsvLines(str(path), names=("a", "b"), count=2, time_column=None), poll_s=0.01)

    def run() -> None:
        for block in source:
            if block is not None:
                seen.extend(block.values.tolist())

    thread = threading.Thread(target=run)
    thread.start()

    def wait(count: int) -> None:
        end = time.monotonic() + 10
        while len(seen) < count and time.monotonic() < end:
            time.sleep(0.005)

    yield path, seen, wait
    source.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_half_written_line_waits_for_its_end(followed: tuple[Path, list[list[float]], Callable[[int], None]]) -> None:
    path, seen, wait = followed
    wait(1)
    with path.open("a") as file:
        file.write("3,4")
        file.flush()
        time.sleep(0.1)
        assert seen == [[1, 2]]
        file.write("5\n6,7\n")
        file.flush()
        wait(3)
    assert seen == [[1, 2], [3, 45], [6, 7]]


def test_what_is_written_to_a_file_after_it_was_renamed_is_read_before_the_new_one(
    followed: tuple[Path, list[list[float]], Callable[[int], None]],
) -> None:
    path, seen, wait = followed
    wait(1)
    old = path.rename(path.with_suffix(".1"))
    path.touch()  # as a rotation makes it, before it tells the writer
    time.sleep(0.05)
    with old.open("a") as file:
        file.write("3,4\n5,")  # the half line has no end
    wait(2)
    path.write_text("b,a\n20,10\n")
    wait(3)
    assert seen == [[1, 2], [3, 4], [10, 20]]


def test_rotation_and_truncation_begin_anew(followed: tuple[Path, list[list[float]], Callable[[int], None]]) -> None:
    path, seen, wait = followed
    wait(1)
    path.rename(path.with_suffix(".1"))
    path.write_text("b,a\n20,10\n")  # another header, another order
    wait(2)
    path.write_text("a,b\n7,8\n")  # shorter than what was read
    wait(3)
    assert seen == [[1, 2], [10, 20], [7, 8]]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("1")
    (tmp_path / "x.parquet").write_text("1")
    with pytest.raises(DataError, match="does not exist"):
        open_source(str(tmp_path / "absent.csv"), SPEC)
    with pytest.raises(DataError, match="ends with none of"):
        open_source(str(tmp_path / "x.txt"), SPEC)
    with pytest.raises(OptionError, match="cannot be followed"):
        open_source(str(tmp_path / "x.parquet"), SPEC, follow=True)
    with pytest.raises(OptionError, match="a camera has a number"):
        open_source("camera:front", IMAGE)
    with pytest.raises(DataError, match=r"holds pictures; the model takes windows of 5 rows, each of 2 columns: a, b"):
        open_source(str(tmp_path), SPEC)
    with pytest.raises(DataError, match="stdin is a table; the model takes pictures of"):
        open_source("-", IMAGE)


def test_a_large_file_streams_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"

    def peak(lines: int) -> int:
        path.write_text("a,b\n" + "0.123456,1.234567\n" * lines)
        tracemalloc.start()
        count = sum(len(block) for block in open_source(str(path), SPEC).rows if block is not None)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == lines
        return found

    peak(1000)
    assert peak(200_000) < 1.2 * peak(40_000)
