"""What is kept of torch's state while it exports, and what is read once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from vae_edge_export.tracing import torch_state
from vae_edge_export.tracing.torch_state import torch_tables_made_once
from vae_edge_export.tracing.trace import quiet


def exported_bytes() -> bytes:
    with quiet():
        program = torch.onnx.export(torch.nn.Linear(3, 2).eval(), (torch.ones(2, 3),), dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.graph.node[0].SerializeToString())


def test_two_graphs_make_the_tables_once_and_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = exported_bytes()
    calls: dict[str, int] = {"translations": 0, "operators": 0}

    def counted(name: str, function: Callable[..., Any], **options: Any) -> Any:
        calls[name] += 1
        return function(**options)

    monkeypatch.setattr(ONNXRegistry, "from_torchlib", partial(counted, "translations", ONNXRegistry.from_torchlib))
    monkeypatch.setattr(
        utils, "_materialize_cpp_cia_ops", partial(counted, "operators", utils._materialize_cpp_cia_ops)
    )
    assert exported_bytes() == plain
    assert calls["translations"] == 1
    assert calls["operators"] > 10
    calls["operators"] = 0
    with torch_tables_made_once():
        assert [exported_bytes(), exported_bytes()] == [plain, plain]
    assert calls == {"translations": 2, "operators": 1}


def test_what_a_graph_adds_to_the_translations_is_not_there_for_the_next() -> None:
    with torch_tables_made_once():
        first = ONNXRegistry.from_torchlib()
        first.functions["aten::relu"].clear()
        assert ONNXRegistry.from_torchlib().functions["aten::relu"]


def test_afterwards_torch_makes_them_by_itself_again() -> None:
    before = vars(ONNXRegistry)["from_torchlib"], utils._materialize_cpp_cia_ops
    with torch_tables_made_once():
        assert vars(ONNXRegistry)["from_torchlib"] is not before[0]
        assert utils._materialize_cpp_cia_ops is not before[1]
    assert (vars(ONNXRegistry)["from_torchlib"], utils._materialize_cpp_cia_ops) == before


def test_a_torch_that_keeps_them_elsewhere_exports_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_state, "_REGISTRATION", "torch.onnx.nowhere:ONNXRegistry")
    monkeypatch.setattr(torch_state, "_DISPATCHER", "torch._export.utils:Nothing")
    plain = exported_bytes()
    with torch_tables_made_once():
        assert exported_bytes() == plain
