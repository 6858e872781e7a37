"""Norms over many values: as near to float64 as PyTorch's own, the same function, and small ones as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vae_edge_export.passes import clean_up, finish_fp32
from vae_edge_export.passes.norms import norm_in_two_steps
from vae_edge_export.tracing.trace import quiet
from vae_edge_runtime.format.onnx_ops import ALLOWED

NORMS = {"InstanceNormalization", "LayerNormalization"}
Sides = tuple["int | str", "int | str"]


def exported(module: nn.Module, shape: tuple[int, ...], *, free: bool = False) -> onnx.ModelProto:
    """The module traced for rows of a shape and cleaned up, with free height and width where that is asked for."""
    dynamic: dict[int, Any] = {0: torch.export.Dim("n", min=1)}
    if free:
        dynamic |= {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    x = torch.randn(3, *((shape[0], 24, 16) if free else shape))
    with quiet():
        program = torch.onnx.export(
            module, (x,), input_names=["x"], output_names=["y"], dynamo=True, optimize=False, verbose=False,
            dynamic_shapes=(dynamic,), opset_version=18,
        )  # fmt: skip
    assert program is not None
    return clean_up(program.model_proto, graph="g")


def parted(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed = finish_fp32(changed, graph="g")
    onnx.checker.check_model(changed, full_check=True)
    assert {node.op_type for node in changed.graph.node} <= ALLOWED
    return changed


def run(model: onnx.ModelProto, x: np.ndarray, *, as_run: Path | None = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if as_run is not None:
        options.optimized_model_filepath = str(as_run)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y


def in_float64(module: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        y: np.ndarray = module.double()(torch.from_numpy(x.astype(np.float64))).numpy()
    return y


def normal(shape: tuple[int, ...], *, mean: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(1, *shape)) + mean).astype(np.float32)


def error(y: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(y - wanted).max())


def with_weights(norm: nn.Module) -> nn.Module:
    """Scales from 0.5 to 1.5, so that errors are those of numbers of size 1, and biases."""
    for parameter, low in zip(norm.parameters(), (0.5, -0.5), strict=False):
        nn.init.uniform_(parameter, low, low + 1)
    return norm.eval()


@pytest.mark.parametrize("free", [False, True], ids=["of one size", "of free size"])
def test_a_group_norm_of_512_x_512_is_as_near_to_float64_as_pytorch(free: bool, tmp_path: Path) -> None:
    norm = nn.GroupNorm(1, 4, eps=1e-6).eval()
    model = exported(norm, (4, 512, 512), free=free)
    x = normal((4, 512, 512))
    with torch.no_grad():
        own = norm(torch.from_numpy(x)).numpy()
    wanted = in_float64(norm, x)
    assert error(run(model, x), wanted) > 2e-5
    changed = parted(model)
    assert error(run(changed, x, as_run=tmp_path / "run.onnx"), wanted) < 2e-6
    assert error(own, wanted) < 2e-6
    as_run = onnx.load(tmp_path / "run.onnx")  # what onnxruntime makes of the graph: no norm is put together again
    assert not {node.op_type for node in as_run.graph.node} & {*NORMS, "GroupNorm", "SkipLayerNormalization"}


def test_the_scale_of_a_group_norm_is_divided_by_the_deviation_before_it_meets_the_picture() -> None:
    """One pass over the picture less: six operators read a tensor of its size, and a Reshape moves nothing."""
    changed = parted(exported(with_weights(nn.GroupNorm(2, 8)), (8, 256, 256)))
    inferred = onnx.shape_inference.infer_shapes(changed, data_prop=True).graph
    sizes = {
        value.name: np.prod([dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim])
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    large = [
        node.op_type
        for node in changed.graph.node
        if node.op_type != "Shape" and any(sizes.get(name, 0) == 8 * 256 * 256 for name in node.input)
    ]
    assert sorted(large) == ["Add", "Mul", "Mul", *["ReduceMean"] * 2, *["Reshape"] * 3, "Sub"]


CASES: dict[str, tuple[nn.Module, tuple[int, ...], bool]] = {
    "group norm": (nn.GroupNorm(2, 8), (8, 256, 256), False),
    "group norm of free size": (nn.GroupNorm(2, 8), (8, 256, 256), True),
    "group norm without weights": (nn.GroupNorm(2, 8, affine=False), (8, 200, 312), False),
    "group norm without weights, of free size": (nn.GroupNorm(2, 8, affine=False), (8, 200, 312), True),
    "group norm and no scale behind it": (
        nn.Sequential(nn.GroupNorm(2, 8, affine=False), nn.SiLU()), (8, 256, 256), False,
    ),
    "group norm of a series": (nn.GroupNorm(2, 8), (8, 131_072), False),
    "group norm of a volume": (nn.GroupNorm(1, 4), (4, 32, 48, 40), False),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), (3, 320, 256), False),
    "instance norm of free size": (nn.InstanceNorm2d(3, affine=True), (3, 320, 256), True),
    "instance norm without weights": (nn.InstanceNorm2d(3), (3, 320, 256), True),
    "instance norm of a series": (nn.InstanceNorm1d(3, affine=True), (3, 131_072), False),
    "layer norm": (nn.LayerNorm([3, 256, 200]), (3, 256, 200), False),
    "layer norm of every channel": (nn.LayerNorm([320, 256]), (3, 320, 256), False),
    "layer norm without weights": (nn.LayerNorm([131_072], elementwise_affine=False), (131_072,), False),
    "layer norm without a bias": (nn.LayerNorm([131_072], bias=False), (131_072,), False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_norm_is_the_same_function(name: str) -> None:
    """Around 100 float32 has 7.6e-6 between neighbours, and a mean is half of that off at best."""
    module, shape, free = CASES[name]
    module = with_weights(module.float())
    model = exported(module, shape, free=free)
    changed = parted(model)
    assert not NORMS & {node.op_type for node in changed.graph.node}
    for mean, allowed in ((0.0, 4e-6), (100.0, 2e-5)):
        x = np.concatenate([normal(shape, mean=mean), 3 * normal(shape, mean=mean)[..., ::-1]])
        y, wanted = run(changed, x), in_float64(module, x)
        assert error(y, wanted) < allowed, mean
        assert error(run(changed, x[1:]), y[1:]) < 4e-6, mean  # one row alone is summed in another order


class _OverPixels(nn.Module):
    """The norm in front of an attention: pixels of a picture are one axis, of free length."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = with_weights(nn.GroupNorm(4, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(x.flatten(2)).transpose(1, 2)
        return result


def test_a_norm_over_flattened_pixels_of_free_number_is_parted_by_channels() -> None:
    module = _OverPixels().eval()
    model = exported(module, (16, 256, 256), free=True)
    changed = parted(model)
    assert not NORMS & {node.op_type for node in changed.graph.node}
    x = normal((16, 256, 256))
    wanted = in_float64(module, x)
    assert error(run(model, x), wanted) > 8e-6
    assert error(run(changed, x), wanted) < 4e-6


@pytest.mark.parametrize("height_and_width", [(8, 8), (24, 40), (72, 16), (256, 8), (8, 1000)])
def test_a_norm_of_free_size_holds_at_every_size(height_and_width: tuple[int, int]) -> None:
    module = with_weights(nn.GroupNorm(4, 16))
    changed = parted(exported(module, (16, 64, 64), free=True))
    x = normal((16, *height_and_width), mean=3.0)
    assert error(run(changed, x), in_float64(module, x)) < 4e-6


def test_a_flat_picture_stays_finite_and_a_spread_below_epsilon_is_damped() -> None:
    module = nn.GroupNorm(1, 2)
    changed = parted(exported(module, (2, 256, 256)))
    flat = np.full((1, 2, 256, 256), 0.1, np.float32)
    assert error(run(changed, flat), in_float64(module, flat)) < 1e-5
    tiny = normal((2, 256, 256)) * np.float32(1e-4)
    assert error(run(changed, tiny), in_float64(module, tiny)) < 1e-6


class _Chain(nn.Module):
    """Norms between convolutions, a residual around one, and an upsampling that is merged."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 1, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(2, width) for _ in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + convolution(nn.functional.silu(norm(x)))
        x = nn.functional.interpolate(x, scale_factor=2)
        result: torch.Tensor = self.convolutions[0](self.norms[0](x))
        return result


@pytest.mark.parametrize("free", [False, True], ids=["of one size", "of free size"])
def test_norms_one_after_the_other_do_not_add_up(free: bool) -> None:
    module = _Chain().eval()
    model = exported(module, (3, 256, 256), free=free)
    changed = parted(model)
    assert not NORMS & {node.op_type for node in changed.graph.node}
    x = normal((3, 256, 256))
    wanted = in_float64(module, x)
    assert error(run(changed, x), wanted) < 4e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.GroupNorm(4, 16), (16, 128, 128)),  # 65,536 values a group
        (nn.InstanceNorm2d(4, affine=True), (4, 256, 256)),
        (nn.LayerNorm([4, 128, 128]), (4, 128, 128)),
        (nn.LayerNorm(128), (64, 128)),
    ],
    ids=["group", "instance", "layer", "layer of a vector"],
)
def test_small_norms_stay_as_they_are(module: nn.Module, shape: tuple[int, ...]) -> None:
    model = exported(module, shape)
    before = model.SerializeToString(deterministic=True)
    assert norm_in_two_steps(model).SerializeToString(deterministic=True) == before
    assert NORMS & {node.op_type for node in parted(model).graph.node}


def lone(op_type: str, shape: list[int | str], more: dict[str, np.ndarray], **options: Any) -> onnx.ModelProto:
    """A graph of one norm; a name in ``more`` whose array is empty is an input of the graph."""
    nodes = [helper.make_node(op_type, ["x", *more], ["y"], **options)]
    inputs = {"x": shape, **{name: ["n"] for name, array in more.items() if not array.size}}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(array, name) for name, array in more.items() if array.size],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("op_type", "shape", "more", "options"),
    [
        ("InstanceNormalization", ["n", 2, 512, 512], {"s": np.empty(0), "b": np.zeros(2, np.float32)}, {}),
        ("InstanceNormalization", ["n", 2, "l"], {s: np.ones(2, np.float32) for s in "sb"}, {}),
        ("InstanceNormalization", ["n", 2, 1_048_583], {s: np.ones(2, np.float32) for s in "sb"}, {}),
        ("LayerNormalization", ["n", 2, 512, "w"], {"s": np.ones(1, np.float32)}, {"axis": 2}),
        ("LayerNormalization", ["n", 131_072], {"s": np.ones(1, np.float32)}, {"axis": 0}),
    ],
    ids=["a computed scale", "a series of free length", "a prime number of values", "free layer", "over the batch"],
)
def test_what_cannot_be_parted_stays(op_type: str, shape: list[int | str], more: dict, options: dict) -> None:
    model = lone(op_type, shape, more, **options)
    before = model.SerializeToString(deterministic=True)
    assert norm_in_two_steps(model).SerializeToString(deterministic=True) == before
