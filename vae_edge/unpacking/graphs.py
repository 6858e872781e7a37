"""Standalone ONNX files of the graphs of a bundle, with what their inputs and outputs are written into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from vae_edge_runtime.errors import OptionError
from vae_edge_runtime.format.heads import HEADS
from vae_edge_runtime.format.manifest import GraphSpec, Manifest
from vae_edge_runtime.format.specs import TensorSpec

if TYPE_CHECKING:
    import onnx

InputForm = Literal["bundle", "float32-nchw"]
INPUT_FORMS: tuple[InputForm, ...] = ("bundle", "float32-nchw")
_IMAGES = ("nchw", "nhwc")
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def check_form(form: str, manifest: Manifest) -> InputForm:
    """The form of the input, one of ``INPUT_FORMS``.

    Raises:
        OptionError: it is none of them, or the rows of the bundle are no pictures.
    """
    for valid in INPUT_FORMS:
        if form == valid:
            if form != "bundle" and manifest.input.layout not in _IMAGES:
                raise OptionError(
                    f"input form {form} is for pictures; rows of this bundle are {manifest.input.layout} "
                    f"{list(manifest.input.shape)}: leave the option out"
                )
            return valid
    raise OptionError(f"input form is {form!r}; valid are {', '.join(INPUT_FORMS)}")


def is_turned(form: InputForm, manifest: Manifest) -> bool:
    """Whether rows have another order of axes in the unpacked graphs than in the bundle."""
    return form == "float32-nchw" and manifest.input.layout == "nhwc"


def tensors_of(spec: GraphSpec, form: InputForm, manifest: Manifest) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs of one unpacked graph, in order."""

    def form_of(tensor: TensorSpec) -> TensorSpec:
        if form == "bundle" or tensor.name not in ("x", "map"):
            return tensor
        shape = tensor.shape
        if is_turned(form, manifest):
            shape = (shape[2], shape[0], shape[1])
        return TensorSpec(tensor.name, "float32", shape)

    return [form_of(t) for t in spec.inputs], [form_of(t) for t in spec.outputs]


def standalone(raw: bytes, spec: GraphSpec, form: InputForm, manifest: Manifest, metadata: Mapping[str, str]) -> bytes:
    """One ONNX file that any tool loads, of the joined parts of a graph.

    Raises:
        onnx.checker.ValidationError: what came out is no valid model, which would be a fault of this function.
    """
    import onnx

    model = onnx.load_model_from_string(raw)  # parts that follow one another are merged
    if form != "bundle":
        _takes_float32_nchw(model, manifest)
    model.graph.doc_string = f"{manifest.model.name}: {metadata['vae_edge.graph']} of a vae-edge bundle"
    notes = {t.name: describe(t, form, manifest) for side in tensors_of(spec, form, manifest) for t in side}
    for value in [*model.graph.input, *model.graph.output]:
        value.doc_string = notes[value.name]
    have = {entry.key: entry for entry in model.metadata_props}
    for key, text in metadata.items():
        (have.get(key) or model.metadata_props.add(key=key)).value = text
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _takes_float32_nchw(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Put nodes in front that take float32 NCHW in the range of the raw rows, and turn the map likewise."""
    from onnx import TensorProto, helper

    row, graph = manifest.input, model.graph
    taken = next((value for value in graph.input if value.name == "x"), None)
    if taken is None:  # decode takes a latent
        return
    nodes: list[onnx.NodeProto] = []
    inner, last = "x_of_bundle", "x"

    def add(op: str, inputs: list[str], **attributes: Any) -> str:
        made = f"unpacked_{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [made], **attributes))
        return made

    if row.layout == "nhwc":
        last = add("Transpose", [last], perm=_TO_NHWC)
    if row.dtype == "uint8":
        graph.initializer.append(helper.make_tensor("unpacked_low", TensorProto.FLOAT, [], [0.0]))
        graph.initializer.append(helper.make_tensor("unpacked_high", TensorProto.FLOAT, [], [255.0]))
        last = add("Round", [last])
        last = add("Clip", [last, "unpacked_low", "unpacked_high"])
        last = add("Cast", [last], to=TensorProto.UINT8)
    nodes.append(helper.make_node("Identity", [last], [inner]))
    for node in graph.node:
        node.input[:] = [inner if name == "x" else name for name in node.input]
    channels_first = _shape_nchw(manifest)
    taken.CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *channels_first]))
    nodes += list(graph.node)
    for value in graph.output:
        if value.name == "map" and row.layout == "nhwc":
            for node in nodes:
                node.output[:] = ["map_of_bundle" if name == "map" else name for name in node.output]
                node.input[:] = ["map_of_bundle" if name == "map" else name for name in node.input]
            nodes.append(helper.make_node("Transpose", ["map_of_bundle"], ["map"], perm=_TO_NCHW))
            value.CopyFrom(helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", *channels_first]))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _shape_nchw(manifest: Manifest) -> tuple[int, ...]:
    shape = manifest.input.shape
    return (shape[2], shape[0], shape[1]) if manifest.input.layout == "nhwc" else shape


def describe(tensor: TensorSpec, form: InputForm, manifest: Manifest) -> str:
    """What an input or output is, with type, shape and unit, in one sentence."""
    row, score = manifest.input, manifest.score
    layout = "nchw" if form == "float32-nchw" else row.layout
    own = {
        "x": f"raw rows in data units, layout {layout}, calibrated on {row.low:g} to {row.high:g}; "
        "preprocessing is inside the graph",
        "condition": "the condition of each row",
        "noise": "standard normal values: golden/sampled.noise.bin holds those of one row, the same for every row",
        "z": "latents, as encode gives them as mean",
        "indices": f"indices of codes, 0 to {max(manifest.latent.codebook - 1, 0)}",
        "z_q": "quantised latents",
        "mean": "posterior mean of each row",
        "logvar": "logarithm of the posterior variance",
        "x_hat": "reconstructed rows in data units",
        "score": f"anomaly score by the head {score.heads[0]}, in {score.unit}; larger is less normal",
        "reconstruction": "reconstruction term of each row, in nats",
        "kl": "KL divergence of the posterior from N(0, I), in nats",
        "map": f"share of each element in the reconstruction term, layout {layout}",
    }
    text = own.get(tensor.name) or f"anomaly score by the head {tensor.name}: {HEADS[tensor.name].help}"
    return f"{tensor.dtype} [{', '.join(map(str, ('batch', *tensor.shape)))}]: {text}"
