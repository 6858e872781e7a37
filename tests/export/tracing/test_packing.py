"""Packed sequences in a graph: the values of PyTorch for every length, beside rows of other lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from vae_edge_export.passes import clean_up
from vae_edge_export.tracing.trace import refused_operators, trace
from vae_edge_runtime.format.specs import Signature, TensorSpec

STEPS, FEATURES = 7, 3
ROWS = torch.randn(9, STEPS, FEATURES, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([7, 1, 3, 7, 2, 5, 6, 4, 1])


class Packs(nn.Module):
    """One recurrent module over packed rows; the final states and every padded output side by side."""

    def __init__(self, recurrent: nn.Module, *, states: bool = False, own_start: bool = False) -> None:
        super().__init__()
        self.recurrent, self.states, self.own_start = recurrent, states, own_start

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        start = ()
        if self.own_start:
            ways = self.recurrent.num_layers * (2 if self.recurrent.bidirectional else 1)
            start = (x.mean((1, 2)).view(1, -1, 1).expand(ways, -1, self.recurrent.hidden_size).contiguous(),)
        outputs, state = self.recurrent(packed, *start)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=STEPS + 2, padding_value=-1.0)
        parts = [padded.flatten(1)]
        for final in state if isinstance(state, tuple) else (state,):
            parts.append(final.transpose(0, 1).flatten(1))
        return torch.cat(parts[: None if self.states else 2], 1)


class LayerBetween(nn.Module):
    """A layer on the packed values, between two recurrent ones; the lengths are read off the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.between = nn.GRU(FEATURES, 4, batch_first=True), nn.Linear(4, 5)
        self.second = nn.GRU(5, 2, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.first(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0]
        packed = PackedSequence(
            torch.relu(self.between(packed.data)), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        return self.second(packed)[1][-1]


def exported(module: nn.Module) -> tuple[np.ndarray[Any, Any], dict[str, int]]:
    with torch.no_grad():
        width = module(ROWS, LENGTHS).shape[1]
    signature = Signature(
        (TensorSpec("x", "float32", (STEPS, FEATURES)), TensorSpec("n", "int64", ())),
        (TensorSpec("y", "float32", (width,)),),
    )
    traced = trace(module, [ROWS[:3], LENGTHS[:3]], graph="g", signature=signature)
    model = clean_up(traced.model, graph="g")
    assert not refused_operators(model, traced)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in model.graph.node]
    result = session.run(None, {"x": ROWS.numpy(), "n": LENGTHS.numpy()})[0]
    return result, {op: operators.count(op) for op in operators}


@pytest.mark.parametrize(
    "module",
    [
        Packs(nn.GRU(FEATURES, 4, batch_first=True)),
        Packs(nn.LSTM(FEATURES, 4, batch_first=True, bidirectional=True)),
        Packs(nn.RNN(FEATURES, 4, 2, batch_first=True, bidirectional=True), own_start=True),
        Packs(nn.GRU(FEATURES, 4, 2, batch_first=True, bidirectional=True, bias=False)),
        Packs(nn.LSTM(FEATURES, 4, 2, batch_first=True), states=True),
        LayerBetween(),
    ],
    ids=["gru", "lstm both ways", "rnn with a state", "gru of two layers", "cell state", "layer between"],
)
def test_packed_rows_are_exported_as_pytorch_runs_them(module: nn.Module) -> None:
    found, _ = exported(module.eval())
    with torch.no_grad():
        np.testing.assert_allclose(found, module(ROWS, LENGTHS).numpy(), rtol=1e-5, atol=1e-6)


def test_a_cell_state_that_nobody_reads_costs_no_second_run() -> None:
    lstm = nn.LSTM(FEATURES, 4, batch_first=True)
    assert exported(Packs(lstm).eval())[1]["LSTM"] == 1
    assert exported(Packs(lstm, states=True).eval())[1]["LSTM"] == 2


def test_pytorch_packs_as_before_afterwards() -> None:
    before = pack_padded_sequence.__code__, pad_packed_sequence.__code__, nn.GRU.forward, nn.LSTM.forward
    exported(Packs(nn.GRU(FEATURES, 4, batch_first=True)).eval())
    assert (pack_padded_sequence.__code__, pad_packed_sequence.__code__, nn.GRU.forward, nn.LSTM.forward) == before
    packed = pack_padded_sequence(ROWS, LENGTHS, batch_first=True, enforce_sorted=False)
    assert packed.data.shape == (int(LENGTHS.sum()), FEATURES)
