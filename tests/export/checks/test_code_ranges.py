"""Codes that a model looks something up by: the range is PyTorch's own, and a row outside has a status, no error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from strangers import Plain
from torch import Tensor, nn

from vae_edge_export import ExportConfig, export
from vae_edge_export.adapters import recipe_for
from vae_edge_export.checks.code_ranges import code_ranges
from vae_edge_export.graphs.build import build_graphs
from vae_edge_export.rows import split_rows
from vae_edge_runtime import Status, load
from vae_edge_runtime.format.specs import CodeRange

RNG = np.random.default_rng(0)
MIXED = np.concatenate([RNG.normal(size=(150, 4)), RNG.integers(0, 5, (150, 2))], 1).astype(np.float32)
TOKENS = RNG.integers(0, 30, (150, 6)).astype(np.uint8)
GRID = RNG.integers(0, 8, (150, 1, 3, 2)).astype(np.uint8)


class Looks(Plain):
    """A table with one or two columns of codes, looked up in one of several ways."""

    def __init__(self, look_up: Callable[[Any, Tensor], Tensor], features: int = 6, width: int = 16) -> None:
        super().__init__(features)
        self.look_up = look_up
        self.emb, self.other = nn.Embedding(7, 2), nn.Embedding(12, 2)
        self.tokens = nn.Embedding(40, 2)
        self.register_buffer("table", torch.arange(18.0).view(9, 2))
        self.inner = nn.Linear(width, 16)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.inner(self.look_up(self, x)))
        return self.fc_mu(h), self.fc_var(h)


def both(first: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    return lambda m, x: torch.cat([x[:, :4], first(m, x), m.other(x[:, 5].long()), x, x[:, :2]], 1)


WAYS: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[CodeRange, ...]]] = {
    "embeddings": (both(lambda m, x: m.emb(x[:, 4].long())), (CodeRange(4, 0, 6), CodeRange(5, 0, 11))),
    "one hot": (
        both(lambda m, x: nn.functional.one_hot(x[:, 4].long(), 6)[:, :2].to(x.dtype)),
        (CodeRange(4, 0, 5), CodeRange(5, 0, 11)),
    ),
    "indexed, counted from the end too": (
        both(lambda m, x: m.table[x[:, 4].long()].to(x.dtype)),
        (CodeRange(4, -9, 8), CodeRange(5, 0, 11)),
    ),
    "counted from 1": (
        both(lambda m, x: torch.index_select(m.table, 0, x[:, 4].long() + 2).to(x.dtype)),
        (CodeRange(4, -2, 6), CodeRange(5, 0, 11)),
    ),
    "clamped": (both(lambda m, x: m.emb(x[:, 4].long().clamp(0, 6))), (CodeRange(5, 0, 11),)),
    "not looked up": (lambda m, x: torch.cat([x, x, x[:, :4]], 1), ()),
}


def measured(model: nn.Module, x: np.ndarray, **options: Any) -> tuple[CodeRange, ...]:
    config = ExportConfig(**options)
    rows = split_rows(x, None, None, config)
    return code_ranges(
        build_graphs(recipe_for(model), rows, config, example=None, scale_form=None, codebook=None), rows
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_range_is_the_one_that_pytorch_takes(way: str) -> None:
    look_up, ranges = WAYS[way]
    assert measured(Looks(look_up).eval(), MIXED) == ranges


def test_tokens_have_one_range_for_all() -> None:
    text = Looks(lambda m, x: m.tokens(x.long()).flatten(1)[:, :12], width=12).eval()
    assert measured(text, TOKENS) == (CodeRange(None, 0, 39),)


def test_pictures_of_codes_have_one_range_for_all() -> None:
    picture = Looks(lambda m, x: m.emb(x.long()).flatten(1), width=12).eval()
    picture.outer = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (1, 3, 2)))
    rows = np.minimum(GRID, 6)
    assert measured(picture, rows, layout="nchw") == (CodeRange(None, 0, 6),)


def test_an_unseen_code_gets_a_status_and_changes_no_other_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Looks(WAYS["embeddings"][0]).eval()
    report = export(model, tmp_path / "m.vaeb", calibration=MIXED, config=ExportConfig(allow_poor_fit=True))
    assert any("looks up codes, others get a status: column 4 0 to 6; column 5 0 to 11" in e for e in report.evidence)
    with load(tmp_path / "m.vaeb", device="cpu") as vae:
        good = vae.score(MIXED[:5]).score
        x = MIXED[:5].copy()
        x[1, 4], x[3, 5] = 7, -1
        scores = vae.score(x)
        assert scores.status.tolist() == [0, Status.UNKNOWN_CODE, 0, Status.UNKNOWN_CODE, 0]
        np.testing.assert_array_equal(scores.score[[0, 2, 4]], good[[0, 2, 4]])
        assert np.isnan(scores.score[[1, 3]]).all()
        assert np.isnan(vae.encode(x).mean[1]).all()
        assert not scores.is_anomaly[[1, 3]].any()
        x[1, 4] = 6  # never seen at calibration, and the model has an entry for it
        assert vae.score(x).status.tolist() == [0, 0, 0, Status.UNKNOWN_CODE, 0]
