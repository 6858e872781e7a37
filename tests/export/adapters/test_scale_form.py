"""The form of a scale, under both of its names."""

import numpy as np
import pytest
from strangers import Plain

from vae_edge_export import export, inspect_model
from vae_edge_export.adapters.scale_form import TO_LOGVAR, declared_form
from vae_edge_runtime.errors import OptionError


@pytest.mark.parametrize("form", TO_LOGVAR)
def test_both_names_name_the_same_form(form):
    assert declared_form(form, None) == declared_form(None, form) == declared_form(form, form) == form


def test_nothing_said_stays_unsaid():
    assert declared_form(None, None) is None


@pytest.mark.parametrize(
    ("scale_form", "scale", "words"),
    [
        (None, 255.0, r"ExportConfig\(scale="),
        (None, (255.0,), r"ExportConfig\(scale="),
        (None, "sigma", "valid are logvar, log_std, std"),
        ("sigma", None, "valid are logvar, log_std, std"),
        ("logvar", "std", "give one value"),
    ],
)
def test_anything_else_is_refused_with_the_remedy(scale_form, scale, words):
    with pytest.raises(OptionError, match=words):
        declared_form(scale_form, scale)


def test_the_earlier_name_is_taken_by_export_and_inspect(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    halves = {"encode": lambda m, x: m.encode(x), "decode": lambda m, z: m.decode(z)}
    with pytest.raises(OptionError, match=r"ExportConfig\(scale="):
        export(Plain(), tmp_path / "m.vaeb", calibration=rows, scale=255.0, **halves)
    said = inspect_model(Plain(), rows, scale="logvar", **halves)
    assert said.ok
    assert said.latent["scale_form"] == "logvar"
