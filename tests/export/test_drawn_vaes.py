"""Any VAE: exported and equal to PyTorch, or refused with a remedy that works when it is followed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn_vaes
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from vae_edge_export import ExportConfig, export
from vae_edge_runtime import load
from vae_edge_runtime.errors import VaeEdgeError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own imports

Options = dict[str, Any]

_CONFIG = ExportConfig(false_positive_rate=0.05, least_r2=-0.5)
_ANSWERS = 4
"""Remedies that may follow one another before the model is exported."""


def _config(options: Options, **changed: Any) -> Options:
    return options | {"config": replace(options["config"], **changed)}


def _divided(match: re.Match[str], options: Options, _: drawn_vaes.Random) -> Options:
    offset = float(match["offset"]) if match["offset"] else 0.0
    return _config(options, offset=(offset,), scale=(float(match["scale"]),))


def _core(model: Any) -> Any:
    """The drawn VAE in what a lambda is given."""
    return model.vae if isinstance(model, drawn_vaes.Lightning) else model


_BOTH_HALVES: Options = {
    "encode": lambda m, x, *y: _core(m).parameters_of(x, *y),
    "decode": lambda m, z, *y: _core(m).paint(z, *y),
}

REMEDIES: list[tuple[str, Callable[[re.Match[str], Options, drawn_vaes.Random], Options]]] = [
    (r"write encode=lambda m, x: \(mean, scale\)", lambda match, options, plain: options | _BOTH_HALVES),
    (r"scale_form=", lambda match, options, plain: options | {"scale_form": plain.form}),
    (r"pass (--offset (?P<offset>[-\d.e+]+) )?--scale (?P<scale>[-\d.e+]+), or take the mse", _divided),
    (r"if they are logits, say logits=True", lambda match, options, plain: _config(options, logits=True)),
    (
        r"write that, decode=lambda m, z",
        lambda match, options, plain: options | {"decode": _BOTH_HALVES["decode"]},
    ),
    (r"pass encode=lambda m, x: m\.YOUR_METHOD", lambda match, options, plain: options | _BOTH_HALVES),
    (r"[Ww]rite (both|the half with encode=)", lambda match, options, plain: options | _BOTH_HALVES),
    (r"It takes the rows with (--offset (?P<offset>[-\d.e+]+) )?--scale (?P<scale>[-\d.e+]+):", _divided),
    (r"With (--offset (?P<offset>[-\d.e+]+) )?--scale (?P<scale>[-\d.e+]+) R² is", _divided),
    (r"--allow-poor-fit", lambda match, options, plain: _config(options, allow_poor_fit=True)),
]
"""What a message says, and what someone does who reads it. The first that fits is followed."""


def exported(model: Any, path: Path, rows: Any, options: Options, plain: drawn_vaes.Random) -> Options:
    """Export, and do what each refusal says; returns the options that worked."""
    for _ in range(_ANSWERS):
        try:
            export(model, path, calibration=rows, force=True, **options)
        except VaeEdgeError as error:
            text = str(error)
            for pattern, follow in REMEDIES:
                if match := re.search(pattern, text):
                    after = follow(match, options, plain)
                    break
            else:
                raise AssertionError(f"no remedy in: {text}") from error
            assert after != options, f"the remedy was followed and did not work: {text}"
            options = after
        else:
            return options
    raise AssertionError(f"still refused after {_ANSWERS} remedies: {text}")


LIKELIHOOD: dict[str, Options] = {
    "gaussian": {"likelihood": "gaussian"},
    "variance": {"likelihood": "gaussian", "variance": 0.1},
    "laplace": {"likelihood": "laplace"},
    "bernoulli": {"likelihood": "bernoulli"},
    "logits": {"likelihood": "bernoulli", "logits": True},
}
"""What the owner of a model knows. A distribution that ``decode`` returns says it by itself."""


def holds(how: drawn_vaes.Drawn) -> None:
    drawn = drawn_vaes.built(how)
    options: Options = {"config": replace(_CONFIG, **LIKELIHOOD.get(how.likelihood, {}))}
    if drawn.condition is not None:
        options["condition"] = drawn.condition
    if how.says_divisor:
        options = _config(options, scale=(how.divisor,))
    if how.spelling == "passed":
        options |= _BOTH_HALVES | {"encode": lambda m, x, *y: _core(m).returned(*_core(m).parameters_of(x, *y))}
    few = None if drawn.condition is None else drawn.condition[:8]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.vaeb"
        used = exported(drawn.model, path, drawn.rows, options, drawn.plain)["config"]
        with load(path, device="cpu", threads=1) as vae:
            scores = vae.score(drawn.rows[:8], condition=few).score
    fed = (drawn.rows[:8].astype(np.float64) - used.offset[0]) / used.scale[0]
    np.testing.assert_allclose(scores, drawn_vaes.score_of(drawn, fed), rtol=2e-4, atol=2e-4)


_SETTINGS = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # an export takes seconds, and shrinking hundreds of them
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


FEW = (
    drawn_vaes.Drawn(
        body="conv1d", form="var", noise="none", spelling="passed", norm="batch", activation="SiLU",
        wrapper="compile", steps=0, divisor=255.0, seed=22,
    ),
    drawn_vaes.Drawn(
        form="softplus", returns="normal", spelling="passed", activation="GELU",
        wrapper="compile", latent=1, steps=0, divisor=255.0, says_divisor=False, seed=566,
    ),
)  # fmt: skip


@pytest.mark.parametrize("how", FEW, ids=[f"{how.body} {how.noise}" for how in FEW])
def test_a_random_vae_is_exported_or_its_remedy_works(how: drawn_vaes.Drawn) -> None:
    holds(how)


@pytest.mark.slow
@pytest.mark.skipif("VAE_EDGE_EXAMPLES" not in os.environ, reason="a search: VAE_EDGE_EXAMPLES says how many to draw")
@settings(_SETTINGS, max_examples=int(os.environ.get("VAE_EDGE_EXAMPLES", "1")))
@given(drawn_vaes.drawn())
def test_many_drawn_vaes_are_exported_or_their_remedies_work(how: drawn_vaes.Drawn) -> None:
    holds(how)
