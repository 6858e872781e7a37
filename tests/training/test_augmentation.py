"""Options of pictures: what augmentation may change, a loss with SSIM, and what a run keeps of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shell import run

from vae_edge.models import ModelConfig
from vae_edge.training import TrainConfig, load_run, train
from vae_edge.training.augmentation import BRIGHTNESS, WAYS, Units, augmented
from vae_edge.training.config import AUGMENTATIONS
from vae_edge.training.run_folder import read_checkpoint, read_config
from vae_edge.training.structure import structure_loss, structure_of
from vae_edge_runtime.errors import OptionError

MODEL = ModelConfig(kind="conv", input_shape=(3, 64, 32), latent_dim=2, width=4, depth=2)
PLAN = TrainConfig(model=MODEL, layout="nhwc", offset=(0.0,), scale=(255.0,), epochs=2, batch_size=8)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rows(n: int = 40) -> torch.Tensor:
    return torch.rand((n, 3, 64, 32), generator=_generator(1)) * 0.6 + 0.2


def _changed(way: str, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmented(x, (way,), Units.of(PLAN, x), _generator(seed))


def test_each_way_is_known_by_the_plan_of_a_training() -> None:
    assert tuple(WAYS) == AUGMENTATIONS


def test_a_shift_is_at_most_a_part_of_32_of_the_shorter_side_and_all_of_them_occur() -> None:
    x = _rows(60)
    corners = set()
    for before, after in zip(x, _changed("shift", x), strict=True):
        inner = after[:, 1:-1, 1:-1]
        fits = [(r, c) for r in (0, 1, 2) for c in (0, 1, 2)
                if torch.equal(inner, before[:, r : r + 62, c : c + 30])]  # fmt: skip
        assert len(fits) == 1
        corners.update(fits)
    assert len(corners) == 9


def test_brightness_multiplies_a_picture_by_one_number_and_stays_in_range() -> None:
    x = _rows()
    factors = _changed("brightness", x) / x
    inside = (_changed("brightness", x) > x.min()) & (_changed("brightness", x) < x.max())
    for row, kept in zip(factors, inside, strict=True):
        own = row[kept]
        assert own.max() - own.min() < 1e-5
        assert abs(own.mean().item() - 1) <= BRIGHTNESS
    assert len({round(row[kept].mean().item(), 4) for row, kept in zip(factors, inside, strict=True)}) > 30
    assert _changed("brightness", x).max() <= x.max()


def test_brightness_of_standardised_pictures_leaves_raw_black_where_it_is() -> None:
    plan = TrainConfig(model=MODEL, layout="nhwc", offset=(10.0, 20.0, 30.0), scale=(2.0, 4.0, 5.0))
    black = torch.tensor([-5.0, -5.0, -6.0]).reshape(1, 3, 1, 1).expand(4, 3, 64, 32)
    units = Units.of(plan, torch.tensor([-9.0, 9.0]))
    torch.testing.assert_close(augmented(black, ("brightness",), units, _generator()), black)


@pytest.mark.parametrize(("way", "axis"), [("left-right", 2), ("up-down", 1)])
def test_a_mirror_turns_about_half_of_the_pictures(way: str, axis: int) -> None:
    x = _rows()
    turned = [torch.equal(after, before.flip(axis)) for before, after in zip(x, _changed(way, x), strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(x, _changed(way, x), strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 10 <= sum(turned) <= 30


def test_the_structure_term_is_0_of_equal_pictures_and_grows_with_the_weight() -> None:
    x = _rows(4)
    plan = TrainConfig(model=MODEL, layout="nhwc", perceptual=2.0)
    structure = structure_of(plan, x)
    assert structure is not None
    assert structure_of(PLAN, x) is None
    assert structure_loss(x, x, structure, plan).abs().max() < 1e-2
    blurred = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    lost = structure_loss(x, blurred, structure, plan)
    assert lost.shape == (4,)
    assert 0.1 * 2 * MODEL.elements < lost.min() < lost.max() < 2 * 2 * MODEL.elements


@pytest.mark.parametrize("options", [
    {"augment": ("shift", "brightness", "left-right", "up-down")}, {"perceptual": 0.5}, {"schedule": "cosine"},
])  # fmt: skip
def test_options_of_pictures_change_the_weights_are_kept_and_resumed(options: dict[str, Any], tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (24, 32, 16, 1), np.uint8)
    model = ModelConfig(kind="conv", input_shape=(1, 32, 16), latent_dim=2, width=2, depth=1)
    plan = TrainConfig(model=model, layout="nhwc", epochs=3, batch_size=8, warmup_epochs=1, **options)
    train(plan, x, out=tmp_path / "whole")
    train(plan, x, out=tmp_path / "again")
    assert read_config(tmp_path / "whole").augment == options.get("augment", ())
    bytes_of = {name: (tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "again")}
    assert bytes_of["whole"] == bytes_of["again"]
    plain = TrainConfig(model=model, layout="nhwc", epochs=3, batch_size=8, warmup_epochs=1)
    train(plain, x, out=tmp_path / "plain")
    assert (tmp_path / "plain" / "weights.safetensors").read_bytes() != bytes_of["whole"]

    class Cut(Exception):
        pass

    def stop(report: Any) -> None:
        if report.epoch == 2:
            raise Cut

    with pytest.raises(Cut):
        train(plan, x, out=tmp_path / "parts", progress=stop)
    train(plan, x, out=tmp_path / "parts", resume=True)
    whole, parts = (read_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (tmp_path / "parts" / "weights.safetensors").read_bytes() == bytes_of["whole"]


def test_a_cosine_is_not_resumed_with_another_length(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), np.uint8)
    model = ModelConfig(kind="conv", input_shape=(1, 8, 8), latent_dim=2, width=2, depth=1)
    plan = {"model": model, "layout": "nhwc", "batch_size": 8, "schedule": "cosine"}
    train(TrainConfig(**plan, epochs=2), x, out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="ends with epoch 2"):
        train(TrainConfig(**plan, epochs=3), x, out=tmp_path / "run", resume=True)  # type: ignore[arg-type]


def test_a_run_of_earlier_days_has_none_of_the_options(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), np.uint8)
    model = ModelConfig(kind="conv", input_shape=(1, 8, 8), latent_dim=2, width=2, depth=1)
    train(TrainConfig(model=model, layout="nhwc", epochs=1, batch_size=8), x, out=tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    plain = json.loads(file.read_text())
    for name in ("augment", "perceptual", "schedule"):
        del plain[name]
    file.write_text(json.dumps(plain))
    config = load_run(tmp_path / "run").config
    assert (config.augment, config.perceptual, config.schedule) == ((), 0.0, "constant")


@pytest.mark.parametrize(("options", "problem"), [
    ({"augment": ("turn",)}, "valid are shift"),
    ({"perceptual": -1.0}, "weight from 0"),
    ({"perceptual": 1.0, "model": ModelConfig(kind="conv", input_shape=(1, 10, 16))}, "11 x 11"),
    ({"augment": ("shift",), "model": ModelConfig(kind="mlp", input_shape=(4,))}, "for pictures"),
    ({"schedule": "step"}, "valid are constant"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        TrainConfig(**({"model": MODEL} | options))


def test_the_command_takes_names_comma_separated(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), dtype=np.uint8))
    words = ["train", "conv", "--data", tmp_path / "x.npy", "--layout", "nhwc", "--epochs", 1, "--width", 2,
             "--depth", 1, "--latent", 2]  # fmt: skip
    done = run(*words, "--augment", "shift, left-right", "--perceptual", 0.5, "--schedule", "cosine",
               "-o", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    config = read_config(tmp_path / "run")
    assert (config.augment, config.perceptual, config.schedule) == (("shift", "left-right"), 0.5, "cosine")
    refused = run(*words, "--augment", "rotate", "-o", tmp_path / "no")
    assert refused.code == 2
    assert "shift, brightness, left-right, up-down" in refused.err
