"""The manifest's section about compression, and bundles of version 1, which lack it."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_bundle import TinyBundle

from vae_edge_runtime import Bundle, BundleInvalid
from vae_edge_runtime.format.figures import Compression, CompressionMode

LATENTS = CompressionMode("latents", "latents", "vae", (), "compression/latents.bin", 10, 3.5, 3.5, 0.2, 9)
BOUNDED = CompressionMode("0.1", "bounded", "near", (0.1, 0.2), "compression/0.1.bin", 10, 9.0, 0.0, 1.0, 0)


def test_a_bundle_of_version_1_opens_without_compression(tiny: TinyBundle) -> None:
    plain = tiny.plain
    del plain["compression"]
    plain["schema_version"] = plain["requires"]["runtime_schema"] = 1
    with Bundle.open(tiny.write(plain)) as bundle:
        assert (bundle.manifest.schema_version, bundle.manifest.compression) == (2, None)


def test_a_mode_is_found_by_its_name() -> None:
    section = Compression((1.0, 2.0), (1e-5, 2e-5), (LATENTS, BOUNDED))
    assert section.mode("0.1") == BOUNDED
    assert section.mode("0.3") is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"modes": ()}, "missing, repeated or too many"),
        ({"modes": (LATENTS, LATENTS)}, "missing, repeated or too many"),
        ({"modes": (BOUNDED,)}, "the first mode is not latents"),
        ({"margin": (1e-5,)}, "differ in length"),
        ({"margin": (1e-5, 0.0)}, "not positive"),
        ({"spread": (1.0,), "margin": (1e-5,)}, "does not fit the features"),
    ],
)
def test_a_section_that_contradicts_itself_is_invalid(change: dict[str, Any], problem: str) -> None:
    good = {"spread": (1.0, 2.0), "margin": (1e-5, 2e-5), "modes": (LATENTS, BOUNDED)}
    with pytest.raises(BundleInvalid, match=problem):
        Compression(**(good | change))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": " "}, "no name"),
        ({"rows": 0}, "rows is below 1"),
        ({"row_bytes": 0.0}, "sizes"),
        ({"bound": ()}, "kind and bound disagree"),
        ({"kind": "exact"}, "kind and bound disagree"),
        ({"bound": (0.1, 0.0)}, "a bound is not positive"),
        ({"kind": "latents", "bound": ()}, "latents need the network"),
        ({"flipped": -1}, "flipped is negative"),
    ],
)
def test_a_mode_that_contradicts_itself_is_invalid(change: dict[str, Any], problem: str) -> None:
    good = {name: getattr(BOUNDED, name) for name in CompressionMode.__dataclass_fields__}
    with pytest.raises(BundleInvalid, match=problem):
        CompressionMode(**(good | change))
