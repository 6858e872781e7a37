"""What is quantised between int8 layers, and which layers are spared: less noise for the speed that is given up."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vae_edge_export.gates import DEFAULT_GATES
from vae_edge_export.precision.activations import ranges, run, session_of
from vae_edge_export.precision.between_layers import ALONG, ARITHMETIC, MOVES, nodes_along
from vae_edge_export.precision.fidelity import score_noise
from vae_edge_export.precision.layers import Layer, Network, find_networks
from vae_edge_export.precision.multiplications import products, worth_sparing
from vae_edge_export.precision.quantise import quantise
from vae_edge_export.precision.search import _ranks_pass

WIDTH, SIZE = 8, 8
X = np.random.default_rng(0).uniform(-1, 1, size=(96, 3, SIZE, SIZE)).astype(np.float32)
X *= np.linspace(0.3, 1, 96, dtype=np.float32)[:, None, None, None]


class Chain:
    """Nodes one after the other, with random weights."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self._rng = np.random.default_rng(seed)

    def weight(self, name: str, *shape: int, around: float = 0.0) -> str:
        fan = int(np.prod(shape[1:])) if len(shape) > 3 and shape[0] > 1 else 16
        array = around + self._rng.normal(size=shape, scale=fan**-0.5)
        self.tensors[name] = numpy_helper.from_array(array.astype(np.float32), name)
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        self.tensors[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def conv(self, x: str, output: str, channels: tuple[int, int]) -> str:
        weights = [self.weight(f"{output}.w", channels[1], channels[0], 3, 3), self.weight(f"{output}.b", channels[1])]
        return self.add("Conv", [x, *weights], output, pads=[1, 1, 1, 1])

    def silu(self, x: str) -> str:
        return self.add("Mul", [x, self.add("Sigmoid", [x], f"{x}.gate")], f"{x}.silu")

    def group_norm(self, x: str) -> str:
        groups = self.constant("groups", np.array([0, 2, -1]))
        ones = self.constant("ones", np.ones(2, np.float32))
        zeros = self.constant("zeros", np.zeros(2, np.float32))
        normal = self.add("InstanceNormalization", [self.add("Reshape", [x, groups], f"{x}.g"), ones, zeros], f"{x}.n")
        whole = self.add("Reshape", [normal, self.add("Shape", [x], f"{x}.size")], f"{x}.whole")
        scaled = self.add("Mul", [whole, self.weight(f"{x}.gain", 1, WIDTH, 1, 1, around=1.0)], f"{x}.scaled")
        return self.add("Add", [scaled, self.weight(f"{x}.shift", 1, WIDTH, 1, 1)], f"{x}.norm")

    def residual(self, x: str, name: str, *, norm: bool) -> str:
        first = self.conv(self.silu(self.group_norm(x) if norm else x), f"{name}.1", (WIDTH, WIDTH))
        second = self.conv(self.silu(self.group_norm(first) if norm else first), f"{name}.2", (WIDTH, WIDTH))
        return self.add("Add", [x, second], f"{name}.sum")

    def model(self, source: tuple[str, int], outputs: list[str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, ["n", source[1], SIZE, SIZE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            list(self.tensors.values()),
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made)


def encoder(net: Chain, *, norm: bool) -> None:
    h = net.conv("x", "e0", (3, WIDTH))
    for index in range(2):
        h = net.residual(h, f"e{index + 1}", norm=norm)
    net.conv(net.conv(h, "last", (WIDTH, WIDTH)), "mean", (WIDTH, 2))


def decoder(net: Chain, z: str, *, norm: bool) -> None:
    h = net.conv(z, "d0", (2, WIDTH))
    for index in range(2):
        h = net.residual(h, f"d{index + 1}", norm=norm)
    net.conv(net.silu(h), "x_hat", (WIDTH, 3))


def small_network(*, norm: bool) -> tuple[onnx.ModelProto, Network]:
    """Graph ``score`` of a small VAE of residual blocks, and what of it is the network."""
    encode, decode, score = Chain(1), Chain(2), Chain(1)
    encoder(encode, norm=norm)
    decoder(decode, "z", norm=norm)
    encoder(score, norm=norm)
    score._rng = np.random.default_rng(2)
    decoder(score, "mean", norm=norm)
    residual = score.add("Sub", ["x", "x_hat"], "residual")
    axes = score.constant("axes", np.array([1, 2, 3]))
    score.add("ReduceSum", [score.add("Mul", [residual, residual], "square"), axes], "score", keepdims=0)
    models = {
        "encode": encode.model(("x", 3), ["mean"]),
        "decode": decode.model(("z", 2), ["x_hat"]),
        "score": score.model(("x", 3), ["score", "mean", "x_hat"]),
    }
    return models["score"], find_networks(models)["score"]


def noise(model: onnx.ModelProto, network: Network, along: list[str]) -> float:
    """Of the scores of rows that ranges were not taken from, with every layer in int8."""
    inside = network.between["encoder"] | network.between["decoder"]
    by = ranges(model, {"x": X[::2]}, method="minmax", op_types=["Conv", *sorted(ALONG)], symmetric=False)
    made = quantise(model, network.layers, by, kind="int8-cpu", inside=inside, along=along)
    feeds = {"x": X[1::2]}
    exact, found = (run(session_of(m), ["score"], feeds)["score"] for m in (model, made))
    return score_noise(found, exact)


def everything(model: onnx.ModelProto, network: Network) -> list[str]:
    inside = network.between["encoder"] | network.between["decoder"]
    return [node.name for node in model.graph.node if node.name in inside and node.op_type in ALONG]


def chosen(model: onnx.ModelProto, network: Network) -> list[str]:
    quantised = [layer.node for layer in network.layers]
    return nodes_along(model, network.between["encoder"] | network.between["decoder"], quantised)


def test_beside_a_group_norm_arithmetic_stays_float_and_scores_are_less_noisy() -> None:
    model, network = small_network(norm=True)
    along = chosen(model, network)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert {kinds[name] for name in along} == {"Reshape"}  # which follows what it reads
    before, after = noise(model, network, everything(model, network)), noise(model, network, along)
    assert after < 0.8 * before, (after, before)


def test_without_float_operators_between_layers_everything_goes_along() -> None:
    model, network = small_network(norm=False)
    assert chosen(model, network) == everything(model, network)
    assert not MOVES & ARITHMETIC


def test_a_layer_that_stays_float_keeps_the_arithmetic_beside_it_float() -> None:
    model, network = small_network(norm=False)
    inside = network.between["encoder"] | network.between["decoder"]
    quantised = [layer.node for layer in network.layers if layer.node != "node_d2.1"]
    lost = set(everything(model, network)) - set(nodes_along(model, inside, quantised))
    joined = ("d1.sum", "d1.sum.gate", "d1.sum.silu", "d2.1.gate", "d2.1.silu", "d2.sum", "d2.sum.gate", "d2.sum.silu")
    assert lost == {f"node_{name}" for name in joined}


def test_multiplications_are_counted_where_a_layer_is_applied() -> None:
    net = Chain(3)
    net.conv("x", "c", (3, 4))
    net.add("ConvTranspose", ["c", net.weight("t.w", 4, 5, 2, 2)], "t", strides=[2, 2])
    net.add("Reshape", ["t", net.constant("rows", np.array([0, 5, 256]))], "r")
    net.add("MatMul", ["r", net.weight("m.w", 256, 7)], "m")
    shapes = {"c": ("Conv", (4, 3, 3, 3)), "t": ("ConvTranspose", (4, 5, 2, 2)), "m": ("MatMul", (256, 7))}
    layers = [Layer(f"node_{name}", kind, f"{name}.w", shape, "encoder") for name, (kind, shape) in shapes.items()]
    found = products(net.model(("x", 3), ["m"]), layers)
    assert [found[layer] for layer in layers] == [108 * 64, 80 * 64, 1792 * 5]


@pytest.mark.parametrize(
    ("costs", "spared"),
    [((0.1, 0.1, 0.1), "ba"), ((0.1, 0.01, 0.3), "ab"), ((0.0, 0.1, 0.3), "b"), ((0.0, 0.0, 0.0), "")],
)
def test_layers_are_spared_by_noise_for_their_work_up_to_half_of_it(costs: tuple[float, ...], spared: str) -> None:
    layers = [Layer(name, "Conv", name, (1,), "encoder") for name in "abc"]
    work = dict(zip(layers, (20, 2, 90), strict=True))  # c is more than half of 112
    found = worth_sparing(work, dict(zip(layers, costs, strict=True)))
    assert "".join(layer.node for layer in found) == spared


@pytest.mark.parametrize(
    ("noise", "judged", "passes"), [(0.05, 256, True), (0.05, 25, False), (0.02, 25, True), (0.1, 256, False)]
)
def test_ranks_must_hold_on_as_few_rows_as_the_gate_is_held_on(noise: float, judged: int, passes: bool) -> None:
    rng = np.random.default_rng(4)
    exact = rng.normal(size=256)
    found = exact + noise * rng.normal(size=256)
    assert _ranks_pass(found, exact, DEFAULT_GATES["int8-cpu"], judged) == passes
