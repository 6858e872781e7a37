"""Rows in the forms people have them: frames, tensors, loaders, float64."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_edge_export import ExportConfig
from vae_edge_export.doors import constant_said, raw_rows, refuse_constant, taken_in
from vae_edge_runtime.errors import InputError

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def take(rows: Any, **options: Any) -> Any:
    return raw_rows(rows, **({"layout": "features", "what": "calibration"} | options))


def test_a_tensor_and_a_loader_give_the_rows_of_the_array() -> None:
    np.testing.assert_array_equal(take(torch.from_numpy(X).requires_grad_()).x, X)
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(20))
    loaded = take(torch.utils.data.DataLoader(pairs, batch_size=7))
    np.testing.assert_array_equal(loaded.x, X)
    assert loaded.notes == ("calibration: of each batch the first of 2 parts was taken",)
    np.testing.assert_array_equal(take(X[i : i + 6] for i in range(0, 20, 6)).x, X)


def test_a_frame_gives_its_names_and_the_model_finds_its_columns_by_them() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"], index=range(50, 70))
    x, config, _ = taken_in(frame, ExportConfig(), "calibration")
    assert (config.names, config.layout) == (("a", "b", "c"), "features")
    np.testing.assert_array_equal(x, X)
    turned = frame[["c", "a", "b"]].assign(site="Berlin")
    again = take(turned, names=("a", "b", "c"))
    np.testing.assert_array_equal(again.x, X)
    assert again.notes[0] == "calibration: left out the columns site"
    with pytest.raises(InputError, match="column 'site' holds 'Berlin', which is no number"):
        take(turned)
    with pytest.raises(InputError, match="lacks the columns z; it has a, b, c"):
        take(frame, names=("a", "z"))
    with pytest.raises(InputError, match="column 't' is datetime64"):
        take(frame.assign(t=pandas.Timestamp("2024")))
    nullable = frame.assign(n=pandas.array([1, None] * 10, dtype="Int64"))
    assert np.isnan(take(nullable).x[:, 3]).sum() == 10


def test_a_frame_of_another_library_is_known_by_what_it_can_do() -> None:
    @dataclasses.dataclass
    class Frame:
        data: dict[str, np.ndarray]
        dtypes: tuple[str, ...] = ()

        @property
        def columns(self) -> list[str]:
            return list(self.data)

        def __getitem__(self, name: str) -> np.ndarray:
            return self.data[name]

        def to_numpy(self) -> np.ndarray:
            raise AssertionError("columns are taken one by one")

    rows = take(Frame({"a": X[:, 0], "b": X[:, 1]}))
    assert rows.names == ("a", "b")
    np.testing.assert_array_equal(rows.x, X[:, :2])


def test_float64_is_rounded_with_a_note_unless_a_column_would_be_lost() -> None:
    rows = take(X.astype(np.float64))
    np.testing.assert_array_equal(rows.x, X)
    assert (rows.x.dtype, rows.notes) == (np.float32, ("calibration: float64 was rounded to float32",))
    large = X + np.array([0, 1.7e9, 0])
    with pytest.raises(InputError, match=r"column 1: float32 keeps 1 different values of 20 rows.*x\[\.\.\., 1\] - "):
        take(large)
    with pytest.raises(InputError, match="column 1"):
        take(large.astype(np.float32))  # it was lost before it came here


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (({"x": X} for _ in range(2)), "a dictionary with x"),
        (iter(()), "no batch"),
        ((X[:, :i] for i in (2, 3)), "batches differ"),
        ((5 for _ in range(2)), "holds a int"),
        (torch.zeros(4, 3, dtype=torch.bfloat16), "float32, float64 or uint8"),
    ],
)
def test_batches_that_are_no_rows_are_refused(rows: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        take(rows)


def test_a_constant_column_is_refused_in_training_and_said_in_export() -> None:
    flat = X.copy()
    flat[:, 1] = 3
    with pytest.raises(InputError, match=r"one value only in b.*--drop-columns 'b'"):
        refuse_constant(flat, "features", ("a", "b", "c"))
    assert constant_said(flat, ExportConfig(layout="features", names=("a", "b", "c")))[0].startswith(
        "the calibration rows have one value only in b:"
    )
    assert constant_said(X, ExportConfig(layout="features")) == ()
    refuse_constant(np.zeros((4, 3, 8, 8), np.uint8), "nchw", ())  # pictures have no columns


def test_an_export_takes_a_frame_in_float64(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from vae_edge.models import ModelConfig, build
    from vae_edge_export import export
    from vae_edge_runtime import Bundle

    model = build(ModelConfig(kind="mlp", input_shape=(3,), latent_dim=2, width=8, depth=1))
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(150, 3)), columns=["a", "b", "c"])
    report = export(model, tmp_path / "f.vaeb", calibration=frame)
    assert "calibration: float64 was rounded to float32" in report.evidence
    with Bundle.open(tmp_path / "f.vaeb") as bundle:
        assert bundle.manifest.input.names == ("a", "b", "c")
