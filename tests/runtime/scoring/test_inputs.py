from __future__ import annotations

import numpy as np
import pytest

from vae_edge_runtime import InputError, Status
from vae_edge_runtime.format.specs import CodeRange, InputSpec
from vae_edge_runtime.scoring.inputs import as_float32, check_rows, finite_rows, replace_bad_rows

GOOD = np.arange(12, dtype=np.float32).reshape(3, 4)


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (GOOD.tolist(), "a list"),
        (None, "a NoneType"),
        (np.ma.masked_array(GOOD), "masked"),
        (GOOD.astype(">f4"), "byte order"),
        (GOOD.astype(np.float64), "float64"),
        (GOOD.astype(np.float16), "float16"),
        (GOOD.astype(np.int64), "int64"),
        (GOOD > 0, "bool"),
        (GOOD.astype(complex), "complex128"),
        (GOOD.astype(object), "object"),
        (GOOD[0], r"in NumPy, x\[None\] is that one row"),
        (GOOD[:, :3], r"\(3, 3\)"),
        (GOOD[None], r"\(1, 3, 4\)"),
        (np.array(1, np.float32), r"\(\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(x: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_rows(x, shape=(4,), dtype="float32")


@pytest.mark.parametrize(
    "x",
    [
        GOOD,
        np.asfortranarray(GOOD),
        np.ascontiguousarray(np.hstack([GOOD, GOOD]))[:, :4],
        GOOD[::-1][::-1],
        GOOD.view(Subclass),
        np.ascontiguousarray(GOOD[:, ::-1])[:, ::-1],
        GOOD[:0],
    ],
    ids=["plain", "fortran", "sliced", "flipped", "subclass", "negative-stride", "empty"],
)
def test_layouts_in_memory_give_the_same_rows_and_are_not_written_to(x: np.ndarray) -> None:
    x.flags.writeable = False
    rows = check_rows(x, shape=(4,), dtype="float32")
    assert type(rows) is np.ndarray
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, GOOD[: len(x)])


def test_memmap_is_read_in_place(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "x.npy", GOOD)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(check_rows(mapped, shape=(4,), dtype="float32"), mapped)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_rows_are_zeroed_in_a_copy_and_marked(bad: float) -> None:
    x = GOOD.copy()
    x[1, 2] = bad
    before = x.copy()
    rows, status = replace_bad_rows(x)
    assert status.tolist() == [Status.OK, Status.NON_FINITE_INPUT, Status.OK]
    assert rows[1].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(rows[[0, 2]], GOOD[[0, 2]])
    np.testing.assert_array_equal(x, before)


def test_extreme_finite_values_are_finite() -> None:
    big = np.finfo(np.float32).max
    x = np.array([[big, big], [-big, big], [1e-45, -0.0], [big, np.inf]], dtype=np.float32)
    assert finite_rows(x).tolist() == [True, True, True, False]


def test_integers_are_finite_and_not_copied() -> None:
    x = np.zeros((2, 3), np.uint8)
    rows, status = replace_bad_rows(x)
    assert rows is x
    assert status.tolist() == [0, 0]


CODES = (CodeRange(1, 1, 4), CodeRange(3, -2, 9))


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ([7.5, 1, -8, -2], Status.OK),
        ([7.5, 4, -8, 9], Status.OK),
        ([0, 0, 0, 0], Status.UNKNOWN_CODE),
        ([0, 5, 0, 0], Status.UNKNOWN_CODE),
        ([0, 1, 0, 9.5], Status.UNKNOWN_CODE),
        ([0, 1, 0, -3], Status.UNKNOWN_CODE),
        ([0, 200, np.nan, 0], Status.NON_FINITE_INPUT),
        ([0, np.nan, 0, 0], Status.NON_FINITE_INPUT),
        ([np.inf, 2, 0, 0], Status.NON_FINITE_INPUT),
    ],
)
def test_a_code_without_an_entry_marks_its_row_alone(row: list[float], status: Status) -> None:
    good = np.array([[0, 2, 0, 3], [1, 4, 1, 9]], np.float32)
    x = np.insert(good, 1, np.array(row, np.float32), axis=0)
    before = x.copy()
    rows, marks = replace_bad_rows(x, CODES)
    assert marks.tolist() == [Status.OK, status, Status.OK]
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(rows[[0, 2]], good)
    # What runs in its place is a row that every engine has an answer for.
    assert rows[1].tolist() == (x[1].tolist() if status == Status.OK else [0, 1, 0, 0])


def test_codes_everywhere_are_compared_in_any_dtype_and_rank() -> None:
    tokens = np.random.default_rng(0).integers(0, 30, (6, 5, 4)).astype(np.uint8)
    everywhere = (CodeRange(None, 0, 29),)
    rows, status = replace_bad_rows(tokens, everywhere)
    assert rows is tokens
    assert not status.any()
    tokens[4, 2, 1] = 30
    assert replace_bad_rows(tokens, everywhere)[1].tolist() == [0, 0, 0, 0, Status.UNKNOWN_CODE, 0]
    assert replace_bad_rows(tokens[:0], everywhere)[1].tolist() == []


FEATURES = InputSpec((3,), "float32", "features", -5.0, 5.0, ())


def test_float64_is_rounded_for_a_model_of_float32() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    rows = as_float32(x, FEATURES)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, x.astype(np.float32))
    steady = np.full((50, 3), 1.0) + 1e-12 * x  # an idle machine: within the calibrated range nothing is refused
    np.testing.assert_array_equal(as_float32(steady, FEATURES), np.ones((50, 3), np.float32))
    assert not np.isfinite(as_float32(np.full((2, 3), 1e300), FEATURES)).any()  # a status, no error


@pytest.mark.parametrize("spec", [FEATURES, InputSpec((4, 3), "float32", "time_features", -5.0, 5.0, ())])
def test_float64_that_float32_would_lose_is_refused_with_the_number(spec: InputSpec) -> None:
    x = np.random.default_rng(0).normal(size=(50, *spec.shape))
    x[..., 1] += 1.7e9
    with pytest.raises(InputError, match=r"x\[\.\.\., 1\] - (1700000000|1699999999)"):
        as_float32(x, spec)


@pytest.mark.parametrize("x", [[1.0], GOOD, GOOD.astype(">f8"), np.ma.array(np.ones((2, 3))), None])
def test_anything_else_is_left_to_the_check(x: object) -> None:
    assert as_float32(x, FEATURES) is x


def test_a_model_of_bytes_takes_no_float64() -> None:
    x = np.ones((2, 4, 4, 1))
    assert as_float32(x, InputSpec((4, 4, 1), "uint8", "nhwc", 0.0, 255.0, ())) is x
