"""Weights and models out of files; a pickle is opened only by those who say that they trust it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import handmade
import pytest
import torch
from adapting import adapt
from safetensors.torch import save_file

from vae_edge_export import load_weights, open_saved
from vae_edge_runtime import DataError, MissingDependency, OptionError


@pytest.fixture
def trained() -> Any:
    torch.manual_seed(1)
    return handmade.Logvar()


@pytest.fixture
def fresh() -> Any:
    torch.manual_seed(2)
    return handmade.Logvar()


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_safetensors_need_no_trust(trained: Any, fresh: Any, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(fresh, tmp_path / "w.safetensors") == ()
    assert same(trained, fresh)


@pytest.mark.parametrize("nested", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_a_pickle_is_opened_on_trust_only(
    nested: str | None, suffix: str, trained: Any, fresh: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save({nested: trained.state_dict(), "epoch": 3} if nested else trained.state_dict(), path)
    with pytest.raises(OptionError, match="can run any code: pass --trust-pickle"):
        load_weights(fresh, path)
    assert not same(trained, fresh)
    assert load_weights(fresh, path, trust_pickle=True) == ()
    assert same(trained, fresh)


class Touch:
    """What a hostile pickle does: something else while it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_an_untrusted_pickle_is_not_even_looked_into(fresh: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": Touch(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(OptionError):
        load_weights(fresh, tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_more_than_tensors_is_opened_on_trust_and_said(trained: Any, fresh: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": trained.state_dict(), "config": Path("x")}, tmp_path / "w.ckpt")
    (note,) = load_weights(fresh, tmp_path / "w.ckpt", trust_pickle=True)
    assert "opened as a pickle, which can run code" in note
    assert same(trained, fresh)


def test_a_whole_module_gives_its_weights(trained: Any, fresh: Any, tmp_path: Path) -> None:
    torch.save(trained, tmp_path / "w.pt")
    load_weights(fresh, tmp_path / "w.pt", trust_pickle=True)
    assert same(trained, fresh)


def test_a_lightning_checkpoint_has_its_prefix_taken_off_and_says_so(trained: Any, fresh: Any, tmp_path: Path) -> None:
    state = {f"net.vae.{name}": tensor for name, tensor in trained.state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(2)}}, tmp_path / "w.ckpt")
    notes = load_weights(fresh, tmp_path / "w.ckpt", trust_pickle=True)
    assert notes == ("weights lie under 'net.vae.'; 1 other tensors were left out",)
    assert same(trained, fresh)


def averaged(state: Any) -> dict[str, torch.Tensor]:
    return {name: tensor + 1 for name, tensor in state.items()}


def prefixed(state: Any, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


TWO_SETS = {
    "lists of Lightning's": (lambda s: {"state_dict": s, "ema_state_dict": averaged(s)}, "ema_state_dict"),
    "averaged beside raw": (lambda s: {"model": s, "model_ema": averaged(s), "epoch": 3}, "model_ema"),
    "two prefixes": (lambda s: {"state_dict": prefixed(s, "vae.") | prefixed(averaged(s), "ema.")}, "state_dict.ema"),
    "flat, two prefixes": (lambda s: prefixed(s, "online_model.") | prefixed(averaged(s), "ema_model."), "ema_model"),
    "nested": (lambda s: {"nets": {"raw": s, "ema": {"shadow": averaged(s)}}}, "nets.ema.shadow"),
    "whole modules": (lambda s: {"net": s, "swa": prefixed(averaged(s), "module.")}, "swa.module"),
}


@pytest.mark.parametrize("kind", TWO_SETS)
def test_two_sets_that_fit_are_named_and_the_named_one_is_taken(
    kind: str, trained: Any, fresh: Any, tmp_path: Path
) -> None:
    made, key = TWO_SETS[kind]
    torch.save(made(trained.state_dict()), tmp_path / "w.ckpt")
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(DataError, match=rf"2 sets of weights that fit.*--weights-key {re.escape(key)}"):
        load_weights(fresh, tmp_path / "w.ckpt", trust_pickle=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())
    load_weights(fresh, tmp_path / "w.ckpt", trust_pickle=True, key=key)
    wanted = averaged(trained.state_dict())
    assert all(torch.equal(wanted[name], tensor) for name, tensor in fresh.state_dict().items())
    with pytest.raises(DataError, match=rf"under 'nowhere'; those that fit are .*{re.escape(key)}"):
        load_weights(fresh, tmp_path / "w.ckpt", trust_pickle=True, key="nowhere")


@pytest.mark.parametrize(
    "made",
    [
        lambda s: {"vae": s, "step": 3},
        lambda s: {"net": s, "disc": {"w": torch.zeros(3)}, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        lambda s: {"module": prefixed(s, "_orig_mod.module.")},
        lambda s: prefixed(s, "module._orig_mod.") | {"n_averaged": torch.ones(1)},
        lambda s: {"epoch": 1, "state_dict": s, "best": dict(s)},
        lambda s: {"generator": s, "other": {name: tensor[..., :1] for name, tensor in s.items()}},
    ],
)
def test_the_one_set_that_fits_is_taken_wherever_it_lies(made: Any, trained: Any, fresh: Any, tmp_path: Path) -> None:
    torch.save(made(trained.state_dict()), tmp_path / "w.pt")
    load_weights(fresh, tmp_path / "w.pt", trust_pickle=True)
    assert same(trained, fresh)


def test_averaged_weights_of_another_form_are_pointed_at(trained: Any, fresh: Any, tmp_path: Path) -> None:
    shadow = list(trained.parameters())
    torch.save({"state_dict": trained.state_dict(), "ema": {"shadow_params": shadow}}, tmp_path / "w.pt")
    (note,) = load_weights(fresh, tmp_path / "w.pt", trust_pickle=True)
    assert note == "'ema' beside them, which may hold averaged weights, has another form and was not read"


def test_a_checkpoint_without_weights_names_its_keys(fresh: Any, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"holds a dict with 'epoch', 'lr' and no state dict"):
        load_weights(fresh, tmp_path / "w.pt", trust_pickle=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.pop("to_mean.bias"), r"missing to_mean\.bias; unexpected none"),
        (lambda s: s.update(extra=torch.ones(1)), "missing none; unexpected extra"),
        (lambda s: s.update({"to_mean.bias": torch.ones(3)}), r"to_mean\.bias is \(3,\) and the model's \(2,\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    spoil: Any, said: str, trained: Any, fresh: Any, tmp_path: Path
) -> None:
    state = dict(trained.state_dict())
    spoil(state)
    save_file(state, tmp_path / "w.safetensors")
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(DataError, match=said):
        load_weights(fresh, tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04garbage", b"x" * 100])
def test_a_damaged_file_is_one_error(name: str, content: bytes, fresh: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|holds a"):
        load_weights(fresh, tmp_path / name, trust_pickle=True)


def test_a_file_that_is_not_there_and_a_suffix_nobody_knows(fresh: Any, tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pt"):
        with pytest.raises(DataError, match="cannot be opened"):
            load_weights(fresh, tmp_path / name, trust_pickle=True)
    with pytest.raises(OptionError, match=r"weights end with \.safetensors"):
        load_weights(fresh, tmp_path / "w.h5")


def test_a_pickle_of_no_weights_is_refused(fresh: Any, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError):
        load_weights(fresh, tmp_path / "w.pt", trust_pickle=True)


def test_exported_programs_are_two_halves(tmp_path: Path) -> None:
    from families import _programs

    with pytest.raises(DataError, match=r"holds no encoder\.pt2"):
        open_saved("pt2", str(tmp_path), trust_pickle=True)
    (tmp_path / "encoder.pt2").write_bytes(b"PK")
    with pytest.raises(OptionError, match="--trust-pickle"):
        open_saved("pt2", str(tmp_path))
    torch.manual_seed(0)
    found = adapt(_programs(), torch.randn(3, 6), scale_form="logvar")
    torch.manual_seed(0)
    own = handmade.Logvar()
    x = torch.randn(5, 6)
    torch.testing.assert_close(found.encode(found.module, x)[0], own.encode(x)[0])


def test_a_folder_of_a_library_that_is_not_here_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for library in ("diffusers", "pythae"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"holds no config\.json$"):
        open_saved("diffusers", str(tmp_path))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(DataError, match=r"holds no config\.json: say diffusers:.*vae"):
        open_saved("diffusers", str(tmp_path))
    with pytest.raises(MissingDependency, match="'diffusers', which is not installed"):
        open_saved("diffusers", str(tmp_path / "vae"))
    with pytest.raises(OptionError, match="--trust-pickle"):
        open_saved("pythae", str(tmp_path))
    with pytest.raises(MissingDependency, match="pythae"):
        open_saved("pythae", str(tmp_path), trust_pickle=True)
    with pytest.raises(DataError, match="does not exist"):
        open_saved("pyod", str(tmp_path / "nothing"))
