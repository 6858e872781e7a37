from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_edge.evaluation.labels import classes_of_folders, of_windows, read_values, to_labels
from vae_edge_runtime import DataError


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_a_named_column_has_a_header_even_of_digits(tmp_path: Path) -> None:
    path = text(tmp_path / "a.csv", "0,kind\n1,crack\n0, ok \n")
    assert read_values(path, "kind").tolist() == ["crack", "ok"]
    assert read_values(path, "0").tolist() == ["1", "0"]


def test_one_column_needs_no_name_and_no_header(tmp_path: Path) -> None:
    assert read_values(text(tmp_path / "a.csv", "1\n0\n\n"), None).tolist() == ["1", "0"]
    assert read_values(text(tmp_path / "b.csv", "bad\n1\n0\n"), None).tolist() == ["1", "0"]


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        ("", None, "is empty"),
        ("a,b\n1,2\n", None, "holds several: name one of a, b"),
        ("a,b\n1,2\n", "c", "has no 'c'"),
        ("a,b\n1\n", "a", "different lengths"),
        ('a\n"1\n', "a", "cannot be read as CSV"),
    ],
)
def test_a_table_that_does_not_hold_one_column_of_labels_is_refused(
    tmp_path: Path, content: str, name: str | None, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read_values(text(tmp_path / "a.csv", content), name)


def test_pickles_damaged_arrays_and_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "pickled.npz", y=np.array([{}]))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "pickled.npz").read_bytes()[:60])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "pickled.npy").read_bytes()[:20])
    for name in ("pickled.npy", "pickled.npz", "cut.npz", "cut.npy"):
        with pytest.raises(DataError, match="cannot be read as a numpy file"):
            read_values(tmp_path / name, None)
    with pytest.raises(DataError, match="ends with none of"):
        read_values(text(tmp_path / "labels.txt", "1"), None)


def test_an_npy_has_no_keys(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", [0, 1])
    with pytest.raises(DataError, match="one array without a name"):
        read_values(tmp_path / "y.npy", "y")


def test_labels_are_zeros_and_ones_as_numbers_or_text() -> None:
    assert to_labels(np.array(["0", "1.0"]), 2, "f").tolist() == [False, True]
    assert to_labels(np.array([0.0, 1.0]), 2, "f").tolist() == [False, True]
    for values in (np.array(["ok", "bad"]), np.array([0, 2]), np.array([0]), np.array([0, np.nan])):
        with pytest.raises(DataError, match="f"):
            to_labels(values, 2, "f")


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 30))
def test_the_label_of_a_window_is_that_of_its_last_row(window: int, stride: int, extra: int) -> None:
    rows = np.arange(window + extra)
    ends = [start + window - 1 for start in range(0, len(rows) - window + 1, stride)]
    found = of_windows(rows, len(ends), window, stride, "f")
    assert found.tolist() == (ends if len(ends) < len(rows) else rows.tolist())
    np.testing.assert_array_equal(of_windows(np.arange(len(ends)), len(ends), window, stride, "f"), range(len(ends)))


def test_labels_that_fit_neither_rows_nor_windows_are_refused() -> None:
    for n in (3, 9, 11):
        with pytest.raises(DataError, match=f"{n} values for 6 windows of 5 rows"):
            of_windows(np.zeros(n), 6, 5, 1, "f")


def test_classes_are_the_first_folder_of_each_image() -> None:
    assert classes_of_folders(("good/1.png", "hole/a/2.png"), "good").tolist() == ["good", "hole"]
    with pytest.raises(DataError, match=r"2\.png lies in no sub-folder"):
        classes_of_folders(("good/1.png", "2.png"), "good")
