"""The doubles are no wider than what they stand for: names and prototypes as recorded from the real ones."""

from __future__ import annotations

import pytest
from fake_cuda import c_types
from fake_tensorrt import names_of_doubles
from recorded_names import DRIVER, TENSORRT

from vae_edge_runtime.backends.tensorrt.driver import SIGNATURES


def test_every_name_of_a_double_is_in_tensorrt_10_3_to_11_4() -> None:
    wider = {name: found - set(TENSORRT[name].split()) for name, found in names_of_doubles().items()}
    assert {name: found for name, found in wider.items() if found} == {}
    assert len(wider) == 20


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_driver_is_called_as_cuda_h_declares(name: str) -> None:
    assert SIGNATURES[name] == c_types(name)


def test_nothing_else_is_called() -> None:
    assert SIGNATURES.keys() == DRIVER.keys()
