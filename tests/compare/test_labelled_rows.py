"""Rows and labels of files, for commands that can do without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_edge.cli._labelled import read_labelled
from vae_edge_runtime import DataError, InputError, OptionError
from vae_edge_runtime.format.specs import InputSpec

TABLE = InputSpec((2,), "float32", "features", 0.0, 1.0, ("a", "b"))
WINDOWS = InputSpec((3, 2), "float32", "time_features", 0.0, 1.0, ("a", "b"))
NOTHING: dict[str, Any] = {"window": None, "stride": None, "columns": None, "size": None}


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Ten rows of a, b and bad; rows 5 to 9 are bad."""
    lines = [f"{i},{i / 10},{int(i >= 5)}" for i in range(10)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,bad", *lines]) + "\n")
    return tmp_path / "rows.csv"


def test_without_a_file_there_are_no_rows() -> None:
    assert read_labelled(TABLE, None, None, None, **NOTHING) is None


def test_options_about_rows_need_rows() -> None:
    with pytest.raises(OptionError, match="--columns is about rows: pass --rows too"):
        read_labelled(TABLE, None, None, None, **{**NOTHING, "columns": "a,b"})


def test_a_label_column_of_the_same_table_is_no_feature(csv: Path) -> None:
    found = read_labelled(TABLE, csv, None, "bad", **NOTHING)
    assert found is not None
    rows, labels = found
    assert rows.x.shape == (10, 2)
    assert labels is not None
    assert labels.tolist() == [False] * 5 + [True] * 5


def test_a_table_without_a_named_column_has_no_labels(csv: Path) -> None:
    found = read_labelled(TABLE, csv, None, None, **NOTHING)
    assert found is not None
    assert found[1] is None


def test_a_window_has_the_label_of_its_last_row(csv: Path) -> None:
    found = read_labelled(WINDOWS, csv, None, "bad", **{**NOTHING, "stride": 2})
    assert found is not None
    rows, labels = found
    assert rows.x.shape == (4, 3, 2)
    assert labels is not None
    assert labels.tolist() == [False, False, True, True]  # windows end at rows 2, 4, 6 and 8


def test_labels_of_one_kind_or_another_number_are_refused(csv: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "same.npy", np.zeros(10))
    np.save(tmp_path / "short.npy", np.array([0, 1]))
    with pytest.raises(InputError, match=r"no anomalous \(1\) row"):
        read_labelled(TABLE, csv, tmp_path / "same.npy", None, **NOTHING)
    with pytest.raises(DataError, match="labels must be 10 values"):
        read_labelled(TABLE, csv, tmp_path / "short.npy", None, **NOTHING)
