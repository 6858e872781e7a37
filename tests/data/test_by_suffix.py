from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_edge.data import TableOptions, read
from vae_edge_runtime import DataError

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for i, name in enumerate(("z.png", "b/a.png")):
        image.fromarray(np.full((4, 6), 10 * i, np.uint8)).save(folder / name)
    return folder


def test_grey_images_become_sorted_uint8_nhwc(pictures: Path) -> None:
    found = read(pictures)
    assert (found.x.dtype, found.x.shape, found.layout) == (np.uint8, (2, 4, 6, 1), "nhwc")
    assert found.row_ids == ("b/a.png", "z.png")
    assert found.x[:, 0, 0, 0].tolist() == [10, 0]


def test_one_colour_image_makes_all_colour(pictures: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((4, 6, 3), (1, 2, 3), np.uint8)).save(pictures / "c.png")
    found = read(pictures)
    assert found.x.shape == (3, 4, 6, 3)
    assert found.x[1, 0, 0].tolist() == [1, 2, 3]


def test_images_of_two_sizes_are_refused_unless_resizing_is_asked_for(pictures: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((5, 6), np.uint8)).save(pictures / "odd.png")
    with pytest.raises(DataError, match=r"6x4.*odd\.png is 6x5"):
        read(pictures)
    assert read(pictures, image_shape=(2, 3)).x.shape == (3, 2, 3, 1)


def test_damaged_images_and_empty_folders_are_named(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        read(tmp_path / "empty")
    (pictures / "bad.png").write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match=r"bad\.png"):
        read(pictures)


def test_sixteen_bit_images_are_refused_not_cut_to_eight(pictures: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((4, 6), 60_000, np.uint16)).save(pictures / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits"):
        read(pictures)


def test_npy_is_mapped_and_float64_is_rounded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    np.save(tmp_path / "d.npy", TABLE.astype(np.float64))
    assert isinstance(read(tmp_path / "a.npy").x, np.memmap)
    found = read(tmp_path / "d.npy")
    assert (found.x.dtype, found.layout, found.row_ids) == (np.float32, "features", ("0", "1", "2", "3"))
    np.testing.assert_array_equal(found.x, TABLE)


def test_npz_takes_x_and_labels_in_y(tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", X=TABLE, y=[0, 1, 0, 1])
    found = read(tmp_path / "l.npz")
    assert found.labels is not None
    assert found.labels.tolist() == [False, True, False, True]
    np.savez(tmp_path / "two.npz", a=TABLE, b=TABLE)
    with pytest.raises(DataError, match=r"a, b.*name the rows 'x'"):
        read(tmp_path / "two.npz")


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    for name in ("o.npy", "cut.npy", "no.npz"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_any_byte_flipped_is_refused_or_gives_the_same_rows(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    save(path, x=x)
    whole = path.read_bytes()
    refused = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            found = read(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.x, x)
    assert refused > len(whole) // 2
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.npz"):
            read(path)


def test_a_flipped_npy_header_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, TABLE)
    whole = path.read_bytes()
    for i in range(128):
        for flip in (0x01, 0x08, 0xFF):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
            with contextlib.suppress(DataError):
                assert read(path).x.ndim >= 2


def test_files_named_as_another_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    np.savez(tmp_path / "b.npz", x=TABLE)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    for name in ("a.npz", "b.npy"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_what_float32_cannot_hold_becomes_infinity(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1e300, 1.0]]))
    for path in (tmp_path / "a.npy", csv(tmp_path / "a.csv", "a,b\n1e300,1\n")):
        np.testing.assert_array_equal(read(path).x, [[np.inf, 1.0]])


@pytest.mark.parametrize("dtype", ["int64", "complex64", "bool", "float16"])
def test_other_dtypes_are_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", TABLE.astype(dtype))
    with pytest.raises(DataError, match=dtype):
        read(tmp_path / "a.npy")


def test_csv_with_and_without_a_header(tmp_path: Path) -> None:
    named = read(csv(tmp_path / "n.csv", "a,b,c\n0,1,2\n3,4,5\n"))
    bare = read(csv(tmp_path / "b.csv", "0,1,2\n3,4,5\n\n"), table=TableOptions(header=False))
    assert named.names == ("a", "b", "c")
    assert bare.names == ("column0", "column1", "column2")
    np.testing.assert_array_equal(named.x, TABLE[:2])
    np.testing.assert_array_equal(bare.x, TABLE[:2])


def test_csv_columns_labels_and_empty_cells(tmp_path: Path) -> None:
    path = csv(tmp_path / "t.csv", "time,a,b,bad\n2020-01-01,1,,0\n2020-01-02,2,5,1\n")
    found = read(path, columns=["b", "a"], label_column="bad")
    assert found.names == ("b", "a")
    np.testing.assert_array_equal(found.x, [[np.nan, 1], [5, 2]])
    assert found.labels is not None
    assert found.labels.tolist() == [False, True]
    with pytest.raises(DataError, match=r"'time' holds '2020-01-01'.*time, a, b, bad"):
        read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cell"),
        ("a,a\n1,2\n", "twice"),
        ("a,b\n1,1_000\n", "'1_000', which is no number"),
        ("a,b\n\n1,2\n\n3\n", "line 5 has 1 cell"),
        ("a,b\n1,x\n", "line 2, column 'b' holds 'x'"),
    ],
)
def test_csv_that_is_no_table_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(csv(tmp_path / "t.csv", text))


def test_parquet_equals_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    table = pyarrow.table({"a": [0, 3], "b": [1.0, 4.0], "word": ["x", "y"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    np.testing.assert_array_equal(read(tmp_path / "t.parquet", columns=["a", "b"]).x, [[0, 1], [3, 4]])
    with pytest.raises(DataError, match="'word' is string"):
        read(tmp_path / "t.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"no\.parquet"):
        read(tmp_path / "no.parquet")


def test_windows_overlap_and_say_which_rows_they_hold(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    found = read(tmp_path / "a.npy", window=2, stride=2)
    assert (found.x.shape, found.layout, found.row_ids) == ((2, 2, 3), "time_features", ("0..1", "2..3"))
    np.testing.assert_array_equal(found.x[1], TABLE[2:4])
    assert len(read(tmp_path / "a.npy", window=2)) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 5}, "does not fit"),
        ({"window": 0}, "at least 1"),
        ({"stride": 2}, "give a window"),
        ({"columns": ["a"]}, "for CSV and Parquet"),
        ({"image_shape": (2, 2)}, "for folders of images"),
        ({"label_column": "y"}, "for .npz, CSV and Parquet"),
    ],
)
def test_options_that_do_not_fit_the_file_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    np.save(tmp_path / "a.npy", TABLE)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.npy", **options)


def test_what_is_absent_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.npy")
    with pytest.raises(DataError, match=r"ends with none of \.npy"):
        read(csv(tmp_path / "t.txt", "1"))
