"""Tables as plants, spreadsheets and historians write them: footers, clocks, units, words for 1 and 0."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vae_edge.data import TableOptions, read
from vae_edge.data.files import NoRows
from vae_edge_runtime import DataError
from vae_edge_runtime.text import counted

ROWS = np.random.default_rng(0).normal(size=(20, 3)) * [5, 2, 1] + [20, 1013, 0]
NAMES = ("temp", "pressure", "vib")


@pytest.mark.parametrize(
    ("first", "delimiter"), [("sep=;", ";"), ("sep=\t", "\t"), ('"sep=;"', ";"), ("SEP=|", "|")], ids=repr
)
def test_a_line_that_names_the_delimiter_is_followed(tmp_path: Path, first: str, delimiter: str) -> None:
    lines = [delimiter.join(NAMES), *(delimiter.join(f"{v:.4f}" for v in row) for row in ROWS)]
    path = tmp_path / "t.csv"
    path.write_text("\r\n".join([first, *lines]), encoding="utf-8", newline="")
    np.testing.assert_allclose(read(path).x, ROWS, atol=1e-4)


@pytest.mark.parametrize(
    ("footer", "said", "lines"),
    [
        (["Sum,,"], "'Sum'", 1),
        (["", "(24 rows affected)"], "different lengths", 1),
        (["Mean,1.0,2.0", "Max,3.0,4.0"], "'Mean'", 2),
        (["Total,1.0,2.0", ",,"], "'Total'", 2),
    ],
    ids=["sum", "remark", "two lines", "empty cells after it"],
)
def test_what_stands_after_the_table_is_named_with_its_option(
    tmp_path: Path, footer: list[str], said: str, lines: int
) -> None:
    """Dropping the column, which was the advice before, would have made a row of the sum."""
    rows = [",".join(f"{v:.3f}" for v in row) for row in ROWS]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(NAMES), *rows, *footer]), encoding="utf-8")
    with pytest.raises(DataError, match=rf"(?s){re.escape(said)}.*--skip-footer {lines}$"):
        read(path)
    found = read(path, table=TableOptions(skip_footer=lines))
    assert len(found.x) == len(ROWS)
    assert (f"{counted(lines, 'line')} at the end", "as --skip-footer says") in found.report.rows_left_out


@pytest.mark.parametrize("lines", [20, 10**15])
def test_a_footer_that_is_the_whole_table_leaves_no_rows(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(NAMES), *(",".join(map(str, row)) for row in ROWS)]), encoding="utf-8")
    with pytest.raises(NoRows, match=rf"no rows before the last {lines} lines \(--skip-footer\)"):
        read(path, table=TableOptions(skip_footer=lines))


def test_a_word_in_the_middle_is_no_footer(tmp_path: Path) -> None:
    rows = [",".join(f"{v:.3f}" for v in row) for row in ROWS]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(NAMES), *rows[:8], "Bad,1.0,2.0", *rows[8:]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"'Bad'.*--missing.*--drop-columns"):
        read(path)


def test_lines_that_repeat_the_header_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [",".join(f"{v:.4f}" for v in row) for row in ROWS]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(NAMES), *rows[:5], ",".join(NAMES), *rows[5:]]), encoding="utf-8")
    found = read(path)
    np.testing.assert_allclose(found.x, ROWS, atol=1e-4)
    assert ("1 line", "they repeat the header") in found.report.rows_left_out


def test_two_lines_of_names_are_told_apart_from_a_name_that_is_there_twice(tmp_path: Path) -> None:
    rows = [",".join(f"{v:.4f}" for v in row) for row in ROWS]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["made by a logger", "s,s,s", ",".join(NAMES), *rows]), encoding="utf-8")
    with pytest.raises(DataError, match="--skip-lines 1"):
        read(path)
    with pytest.raises(DataError, match=r"names a column twice: s\. The next line has names too.*--skip-lines 2$"):
        read(path, table=TableOptions(skip_lines=1))
    assert read(path, table=TableOptions(skip_lines=2)).names == NAMES


def test_a_column_of_decimal_commas_is_not_read_as_two(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["level", *(f"{v:.3f}".replace(".", ",") for v in 20 + ROWS[:, 0])]), encoding="utf-8")
    with pytest.raises(DataError, match=r"one name and two cells.*--delimiter ';' --decimal ,"):
        read(path)
    one = read(path, table=TableOptions(delimiter=";", decimal=","))
    np.testing.assert_allclose(one.x[:, 0], 20 + ROWS[:, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([30 - i for i in range(20)], "change by the same whole number"),
        ([10 * i for i in range(20)], "change by the same whole number"),
        ([1_700_000_000 + 60 * i for i in range(20)], "change by the same whole number"),
        ([20240101 + i // 2 for i in range(20)], "dates written as numbers"),
    ],
    ids=["falling", "tens", "clock", "days"],
)
def test_row_numbers_and_clocks_in_other_dress_are_refused_until_the_user_names_them(
    tmp_path: Path, column: list[int], why: str
) -> None:
    path = tmp_path / "t.csv"
    value = np.random.default_rng(0).normal(size=20)
    path.write_text("\n".join(["n,level", *(f"{n},{v:.3f}" for n, v in zip(column, value, strict=True))]))
    with pytest.raises(DataError, match=rf"{why}.*--drop-columns 'n'"):
        read(path)
    assert read(path, table=TableOptions(drop=("n",))).names == ("level",)
    assert read(path, columns=("n", "level")).x.shape == (20, 2)


def test_uneven_whole_numbers_are_measurements(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    counts = np.random.default_rng(0).integers(20000000, 20990000, 20)
    path.write_text("\n".join(["n", *map(str, counts)]))
    assert read(path).names == ("n",)


@pytest.mark.parametrize(("one", "zero"), [("yes", "no"), ("ON", "OFF"), ("True", "False")])
def test_words_for_one_and_zero_are_numbers_a_pair_to_a_column(tmp_path: Path, one: str, zero: str) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{v:.2f},{one if v > 0 else zero}" for v in ROWS[:, 0]]
    path.write_text("\n".join(["level,pump", *lines]))
    found = read(path)
    np.testing.assert_array_equal(found.x[:, 1], np.round(ROWS[:, 0], 2) > 0)
    assert f"{one.lower()} is 1 and {zero.lower()} is 0 in pump" in found.report.notes
    path.write_text("\n".join(["level,pump", *lines, "1.0,true" if one != "True" else "1.0,yes", *lines]))
    with pytest.raises(DataError, match=r"column 'pump' holds '(true|yes)'"):
        read(path)


@pytest.mark.parametrize(("cell", "unit"), [("20.4 °C", "°C"), ("20.4%", "%"), ("$20.40", "$"), ("1,5 bar", "bar")])
def test_a_number_with_its_unit_is_refused_by_the_unit(tmp_path: Path, cell: str, unit: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a;b", *[f"{cell};2.5"] * 5]), encoding="utf-8")
    with pytest.raises(DataError, match=rf"a number with '{re.escape(unit)}' beside it: write the number alone"):
        read(path, table=TableOptions(delimiter=";"))


@pytest.mark.parametrize(
    ("ending", "advice"),
    [
        (".xlsx", "save the sheet as CSV"),
        (".csv.gz", "unpack it"),
        (".txt", "under the ending .csv"),
        (".json", "jsonl"),
        (".heic", "PNG or JPEG"),
        (".h5", "Parquet"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_to_do(tmp_path: Path, ending: str, advice: str) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(b"something")
    with pytest.raises(DataError, match=rf"ends with none of.*: .*{re.escape(advice)}"):
        read(path)
