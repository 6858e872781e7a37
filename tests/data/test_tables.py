"""Tables as people have them: read by a written rule that the report names, or refused with the option that decides."""

from __future__ import annotations

import csv as csv_module
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_edge.data import TableOptions, read
from vae_edge_runtime import DataError, OptionError

ROWS = np.random.default_rng(0).normal(size=(20, 3)) * [5, 2, 1] + [20, 1013, 0]
NAMES = ("temp", "pressure", "vib")


def text(rows: np.ndarray = ROWS, *, delimiter: str = ",", decimal: str = ".", head: str = "", end: str = "\n") -> str:
    lines = [head or delimiter.join(NAMES)]
    lines += [delimiter.join(repr(v).replace(".", decimal) for v in row) for row in rows.tolist()]
    return end.join(lines) + end


def numbered(table: str) -> str:
    """The table with a nameless column that counts its rows from 1."""
    return "\n".join(f"{i or ''},{line}" for i, line in enumerate(table.splitlines()))


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("content", "encoding", "note"),
    [
        (text(), "utf-8-sig", ""),
        (text(), "utf-16", "UTF-16"),
        (text(), "utf-16-le", "UTF-16-LE without a byte order mark"),
        (text(), "utf-16-be", "UTF-16-BE without a byte order mark"),
        (text(end="\r"), "utf-8", ""),
        (text(end="\r\n"), "utf-8", ""),
        (text(delimiter=";", decimal=","), "utf-8", "the decimal mark is a comma"),
        (text(delimiter="\t"), "utf-8", r"the delimiter is '\\t'"),
        (text(delimiter="\t", decimal=","), "utf-8", "the decimal mark is a comma"),
        (text(delimiter="|"), "utf-8", "the delimiter is '|'"),
        (text(delimiter=" "), "utf-8", "the delimiter is ' '"),
        ("sep=;\n" + text(delimiter=";"), "utf-8", "the delimiter is ';'"),
        ("# a logger\n# of 2024\n" + text(), "utf-8", "left out 2 lines: they begin with #"),
        (text(head="# temp,pressure,vib"), "utf-8", "names from the comment"),
        ("#" + numbered(text()), "utf-8", "left out Unnamed: 0: it has no name and counts rows (1 to 20)"),
        (text(head="temp,pressure,vib\n°C,hPa,mm/s2"), "utf-8", "such as units: °C, hPa, mm/s2"),
        (text(head="temp,pressure,vib,").replace("\n", ",\n").replace(",,\n", ",\n"), "utf-8", "no name and no value"),
        (text().replace("\n", ",\n").replace("vib,", "vib"), "utf-8", "empty cells after the last column"),
        (text() + ",,\n,,\n", "utf-8", "left out 2 lines at the end: every cell is empty"),
        (text().replace("\n", "\n\n"), "utf-8", "they are empty"),
    ],
)  # fmt: skip
def test_every_spelling_of_one_table_gives_the_same_rows(
    tmp_path: Path, content: str, encoding: str, note: str
) -> None:
    table = read(write(tmp_path / "t.csv", content, encoding))
    assert table.names == NAMES
    np.testing.assert_array_equal(table.x, ROWS.astype(np.float32))
    assert table.report is not None
    assert (table.report.rows, table.report.columns, table.report.kind) == (20, NAMES, "csv")
    assert note.replace("\\\\", "\\") in "\n".join(table.report.lines())


@pytest.mark.parametrize(
    ("mark", "separator"), [(".", ","), (",", "."), (",", " "), (",", "\u00a0"), (",", "\u202f"), (".", "'")]
)
def test_thousands_separators_are_taken_out(tmp_path: Path, mark: str, separator: str) -> None:
    values = [[1234.5, 0.25], [1234567.25, -98765.5]]
    lines = [
        ";".join(f"{v:,.2f}".replace(",", "S").replace(".", mark).replace("S", separator) for v in row)
        for row in values
    ]
    table = read(write(tmp_path / "t.csv", "a;b\n" + "\n".join(lines) + "\n"))
    np.testing.assert_array_equal(table.x, values)
    assert table.report is not None
    assert "thousands separators were taken out" in table.report.notes


def test_what_may_be_read_in_two_ways_is_refused_until_an_option_says(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a;b\n1,234;5\n2,345;7\n")
    with pytest.raises(DataError, match=r"'1,234', which is 1234 or 1.234: say which with --decimal"):
        read(path)
    assert read(path, table=TableOptions(decimal=",")).x[0].tolist() == [np.float32(1.234), 5]
    assert read(path, table=TableOptions(decimal=".")).x[0].tolist() == [1234, 5]
    with pytest.raises(DataError, match=r"'1,5' and '2.75', with different decimal marks"):
        read(write(tmp_path / "u.csv", "a;b\n1,5;2.75\n"))
    with pytest.raises(DataError, match="twice as many, as with decimal commas between commas"):
        read(write(tmp_path / "v.csv", "a,b\n1,5,2,5\n"))


@pytest.mark.parametrize("first", [0, 1, 5000])
def test_a_nameless_column_that_counts_rows_is_left_out_and_named(tmp_path: Path, first: int) -> None:
    lines = text(head=",temp,pressure,vib").splitlines()
    lines[1:] = [f"{first + i},{line}" for i, line in enumerate(lines[1:])]
    table = read(write(tmp_path / "t.csv", "\n".join(lines)))
    assert table.names == NAMES
    assert table.report is not None
    assert table.report.left_out == (
        ("Unnamed: 0", f"it has no name and counts rows ({first} to {first + 19})"),
    )  # fmt: skip
    # The same with the row names of R, whose header is one name shorter.
    shorter = "\n".join([lines[0][1:], *lines[1:]])
    np.testing.assert_array_equal(read(write(tmp_path / "r.csv", shorter)).x, table.x)


def test_a_frame_that_was_saved_twice_with_its_index_loses_both(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(ROWS, columns=NAMES).to_csv(tmp_path / "a.csv")
    pandas.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "b.csv")
    table = read(tmp_path / "b.csv")
    assert table.names == NAMES
    assert table.report is not None
    assert len(table.report.left_out) == 2


def test_columns_about_which_only_the_user_knows_are_refused_all_at_once(tmp_path: Path) -> None:
    lines = [f"{i},2024-01-01 00:{i:02},{20 + i * i},ok,,Berlin" for i in range(20)]
    path = write(tmp_path / "t.csv", "\n".join(["id,time,temp,state,spare,site", *lines]))
    with pytest.raises(DataError, match=r"line 2, column 'time' holds '2024-01-01 00:00', a time and no number"):
        read(path)
    with pytest.raises(DataError, match=r"--drop-columns 'time,state,site,id,spare'"):
        read(path)
    with pytest.raises(DataError, match=r"columns id grow by 1 in each row.*columns spare hold no value"):
        read(path, table=TableOptions(drop=("time", "state", "site")))
    table = read(path, table=TableOptions(drop=("time", "state", "site", "id", "spare")))
    assert table.names == ("temp",)
    assert read(path, columns=["id", "temp"]).names == ("id", "temp")


def test_a_header_that_counts_is_a_header_and_one_that_may_be_a_row_is_asked_about(tmp_path: Path) -> None:
    counted = read(write(tmp_path / "c.csv", text(head="0,1,2")))
    assert (counted.names, len(counted)) == (("0", "1", "2"), 20)
    assert counted.report is not None
    assert counted.report.header == "names from the first line"
    path = write(tmp_path / "w.csv", text(head="400,402.5,405"))
    with pytest.raises(DataError, match=r"rises in even steps.*--header or --no-header"):
        read(path)
    assert read(path, table=TableOptions(header=True)).names == ("400", "402.5", "405")
    bare = read(path, table=TableOptions(header=False))
    assert (bare.names, len(bare)) == (("column0", "column1", "column2"), 21)


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "NaN", "#N/A", "null", "None", "-", "#DIV/0!", "1.#QNAN"])
def test_a_missing_cell_is_nan_and_counted(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path / "t.csv", f"a,b\n1,2\n{cell},3\n4,6\n")
    table = read(path)
    np.testing.assert_array_equal(table.x, [[1, 2], [np.nan, 3], [4, 6]])
    assert table.report is not None
    assert "1 cell is missing: a 1" in table.report.notes
    kept = read(path, table=TableOptions(drop_missing=True))
    assert (kept.x.tolist(), kept.row_ids) == ([[1, 2], [4, 6]], ("0", "2"))
    assert kept.report is not None
    assert kept.report.rows_left_out == (("1 row", "a cell is missing (--drop-missing)"),)


def test_words_of_a_historian_are_missing_where_the_user_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b\n1,2\nBad,3\n4,I/O Timeout\n")
    with pytest.raises(DataError, match=r"line 3, column 'a' holds 'Bad', which is no number \(--missing"):
        read(path)
    table = read(path, table=TableOptions(missing=("bad", "I/O Timeout")))
    np.testing.assert_array_equal(table.x, [[1, 2], [np.nan, 3], [4, np.nan]])


def test_windows_with_a_missing_cell_are_left_out_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b\n" + "\n".join("1,2" if i != 5 else ",2" for i in range(12)))
    table = read(path, window=3, table=TableOptions(drop_missing=True))
    assert (len(table), table.row_ids[2:4]) == (7, ("2..4", "6..8"))


def test_true_and_false_are_one_and_zero_but_not_beside_other_numbers(tmp_path: Path) -> None:
    table = read(write(tmp_path / "t.csv", "a,on\n1,True\n2,FALSE\n5,true\n"))
    assert table.x[:, 1].tolist() == [1, 0, 1]
    assert table.report is not None
    assert "true is 1 and false is 0 in on" in table.report.notes
    with pytest.raises(DataError, match="column 'on' is true or false beside other numbers"):
        read(write(tmp_path / "u.csv", "a,on\n1,True\n2,7\n"))


def test_a_line_of_text_before_the_table_is_named_with_its_option(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "Device;X\nSerial;12;A\n" + text(delimiter=";", decimal=","))
    with pytest.raises(DataError, match="--skip-lines"):
        read(path)
    np.testing.assert_array_equal(read(path, table=TableOptions(skip_lines=2)).x, ROWS.astype(np.float32))


def test_a_row_after_the_header_is_never_taken_for_units(tmp_path: Path) -> None:
    for first in ("1,5;2,5", "NA;NA", "-;-"):
        assert len(read(write(tmp_path / "t.csv", f"a;b\n{first}\n2,5;3,5\n4,5;7,5\n"))) == 3
    with pytest.raises(DataError, match="2024-01-01"):
        read(write(tmp_path / "t.csv", "a;b\n2024-01-01;5\n2,5;3,5\n4,5;7,5\n"))


def test_a_models_columns_are_found_by_name_and_the_others_are_named(tmp_path: Path) -> None:
    turned = text(ROWS[:, ::-1], head="vib,pressure,temp").splitlines()
    turned = [f"{'Unnamed: 0,' if i == 0 else f'{4999 + i},'}{line},x" for i, line in enumerate(turned)]
    path = write(tmp_path / "t.csv", "\n".join(turned).replace("temp,x", "temp,site"))
    table = read(path, features=NAMES)
    np.testing.assert_array_equal(table.x, ROWS.astype(np.float32))
    assert table.report is not None
    assert table.report.left_out == (("Unnamed: 0", "no feature of the model"), ("site", "no feature of the model"))
    with pytest.raises(DataError, match=r"'flow', 'load': the model takes 3 columns; the rows have 5: Unnamed: 0, vib"):
        read(path, features=("temp", "flow", "load"))


def test_without_a_header_a_model_takes_as_many_columns_as_it_has_features(tmp_path: Path) -> None:
    bare = "\n".join(text().splitlines()[1:])
    table = read(write(tmp_path / "t.csv", bare), features=NAMES)
    assert table.names == NAMES
    assert table.report is not None
    assert "without a header the columns are taken in the order of the model's features" in table.report.notes
    numbered = "\n".join(f"{i}.5,{line}" for i, line in enumerate(bare.splitlines()))
    with pytest.raises(
        DataError, match=r"no header: the model takes 3 columns \(temp, pressure, vib\); the rows have 4"
    ):
        read(write(tmp_path / "u.csv", numbered), features=NAMES)


def test_an_offset_is_subtracted_in_float64_and_its_name_says_so(tmp_path: Path) -> None:
    r = np.random.default_rng(1).normal(size=400)
    lines = [f"{1.7e9 + 5 * v:.4f},{v:.6f}" for v in r]
    path = write(tmp_path / "t.csv", "\n".join(["t,v", *lines]))
    as_it_is = read(path)
    assert as_it_is.x.dtype == np.float64  # float32 would leave one value
    assert len(np.unique(as_it_is.x[:, 0])) > 390
    lessened = read(path, table=TableOptions(subtract={"t": 1.7e9}))
    assert (lessened.x.dtype, lessened.names) == (np.float32, ("t (minus 1700000000.0)", "v"))
    assert len(np.unique(lessened.x[:, 0])) > 390
    # A bundle that was made so reads tomorrow's table by itself, under any name of the column.
    np.testing.assert_array_equal(read(path, features=lessened.names).x, lessened.x)
    renamed = write(tmp_path / "u.csv", path.read_text().replace("t,v", "clock,v"))
    np.testing.assert_array_equal(read(renamed, features=lessened.names, columns=["clock", "v"]).x, lessened.x)
    with pytest.raises(DataError, match=r"--subtract names z, which is no column that is taken"):
        read(path, table=TableOptions(subtract={"z": 1.0}))


def test_whole_numbers_above_two_to_the_24_are_kept_apart(tmp_path: Path) -> None:
    table = read(write(tmp_path / "t.csv", "n\n" + "\n".join(str((1 << 24) + (i * 7) % 100) for i in range(100))))
    assert len(np.unique(table.x)) == 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"decimal": ";"}, "valid are"),
        ({"delimiter": "xx"}, "one character"),
        ({"delimiter": ",", "decimal": ","}, "both"),
        ({"skip_lines": -1}, "starts at 0"),
        ({"subtract": {"a": float("nan")}}, "pass a finite number"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        TableOptions(**options)


def test_options_of_tables_are_refused_for_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(DataError, match="options of a table"):
        read(tmp_path / "a.npy", table=TableOptions(drop=("a",)))


def test_json_lines_are_a_table(tmp_path: Path) -> None:
    objects = [dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]
    table = read(write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, objects))))
    assert table.names == NAMES
    np.testing.assert_array_equal(table.x, ROWS.astype(np.float32))
    bare = read(write(tmp_path / "u.jsonl", "\n".join(map(json.dumps, ROWS.tolist()))), features=NAMES)
    np.testing.assert_array_equal(bare.x, table.x)
    for content, said in (
        ('{"a": 1}\n{"b": 1}\n', "line 2 lacks 'a'"),
        ('{"a": 1}\n[1]\n', "line 2 holds 1 value"),
        ('{"a": {"b": 1}}\n', r"column 'a' holds '\{\"b\": 1\}'"),
        ('{"a": "5"}\n', "column 'a' holds '5', which is no number"),
        ("5\n", "no object and no array"),
        ('{"a": 1, "a": 2}\n', "has the key 'a' twice"),
        ("[1\n", "no JSON"),
    ):
        with pytest.raises(DataError, match=said):
            read(write(tmp_path / "v.jsonl", content))
    left = read(write(tmp_path / "w.jsonl", '# by hand\n{"a": 1}\n\n#{"a": 2}\n')).report
    assert left is not None
    assert left.rows_left_out == (("2 lines", "they begin with #"), ("1 line", "they are empty"))


def test_parquet_of_pandas_and_arrow(tmp_path: Path) -> None:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = pandas.DataFrame(ROWS, columns=NAMES).set_index(pandas.date_range("2024", periods=20))
    frame.to_parquet(tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table.report is not None
    assert table.report.left_out == (("__index_level_0__", "the index of a pandas frame"),)
    np.testing.assert_array_equal(table.x, ROWS.astype(np.float32))
    frame.assign(
        n=pandas.array([1, None] * 10, dtype="Int64"), kind=pandas.Categorical(["a", "b"] * 10),
        at=pandas.Timestamp("2024"), pair=[[1, 2]] * 20,
    ).to_parquet(tmp_path / "m.parquet")  # fmt: skip
    with pytest.raises(DataError, match=r"column 'kind' is dictionary.*--drop-columns 'kind,at,pair'"):
        read(tmp_path / "m.parquet")
    mixed = read(tmp_path / "m.parquet", table=TableOptions(drop=("kind", "at", "pair")))
    assert np.isnan(mixed.x[:, 3]).sum() == 10
    exact = arrow.table({"a": [decimal.Decimal("1.50"), decimal.Decimal("2.25")], "b": [True, False]})
    parquet.write_table(exact, tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").x.tolist() == [[1.5, 1], [2.25, 0]]


def test_a_column_without_a_name_is_read_by_its_place_in_every_format(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [arrow.array(column) for column in ROWS.T.tolist()]
    parquet.write_table(arrow.table(columns, names=["a", "", "b"]), tmp_path / "t.parquet")
    write(tmp_path / "t.jsonl", "\n".join(json.dumps(dict(zip(("a", "", "b"), r, strict=True))) for r in ROWS.tolist()))
    write(tmp_path / "t.csv", "a,,b\n" + "\n".join(",".join(map(repr, row)) for row in ROWS.tolist()))
    for suffix in ("parquet", "jsonl", "csv"):
        table = read(tmp_path / f"t.{suffix}", features=("a", "Unnamed: 1", "b"))
        np.testing.assert_array_equal(table.x, ROWS.astype(np.float32))
    parquet.write_table(arrow.table(columns, names=["a", "b", "a"]), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="names a column twice: a"):
        read(tmp_path / "d.parquet")
    second = read(tmp_path / "d.parquet", table=TableOptions(drop=("a",)))
    np.testing.assert_array_equal(second.x, ROWS[:, 1:2].astype(np.float32))


def test_quoted_numbers_and_names_with_commas(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv_module.writer(file, quoting=csv_module.QUOTE_ALL)
        writer.writerows([["flow, in", "b"], [1.5, 2], [2.5, 4]])
    assert read(tmp_path / "t.csv").names == ("flow, in", "b")
    assert read(tmp_path / "t.csv", columns=["flow, in"]).x.tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize("header", ["400.5,412,431.25", "431.25,400.5,412", "id,400.5,412,431.25"])
def test_names_of_a_model_that_are_numbers_are_found(tmp_path: Path, header: str) -> None:
    features = ("400.5", "412", "431.25")
    names = header.split(",")
    table = {"id": [7.0, 9.0], "400.5": [1.0, 4.0], "412": [2.0, 5.0], "431.25": [3.0, 6.5]}
    lines = [",".join(str(table[name][i]) for name in names) for i in range(2)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines, ""]))
    found = read(tmp_path / "t.csv", features=features)
    assert found.x.tolist() == [[1, 2, 3], [4, 5, 6.5]]


@pytest.mark.parametrize("step", [1.9, -1.9])
def test_wavelengths_are_asked_about_and_rows_in_order_are_not(tmp_path: Path, step: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 12)).round(3)
    lengths = (400 + step * np.arange(12) + rng.uniform(0, 0.9, 12)).round(2)

    def write(*lines: np.ndarray) -> Path:
        np.savetxt(tmp_path / "t.csv", np.vstack(lines), "%s", delimiter=",")
        return tmp_path / "t.csv"

    said = "rises" if step > 0 else "falls"
    with pytest.raises(DataError, match=rf"{said} from cell to cell, as no other line does.*--header or --no-header"):
        read(write(lengths, rows))
    assert read(tmp_path / "t.csv", table=TableOptions(header=True)).x.shape == (20, 12)
    assert read(tmp_path / "t.csv", table=TableOptions(header=False)).x.shape == (21, 12)
    assert read(tmp_path / "t.csv", features=[str(length) for length in lengths]).x.shape == (20, 12)
    assert read(write(rows)).x.shape == (20, 12)
    sums = np.cumsum(np.abs(rows) + 0.001, axis=1)[:, :: int(np.sign(step))]
    assert read(write(sums)).x.shape == (20, 12)  # every row is in order
    assert read(write(lengths[:5], rows[:, :5])).x.shape == (21, 5)  # five may be so by chance
