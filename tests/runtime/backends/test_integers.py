"""Graphs of 8-bit weights compute what they computed where the bundle was made, on any CPU and by any engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_edge_runtime import load, verify
from vae_edge_runtime.backends import integers

CORPUS = Path(__file__).parents[2] / "corpus"
SIGNED = ("v1-integers", "v1-convolutions")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
@pytest.mark.parametrize("name", SIGNED)
def test_signed_weights_of_older_bundles_give_their_golden_vectors(name: str, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    assert verify(CORPUS / f"{name}.vaeb", device=device).ok


@pytest.mark.parametrize("exactly", [True, False])
@pytest.mark.parametrize("variant", ["int8", "int8-cpu"])
def test_a_session_in_float_says_so(monkeypatch: pytest.MonkeyPatch, exactly: bool, variant: str) -> None:
    monkeypatch.setattr(integers, "_adds_exactly", lambda: exactly)
    with load(CORPUS / "v1-integers.vaeb", device="cpu", variant=variant) as vae:
        vae.sample(1, seed=0)
        assert vae.info.degraded != exactly
        assert exactly or "may saturate on this CPU" in str(vae.info.degraded_reason)
    with load(CORPUS / "v1-table.vaeb", device="cpu") as vae:
        vae.sample(1, seed=0)
        assert not vae.info.degraded


@pytest.mark.parametrize(
    ("machine", "flags", "exactly"),
    [
        ("x86_64", "flags : avx2 avx512_vnni", True), ("x86_64", "flags : avx2 avx_vnni", True),
        ("x86_64", "flags : avx2", False), ("AMD64", None, False), ("aarch64", None, True),
    ],
)  # fmt: skip
def test_linux_tells_which_cpu_adds_exactly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, flags: str | None, exactly: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(flags)
    monkeypatch.setattr(integers, "_machine", lambda: machine)
    monkeypatch.setattr(integers, "_CPUINFO", str(cpuinfo))
    assert integers._adds_exactly.__wrapped__() == exactly
