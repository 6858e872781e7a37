"""A model that raises on rows as they are: whether it takes them prepared in one of the usual ways."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from vae_edge_runtime.errors import AdaptError

from ..adapters import Recipe
from ..halves.door import guarded, raised_by_the_model
from ..halves.model_copy import private_copy
from ..preparations import other_axes, what_runs
from ..rows import ExportRows, rows_of
from ..tracing.torch_state import kept_rng, slow_attention
from .modules import DataUnits

_ROWS = 64


def other_units(recipe: Recipe, error: AdaptError, rows: ExportRows, units: DataUnits) -> str:
    """In words, a preparation of the rows that the model does not raise on; empty where none helps.

    A model whose standard deviation underflows on 0 to 255 raises in its own ``Normal``, and says nothing of units.

    Args:
        error: why the model was not adapted.
    """
    half = recipe.forward if recipe.missing is not None else recipe.encode
    if half is None or not recipe.can_run or not raised_by_the_model(error):
        return ""
    feeds = rows_of(rows.calibration, slice(_ROWS))
    beside = [torch.from_numpy(np.array(x)) for name, x in feeds.items() if name != "x"]
    run = guarded(dataclasses.replace(recipe, encode=half)).encode
    with torch.no_grad(), kept_rng(), slow_attention():
        try:
            module = private_copy(recipe.module)
        except AdaptError:
            return ""
        try:
            run(module, units.to_model(torch.from_numpy(np.array(feeds["x"]))), *beside)
        except AdaptError:
            x, layout = feeds["x"], rows.row.layout
            return other_axes(x, layout, lambda x: run(module, x, *beside)) or what_runs(
                x, layout, lambda x: run(module, x, *beside)
            )
    return ""
