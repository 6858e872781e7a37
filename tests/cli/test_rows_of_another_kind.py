"""Rows that do not fit a model are refused with both sizes, and with what would make them fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import Cli, World

CORPUS = Path(__file__).parents[1] / "corpus"
PICTURE, TABLE = CORPUS / "v1-picture.vaeb", CORPUS / "v1-table.vaeb"


@pytest.mark.parametrize("shape", [(5, 3, 12, 12), (12, 12, 3), (5, 432), (5, 1, 12, 12, 3)])
def test_pictures_of_other_axes_are_told_the_call_that_makes_them_fit(
    cli: Cli, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    x = np.zeros(shape, np.uint8)
    np.save(tmp_path / "r.npy", x)
    refused = cli("score", PICTURE, tmp_path / "r.npy")
    assert (refused.code, refused.out) == (2, "")
    assert f"r.npy has shape {shape}, the model takes (n, 12, 12, 3): in NumPy, x" in refused.err
    call = refused.err.rpartition("in NumPy, ")[2].split(" fits")[0].split(" is that")[0]
    np.save(tmp_path / "r.npy", eval(call, {"x": x}))
    assert cli("score", PICTURE, tmp_path / "r.npy").code == 0


@pytest.mark.parametrize("width", [1, 5, 7])
def test_another_number_of_columns_is_said_with_both_numbers(cli: Cli, tmp_path: Path, width: int) -> None:
    np.save(tmp_path / "r.npy", np.zeros((5, width), np.float32))
    said = f"the model takes 6 columns; the rows have {width}. Its columns are a, b, c, d, e, f"
    assert said in cli("score", TABLE, tmp_path / "r.npy").err


def test_a_table_without_a_column_names_it(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("a,b,c,d,e\n1,2,3,4,5.5\n2,3,1,1,1\n")
    said = "lacks the column 'f': the model takes 6 columns; the rows have 5: a, b, c, d, e"
    for command in ("score", "watch"):
        assert said in cli(command, TABLE, table).err


def test_a_table_for_a_model_of_pictures_and_pictures_for_one_of_tables(cli: Cli, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    pillow.fromarray(np.zeros((12, 12, 3), np.uint8)).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "r.csv").write_text("a,b\n1,2.5\n2,2\n")
    for command in ("score", "watch"):
        table = cli(command, PICTURE, tmp_path / "r.csv")
        assert "r.csv is a table; the model takes pictures of 12x12 pixels" in table.err
        assert "colour, (n, 12, 12, 3) uint8: name a folder of pictures" in table.err
        pictures = cli(command, TABLE, tmp_path / "pictures")
        assert "pictures holds pictures; the model takes rows of 6 columns: a, b, c, d, e, f, (n, 6)" in pictures.err
        assert (table.code, pictures.code) == (2, 2)


def test_a_run_names_its_own_rows_before_anything_of_the_model_fails(cli: Cli, world: World, tmp_path: Path) -> None:
    np.save(tmp_path / "four.npy", world.rows[:, :4])
    np.save(tmp_path / "pictures.npy", np.zeros((200, 8, 8, 1), np.uint8))
    for command in (("export", "-o", tmp_path / "m.vaeb"), ("inspect",)):
        few = cli(command[0], world.folder / "run", "--calibration", tmp_path / "four.npy", *command[1:])
        assert (few.code, "the model takes 5 columns; the rows have 4" in few.err) == (2, True)
        other = cli(command[0], world.folder / "run", "--calibration", tmp_path / "pictures.npy", *command[1:])
        assert "has shape (200, 8, 8, 1), the model takes (n, 5)" in other.err


def test_a_row_that_was_taken_as_names_is_said_where_no_header_helps(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text("1,2,3,4,5,site-7\n2,3,1,1,1,site-8\n")
    said = "Its first line was taken as names: if it is a row, say --no-header"
    for command in ("score", "watch"):
        assert said in cli(command, TABLE, table).err
    table.write_text("a,b,2021\n1,2,3\n2,1,0.5\n3,1,0.2\n")
    refused = cli("train", "mlp", "--data", table, "--columns", "a,q", "-o", tmp_path / "run")
    assert said in refused.err
    table.write_text("a,b,c\n1,2,3\n2,1,0.5\n3,1,0.2\n")
    assert said not in cli("train", "mlp", "--data", table, "--columns", "a,q", "-o", tmp_path / "run").err
