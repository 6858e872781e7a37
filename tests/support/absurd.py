"""Values that no number, name, path or array is meant to be, for tests of what a call makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

ABSURD: dict[str, Any] = {
    "None": None,
    "text": "x",
    "empty text": "",
    "NUL": "a\0b",
    "nan": float("nan"),
    "inf": float("inf"),
    "float": 2.5,
    "list": [],
    "nested list": [[[]]],
    "dict": {},
    "object": object(),
    "True": True,
    "-1": -1,
    "0": 0,
    "10**30": 10**30,
    "10**400": 10**400,
    "bytes": b"x",
    "set": {1, 2},
    "function": len,
    "object array": np.array([None, "x"], dtype=object),
    "empty array": np.empty(0, np.float32),
    "number array": np.float32(3.0),
    "5e-324": 5e-324,
    "array without axes": np.array(None),
}
