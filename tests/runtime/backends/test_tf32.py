"""TF32 is off wherever a device computes in float32, and the gate of golden vectors notices it where it is on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf32_probe
from tf32_probe import rounded, with_tf32

from vae_edge_runtime import Bundle, ProviderUnavailable, verify
from vae_edge_runtime.backends.ort_providers import CUDA, TENSORRT, forbid_or_allow_tf32, settings_for
from vae_edge_runtime.device import devices as table

CORPUS = Path(__file__).parents[2] / "corpus"
TOLERANCE = 1e-4


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_TABLE", {**table._TABLE, tf32_probe.ROW.name: tf32_probe.ROW})


def test_rounding_keeps_ten_bits_after_the_point() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    mantissas, exponents = np.frexp(rounded(values))
    steps = np.ldexp(mantissas.astype(np.float64), 11)
    np.testing.assert_array_equal(steps, np.round(steps))
    relative = np.abs(rounded(values) / values - 1)
    assert 2**-12.5 < relative.max() <= 2**-11
    assert exponents.min() < 0


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(
    ("name", "noticed"), [("gaussian", True), ("picture", True), ("beta", True), ("vector", True), ("groups", False)]
)
def test_the_golden_vectors_of_float32_notice_tf32_but_in_the_smallest_model(name: str, noticed: bool) -> None:
    path = CORPUS / f"v1-{name}.vaeb"
    with Bundle.open(path) as bundle:
        products = sum(with_tf32(bundle.graph("fp32", graph))[1] for graph in ("encode", "decode", "score"))
    exact = [c for c in verify(path, device="cpu").checks if c.variant == "fp32"]
    coarse = [c for c in verify(path, device="tf32-probe").checks if c.variant == "fp32"]
    assert products >= 4
    assert max(c.max_relative for c in exact) < 0.1 * TOLERANCE
    assert max(c.max_relative for c in coarse) > 0.9 * TOLERANCE  # groups: 9.8e-5, so no proof that TF32 is off
    assert any(not c.passed for c in coarse) is noticed


@pytest.mark.parametrize("row", [row for row in table.devices() if row.gpu], ids=lambda row: str(row.name))
def test_every_road_of_a_gpu_says_yes_or_no_to_tf32(row: table.Device) -> None:
    for candidate in row.candidates:
        if candidate.engine is table.TENSORRT:
            continue  # its builder's flag: test_trt_builder
        for version in ((1, 17, 1), (1, 18, 0), (1, 32, 0)):
            settings = settings_for(candidate.mode, version, exact=row.exact, integrated=False)
            environment = forbid_or_allow_tf32(candidate.mode, version, exact=row.exact, environment={})
            by_option = settings.get("use_tf32")
            by_environment = environment.get("NVIDIA_TF32_OVERRIDE")
            if row.exact:
                assert "0" in (by_option, by_environment)
            elif version >= (1, 18):
                assert (by_option, by_environment) == ("1", None)


def test_an_environment_that_contradicts_the_device_is_refused() -> None:
    with pytest.raises(ProviderUnavailable, match="forbids TF32 to this process: unset it"):
        forbid_or_allow_tf32(CUDA, (1, 32), exact=False, environment={"NVIDIA_TF32_OVERRIDE": "0"})
    with pytest.raises(ProviderUnavailable, match="no option that keeps float32"):
        forbid_or_allow_tf32(TENSORRT, (1, 32), exact=True, environment={"NVIDIA_TF32_OVERRIDE": "1"})
    assert forbid_or_allow_tf32(CUDA, (1, 32), exact=True, environment={"NVIDIA_TF32_OVERRIDE": "0"}) == {}
    assert settings_for(CUDA, (1, 17, 3), exact=True, integrated=False) == {}
