from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_edge_runtime import InputError
from vae_edge_runtime.format.specs import ConditionSpec
from vae_edge_runtime.scoring.inputs import check_condition

LABEL = ConditionSpec((), "int64", 0.0, 4.0)
VECTOR = ConditionSpec((2,), "float32", -1.0, 1.0)


def test_no_condition_for_a_model_that_takes_none() -> None:
    assert check_condition(None, None, 3) == {}
    with pytest.raises(InputError, match="takes no condition"):
        check_condition(np.zeros(3, np.int64), None, 3)


@pytest.mark.parametrize(
    ("spec", "condition", "wanted"),
    [
        (LABEL, 3, [3, 3, 3]),
        (LABEL, np.int64(4), [4, 4, 4]),
        (LABEL, np.array([0, 1, 2]), [0, 1, 2]),
        (VECTOR, np.array([0.5, -7], np.float32), [[0.5, -7]] * 3),
        (VECTOR, np.ones((3, 2), np.float32), [[1, 1]] * 3),
    ],
)
def test_one_for_all_rows_or_one_each(spec: ConditionSpec, condition: Any, wanted: Any) -> None:
    assert check_condition(condition, spec, 3)["condition"].tolist() == wanted


@pytest.mark.parametrize(
    ("spec", "condition", "said"),
    [
        (LABEL, None, "pass condition=, a label"),
        (VECTOR, None, r"float32 \(n, 2\)"),
        (LABEL, 5, "labels 0 to 4"),
        (LABEL, -1, "labels 0 to 4"),
        (LABEL, np.array([0, 1]), "2 rows for 3 rows"),
        (LABEL, np.zeros(3, np.int32), "int32, the model takes int64"),
        (LABEL, True, "bool"),
        (VECTOR, np.full((3, 2), np.nan, np.float32), "NaN"),
        (VECTOR, np.ones((3, 3), np.float32), "shape"),
        (VECTOR, [[1.0, 2.0]], "list"),
    ],
)
def test_what_does_not_fit_is_refused(spec: ConditionSpec, condition: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_condition(condition, spec, 3)
