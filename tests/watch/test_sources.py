"""Sources of a stream: what they read, what they refuse, and what they do while a file grows."""

from __future__ import annotations

import io
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.watch import open_source
from vae_edge.watch.text_files import CsvLines, Followed, JsonLines, lines_of
from vae_edge_runtime.errors import DataError, OptionError
from vae_edge_runtime.specs import InputSpec
from vae_edge_runtime.stream import Rows

SPEC = InputSpec((5, 2), "float32", "time_features", -1.0, 1.0, ("a", "b"))
UNNAMED = InputSpec((2,), "float32", "features", -1.0, 1.0, ())
IMAGE = InputSpec((4, 6, 1), "uint8", "nhwc", 0.0, 255.0, ())


def read(source: object) -> Rows:
    """All blocks of a source in one."""
    blocks = [block for block in source if block is not None]  # type: ignore[attr-defined]
    assert blocks
    times = [b.time for b in blocks if b.time is not None]
    missing = [np.zeros(b.values.shape, bool) if b.missing is None else b.missing for b in blocks]
    return Rows(
        np.concatenate([b.values for b in blocks]),
        np.concatenate(times) if times else None,
        tuple(label for b in blocks for label in b.labels),
        np.concatenate(missing),
    )


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


def test_times_are_seconds_or_iso_and_one_that_is_neither_is_nan(tmp_path: Path) -> None:
    text = "t,a,b\n2026-01-31T12:00:00Z,1,2\n2026-01-31T12:00:00.5Z,1,2\nbroken,1,2\n"
    found = csv(tmp_path, text, time_column="t")
    assert found.time is not None
    assert found.time[1] - found.time[0] == 0.5
    assert np.isnan(found.time[2])
    assert found.labels[0] == "2026-01-31T12:00:00Z"
    with pytest.raises(DataError, match="'noon' for a time: write seconds, or ISO 8601"):
        csv(tmp_path, "t,a,b\nnoon,1,2\n", time_column="t")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,c\n1,2\n", r"lacks the columns b; it has a, c"),
        ("a,b,a\n1,2,3\n", "names the column 'a' twice"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the first has 2"),
        ("a,b\n1,2\n1,x\n", "line 3 holds 'x' in column 2, which is no number"),
        ("a,b\n1,1_000\n", "line 2 holds '1_000'"),
        ("1,2,3\n", "has 3 columns and no header; the model takes 2"),
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
    with pytest.raises(DataError, match="3 columns of features, the model takes 2"):
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
    with pytest.raises(DataError, match="lacks the columns"):
        read(open_source(str(tmp_path / "rows.parquet"), SPEC, columns=("a", "q")).rows)
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


def test_rotation_and_truncation_begin_anew(followed: tuple[Path, list[list[float]], Callable[[int], None]]) -> None:
    path, seen, wait = followed
    wait(1)
    path.rename(path.with_suffix(".1"))
    path.write_text("b,a\n20,10\n")  # another header, another order
    wait(2)
    path.write_text("a,b\n7,8\n")  # shorter than what was read
    wait(3)
    assert seen == [[1, 2], [10, 20], [7, 8]]


def test_pictures_of_a_folder_come_by_name_and_must_fit(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, level in (("b.png", 20), ("a.png", 10)):
        image.fromarray(np.full((4, 6), level, np.uint8)).save(tmp_path / name)
    found = read(open_source(str(tmp_path), IMAGE).rows)
    assert found.labels == ("a.png", "b.png")
    np.testing.assert_array_equal(found.values[:, 0, 0, 0], [10, 20])
    channels_first = InputSpec((3, 4, 6), "uint8", "nchw", 0.0, 255.0, ())
    assert read(open_source(str(tmp_path), channels_first).rows).values.shape == (2, 3, 4, 6)
    image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c.png is 6x5, the model takes 6x4: resize with --image-size 4x6"):
        read(open_source(str(tmp_path), IMAGE).rows)
    image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c.png has 3 channels, the model takes 1"):
        read(open_source(str(tmp_path), IMAGE).rows)


def test_a_picture_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    whole = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)).save(whole, "PNG")
    source = iter(open_source(str(tmp_path), IMAGE, follow=True).rows)
    path = tmp_path / "slow.png"
    for size in range(10, len(whole.getvalue()), 30):
        path.write_bytes(whole.getvalue()[:size])
        assert next(source) is None
    path.write_bytes(whole.getvalue())
    found = [next(source) for _ in range(3)]
    assert [rows.labels for rows in found if rows is not None] == [("slow.png",)]


def test_frames_of_a_video_have_their_times(tmp_path: Path) -> None:
    cv = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv.VideoWriter(str(path), cv.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (0, 100, 200):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    spec = InputSpec((48, 64, 1), "uint8", "nhwc", 0.0, 255.0, ())
    found = read(open_source(str(path), spec).rows)
    np.testing.assert_allclose(found.values.mean((1, 2, 3)), [0, 100, 200], atol=3)
    assert found.time is not None
    np.testing.assert_allclose(np.diff(found.time), 0.1, atol=1e-6)
    small = InputSpec((3, 24, 32), "uint8", "nchw", 0.0, 255.0, ())
    assert read(open_source(str(path), small, size=(24, 32)).rows).values.shape == (3, 3, 24, 32)
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be opened as a video"):
        open_source(str(tmp_path / "no.mp4"), spec)


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
    with pytest.raises(DataError, match="holds 8-bit images; the model takes float32"):
        open_source(str(tmp_path), SPEC)
    with pytest.raises(DataError, match="holds rows of numbers"):
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
