"""Weights to and from torch.nn.RNN, LSTM and GRU (one layer, one direction).

torch.nn stacks gates as rows, (G, I), in its own order, and adds two bias vectors. A cell here stacks them as columns,
(R, I, G), and has one bias (the GRU a second one inside its reset gate's product).
"""

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.cell import Cell
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.cells.rnn import RNN

_ORDER: dict[type, tuple[str, ...]] = {
    RNN: ("hidden",),
    LSTM: ("input", "forget", "candidate", "output"),
    GRU: ("reset", "update", "candidate"),
}
_TWIN: dict[type, Any] = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


def load_torch(cell: Cell, replica: int, module: nn.RNNBase) -> None:
    """Copy the weights of a torch.nn module into one replica of a cell.

    Raises:
        ValueError: the module is not the cell's twin, or has another size, several layers or two directions.
    """
    _check(cell, module)
    order = _order(cell)
    weights = {n: p.detach() for n, p in module.named_parameters()}
    bias = weights.get("bias_ih_l0")
    with torch.no_grad():
        for at, name in enumerate(order):
            rows = slice(at * cell.hidden, (at + 1) * cell.hidden)
            cell.block(cell.weight_input[replica], name).copy_(weights["weight_ih_l0"][rows].T)
            cell.block(cell.weight_recurrent[replica], name).copy_(weights["weight_hh_l0"][rows].T)
            block = cell.block(cell.bias[replica, 0], name)
            if bias is None:
                block.zero_()
                continue
            outer, inner = bias[rows], weights["bias_hh_l0"][rows]
            if isinstance(cell, GRU) and name == "candidate":
                block.copy_(outer)
                cell.bias_candidate_recurrent[replica, 0].copy_(inner)
            else:
                block.copy_(outer + inner)
        if bias is None and isinstance(cell, GRU):
            cell.bias_candidate_recurrent[replica].zero_()


def to_torch(cell: Cell, replica: int) -> nn.RNNBase:
    """A torch.nn module with the weights of one replica; the second bias vector is zero (but for the GRU's b_m).

    Raises:
        ValueError: torch.nn has no such cell. (The activation is not looked at: torch.nn computes tanh.)
    """
    order = _order(cell)
    weight = cell.weight_input
    module = _TWIN[type(cell)](cell.inputs, cell.hidden, dtype=weight.dtype, device=weight.device)
    target = dict(module.named_parameters())

    def stacked(parameter: Tensor) -> Tensor:
        return torch.cat([cell.block(parameter[replica], name).mT for name in order])

    with torch.no_grad():
        target["weight_ih_l0"].copy_(stacked(cell.weight_input))
        target["weight_hh_l0"].copy_(stacked(cell.weight_recurrent))
        target["bias_ih_l0"].copy_(stacked(cell.bias).squeeze(-1))
        target["bias_hh_l0"].zero_()
        if isinstance(cell, GRU):
            target["bias_hh_l0"][2 * cell.hidden :].copy_(cell.bias_candidate_recurrent[replica, 0])
    return module


def _order(cell: Cell) -> tuple[str, ...]:
    if type(cell) not in _ORDER:
        raise ValueError(f"torch.nn has no twin of {type(cell).__name__}; there is one for RNN, LSTM and GRU")
    return _ORDER[type(cell)]


def _check(cell: Cell, module: nn.RNNBase) -> None:
    _order(cell)
    if not isinstance(module, _TWIN[type(cell)]):
        raise ValueError(f"{type(cell).__name__} takes the weights of a torch.nn.{_TWIN[type(cell)].__name__}")
    if module.num_layers != 1 or module.bidirectional or module.proj_size:
        raise ValueError("only one layer, one direction and no projection")
    if (module.input_size, module.hidden_size) != (cell.inputs, cell.hidden):
        raise ValueError(
            f"sizes differ: module {module.input_size}x{module.hidden_size}, cell {cell.inputs}x{cell.hidden}"
        )
