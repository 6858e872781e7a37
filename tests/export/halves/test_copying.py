"""A model is copied with everything it carries; what cannot be copied is shared."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
import torch
from adapting import adapt
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from vae_edge_export.halves.copying import copied
from vae_edge_runtime.errors import AdaptError

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Carries(nn.Module):
    def __init__(self, thing: Any = None) -> None:
        super().__init__()
        self.encoder, self.decoder, self.thing = nn.Linear(6, 2), nn.Linear(2, 6), thing

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class Writer:
    """As a logger of experiments: a lock and an open file inside."""

    def __init__(self) -> None:
        self.lock, self.file = threading.Lock(), io.TextIOWrapper(io.BytesIO())


@pytest.mark.parametrize(
    "thing",
    [
        threading.Lock(),
        io.TextIOWrapper(io.BytesIO()),
        iter(DataLoader(TensorDataset(X))),
        {"nested": [{"lock": threading.RLock()}]},
        Writer(),
        (value for value in ()),
        [threading.Event(), Writer()],
    ],
    ids=["lock", "file", "iterator", "nested", "object", "generator", "list"],
)
def test_what_cannot_be_copied_is_shared(thing: Any) -> None:
    model = Carries(thing)
    other = copied(model)
    assert other.encoder.weight is not model.encoder.weight
    assert torch.equal(other.encoder.weight, model.encoder.weight)
    adapt(model, X)


@pytest.mark.parametrize("wrap", [lambda t: {"kl": t}, lambda t: [t], lambda t: ({"a": [t]},), lambda t: t])
def test_tensors_with_a_history_lose_it_wherever_they_lie(wrap: Any) -> None:
    model = Carries()
    model.thing = wrap(model(X).sum())
    copied(model)
    adapt(model, X)


def test_activations_that_a_hook_keeps_are_no_hindrance() -> None:
    model, seen = Carries(), {}
    model.encoder.register_forward_hook(lambda module, given, out: seen.update(h=out))
    model.seen = seen  # type: ignore[assignment]
    model(X)
    adapt(model, X)


def test_a_module_that_refuses_to_be_copied_is_named() -> None:
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("there is one of me")

    model = Carries()
    model.encoder = Stubborn(6, 2)
    with pytest.raises(AdaptError, match=r"cannot be copied.*there is one of me.*before the export"):
        adapt(model, X)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_named_with_the_way_out() -> None:
    with pytest.raises(AdaptError, match=r"TorchScript.*load_state_dict"):
        adapt(torch.jit.trace(Carries().eval(), X), X, encode=lambda m, x: m.encoder(x), decode=lambda m, z: z)


class Traced(Tensor):
    """As the tensors of a tracer, which have no memory of their own."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("Cannot access data pointer of Tensor")


def test_a_tensor_that_a_hook_kept_and_that_cannot_be_copied_is_shared() -> None:
    kept = torch.zeros(3).as_subclass(Traced)
    model = Carries([kept, X])
    other = copied(model)
    assert other.thing[0] is kept
    assert other.thing[1] is not X
    adapt(model, X)
