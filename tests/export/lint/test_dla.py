from __future__ import annotations

from onnx import helper

from vae_edge_export.lint.dla import dla_share


def test_products_of_matrices_are_not_counted_and_int8_is_not_promised() -> None:
    kinds = ("Conv", "Relu", "MatMul", "Gemm", "QuantizeLinear", "DequantizeLinear", "Sigmoid")
    nodes = [helper.make_node(kind, [f"x{i}"], [f"x{i + 1}"]) for i, kind in enumerate(kinds)]
    share = dla_share(helper.make_model(helper.make_graph(nodes, "g", [], [])))
    assert share.startswith("would run on DLA: 3 of 5 layers, in 2 pieces between GPU layers")
    assert "fp16 only" in share
    assert "int8" not in share
