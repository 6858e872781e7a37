"""What is kept of torch's state while it exports, and what is read once."""

from __future__ import annotations

import torch
from torch.onnx._internal.exporter import _registration

from vae_edge_export.tracing import torch_state
from vae_edge_export.tracing.torch_state import translations_read_once
from vae_edge_export.tracing.trace import quiet


def exported_bytes() -> bytes:
    with quiet():
        program = torch.onnx.export(torch.nn.Linear(3, 2).eval(), (torch.ones(2, 3),), dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.graph.node[0].SerializeToString())


def test_two_graphs_read_the_translations_once_and_are_what_they_were() -> None:
    plain = exported_bytes()
    torch_state._translations.cache_clear()
    with translations_read_once():
        assert [exported_bytes(), exported_bytes()] == [plain, plain]
    assert (torch_state._translations.cache_info().misses, torch_state._translations.cache_info().hits) == (1, 1)


def test_afterwards_torch_reads_them_by_itself_again() -> None:
    before = _registration.onnxscript_apis.get_torchlib_ops
    with translations_read_once():
        assert _registration.onnxscript_apis.get_torchlib_ops is not before
    assert _registration.onnxscript_apis.get_torchlib_ops is before
