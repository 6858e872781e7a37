"""VQ models that return their codes alone."""

from __future__ import annotations

from pathlib import Path

import hidden_halves as models
import numpy as np
import pytest
import torch
from adapting import adapt
from torch import nn

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load
from vae_edge_runtime.errors import AdaptError

ROWS = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(("model", "codebook"), [(models.IndicesAlone, None), (models.IndicesOfAParameter, 8)])
def test_codes_that_are_returned_alone_are_looked_up(
    model: type[nn.Module], codebook: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = model().eval()
    config = ExportConfig(allow_poor_fit=True, false_positive_rate=0.05)
    export(module, tmp_path / "q.vaeb", calibration=ROWS, codebook=codebook, config=config)
    with load(tmp_path / "q.vaeb", device="cpu") as vae, torch.no_grad():
        indices = vae.encode(ROWS[:5]).indices
        np.testing.assert_array_equal(indices, module.encode(torch.from_numpy(ROWS[:5])).numpy())
        np.testing.assert_allclose(
            vae.decode(indices), module(torch.from_numpy(ROWS[:5])).numpy(), rtol=1e-4, atol=1e-6
        )
        assert vae.manifest.latent.codebook == 8


def test_a_codebook_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(
        AdaptError, match=r"encode gives whole numbers alone, and the model has 0 embeddings: .*codebook="
    ):
        adapt(models.IndicesOfAParameter().eval(), torch.from_numpy(ROWS[:4]))
    with pytest.raises(AdaptError, match="0 tables of 9 codes"):
        adapt(models.IndicesOfAParameter().eval(), torch.from_numpy(ROWS[:4]), codebook=9)
