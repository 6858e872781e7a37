"""Packed sequences, traced as padded rows beside their lengths: the same values, and no shape that values decide.

``pack_padded_sequence`` leaves out padding, so the size of what it gives depends on the lengths, and no graph holds
that. Meanwhile a ``PackedSequence`` has the padded rows, (steps, rows, features), in ``data`` and the lengths, (rows,),
in ``batch_sizes``. Recurrent layers read it so that no padding reaches a valid step or a final state:

- forwards, a valid step depends on steps before it only; the final hidden state is the output at length - 1;
- backwards, the valid steps of each row are turned round first, and back afterwards;
- the final cell state of an LSTM comes from a run in which padding holds the state: one more feature, which is 1 on
  padding, closes the input gate and opens the forget gate. The clean-up drops this run where nobody reads the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

_SHUT = 1e4
"""sigmoid(±1e4) is 1 and 0 exactly in float32, and 1e4 is a number in float16, too."""
_GIVEN = "_vae_edge_packing"


@contextmanager
def packing_as_padding() -> Iterator[None]:
    """While it is on, packing keeps the padding, and recurrent layers step over it.

    Models hold the two functions of PyTorch under names of their own, so their code is exchanged, not their name.
    """
    functions = {rnn.pack_padded_sequence: _pack_stand_in, rnn.pad_packed_sequence: _pad_stand_in}
    codes = {function: function.__code__ for function in functions}
    forwards = {kind: kind.forward for kind in (nn.RNN, nn.GRU, nn.LSTM)}
    setattr(rnn, _GIVEN, (_pack, _pad))
    try:
        for function, stand_in in functions.items():
            function.__code__ = stand_in.__code__
        for kind, forward in forwards.items():
            kind.forward = _reading_padding(forward)  # type: ignore[method-assign]
        yield
    finally:
        for function, code in codes.items():
            function.__code__ = code
        for kind, forward in forwards.items():
            kind.forward = forward  # type: ignore[method-assign]
        delattr(rnn, _GIVEN)


def _pack_stand_in(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:
    return _vae_edge_packing[0](input, lengths, batch_first)  # type: ignore[name-defined]  # noqa: F821


def _pad_stand_in(sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None) -> Any:
    return _vae_edge_packing[1](sequence, batch_first, padding_value, total_length)  # type: ignore[name-defined]  # noqa: F821


def _pack(padded: Tensor, lengths: Any, batch_first: bool) -> PackedSequence:
    if not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths, dtype=torch.int64)
    return PackedSequence(padded.transpose(0, 1) if batch_first else padded, lengths.to(torch.int64))


def _pad(
    sequence: PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    data, lengths = sequence.data, sequence.batch_sizes
    if total_length is not None and total_length > data.shape[0]:
        more = data.new_zeros(total_length - data.shape[0], 1, 1).expand(-1, data.shape[1], data.shape[2])
        data = torch.cat([data, more])
    padded = torch.where(_valid(data, lengths), data, torch.full_like(data, padding_value))
    return padded.transpose(0, 1) if batch_first else padded, lengths


def _valid(data: Tensor, lengths: Tensor) -> Tensor:
    """Which steps are no padding, (steps, rows, 1)."""
    steps = torch.arange(data.shape[0]).unsqueeze(1)
    return (steps < lengths.unsqueeze(0)).unsqueeze(2)


def _reading_padding(forward: Any) -> Any:
    def read(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        return _layers(self, input, hx) if isinstance(input, PackedSequence) else forward(self, input, hx)

    return read


def _layers(recurrent: nn.RNNBase, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
    """What a recurrent module gives for a packed sequence, layer by layer and direction by direction."""
    lengths, outputs = packed.batch_sizes, packed.data
    ways = 2 if recurrent.bidirectional else 1
    hidden: list[Tensor] = []
    cells: list[Tensor] = []
    for layer in range(recurrent.num_layers):
        taken, both = outputs, []
        for way in range(ways):
            weights = _weights(recurrent, layer, way)
            start = _start(recurrent, hx, layer * ways + way, taken)
            steps = _turned(taken, lengths) if way else taken
            given = _run(recurrent, steps, start, weights)[0]
            hidden.append(_last(given, lengths))
            if isinstance(recurrent, nn.LSTM):
                cells.append(_final_cell(recurrent, steps, start, weights, lengths))
            both.append(_turned(given, lengths) if way else given)
        outputs = torch.cat(both, dim=2) if ways == 2 else both[0]
    final: Any = torch.stack(hidden)
    return PackedSequence(outputs, lengths), (final, torch.stack(cells)) if cells else final


def _weights(recurrent: nn.RNNBase, layer: int, way: int) -> list[Tensor]:
    """Of one layer and direction, in the order in which PyTorch takes them."""
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if recurrent.bias else [])]
    names += ["weight_hr"] if recurrent.proj_size else []
    return [getattr(recurrent, f"{name}_l{layer}{'_reverse' if way else ''}") for name in names]


def _start(recurrent: nn.RNNBase, hx: Any, index: int, steps: Tensor) -> tuple[Tensor, ...]:
    """First states of one layer and direction, (1, rows, size) each: hidden, and the cell of an LSTM."""
    if hx is not None:
        return tuple(part[index : index + 1] for part in (hx if isinstance(hx, tuple) else (hx,)))
    hidden = steps.new_zeros(1, steps.shape[1], recurrent.proj_size or recurrent.hidden_size)
    if not isinstance(recurrent, nn.LSTM):
        return (hidden,)
    return hidden, steps.new_zeros(1, steps.shape[1], recurrent.hidden_size)


def _run(recurrent: nn.RNNBase, steps: Tensor, start: tuple[Tensor, ...], weights: list[Tensor]) -> Any:
    """One layer in one direction over (steps, rows, features): its outputs, then its final states."""
    common = (weights, recurrent.bias, 1, 0.0, False, False, False)
    if isinstance(recurrent, nn.LSTM):
        return torch.lstm(steps, start, *common)
    kind = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[recurrent.mode]
    return kind(steps, start[0], *common)


def _last(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Of (steps, rows, size), the last valid step of each row, (rows, size)."""
    at = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(-1, -1, outputs.shape[2])
    return torch.gather(outputs, 0, at).squeeze(0)


def _turned(steps: Tensor, lengths: Tensor) -> Tensor:
    """Valid steps of each row in the opposite order; the padding after them is of no account."""
    places = (lengths.unsqueeze(0) - 1 - torch.arange(steps.shape[0]).unsqueeze(1)).clamp(min=0)
    return torch.gather(steps, 0, places.unsqueeze(2).expand(-1, -1, steps.shape[2]))


def _final_cell(
    recurrent: nn.RNNBase, steps: Tensor, start: tuple[Tensor, ...], weights: list[Tensor], lengths: Tensor
) -> Tensor:
    """Cell state after the last valid step, (rows, size)."""
    size = recurrent.hidden_size
    padding = (~_valid(steps, lengths)).to(steps.dtype)
    ones = torch.ones(size, 1, dtype=steps.dtype)
    # PyTorch has the gates in the order input, forget, cell, output.
    shut = torch.cat([-_SHUT * ones, _SHUT * ones, 0.0 * ones, 0.0 * ones])
    holding = [torch.cat([weights[0], shut], dim=1), *weights[1:]]
    cell: Tensor = _run(recurrent, torch.cat([steps, padding], dim=2), start, holding)[2]
    return cell.squeeze(0)
