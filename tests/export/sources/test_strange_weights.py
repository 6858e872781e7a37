"""Weights as they lie around, into models as they are built: wrapped, lazy, on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from strangers import Plain
from torch import nn

from vae_edge_export.sources import load_weights
from vae_edge_runtime import DataError


def lazy() -> nn.Module:
    model = Plain()
    model.inner = nn.Sequential(nn.LazyLinear(16), nn.ReLU())
    return model


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Plain()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lazy": lazy,
    "meta": on_meta,
    "compiled": lambda: torch.compile(Plain()),  # type: ignore[dict-item,return-value]
    "parallel": lambda: nn.DataParallel(Plain()),
    "both": lambda: torch.compile(nn.DataParallel(Plain())),  # type: ignore[dict-item,return-value]
    "double": lambda: Plain().double(),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    torch.manual_seed(7)
    trained = Plain().eval()
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(trained.state_dict(), path)
    return trained, path


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", MODELS)
def test_plain_weights_go_into_a_model_of_any_dress(name: str, weights: tuple[nn.Module, Path]) -> None:
    trained, path = weights
    model = MODELS[name]()
    load_weights(model, path)
    inner = model
    while not isinstance(inner, Plain):
        inner = next(inner.children())
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(next(inner.parameters()).dtype)
    torch.testing.assert_close(inner.encode(x)[0].float(), trained.encode(x.float())[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read: it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1234\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    ],
)
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, said: str, ending: str) -> None:
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_weights(Plain(), path, trust_pickle=True)
