"""Weights to and from torch.nn.RNN, LSTM and GRU: of one cell; of nets, see rnnlab.architectures.torch_nn.

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


def load_torch(cell: Cell, replica: int, module: nn.RNNBase, suffix: str = "") -> None:
    """Copy the weights of a torch.nn module into one replica of a cell.

    Args:
        suffix: of the weights' names, such as `_l1_reverse`; '' where the module has one cell.
    Raises:
        ValueError: the module is not the cell's twin, or has another size, or several cells of which none is named.
    """
    if not suffix and (module.num_layers > 1 or module.bidirectional):
        raise ValueError("only one layer and one direction; rnnlab.architectures.torch_nn takes several")
    suffix = suffix or "_l0"
    _check(cell, module, suffix)
    order = _order(cell)
    weights = {n.removesuffix(suffix): p.detach() for n, p in module.named_parameters() if n.endswith(suffix)}
    bias = weights.get("bias_ih")
    with torch.no_grad():
        for at, name in enumerate(order):
            rows = slice(at * cell.hidden, (at + 1) * cell.hidden)
            cell.block(cell.weight_input[replica], name).copy_(weights["weight_ih"][rows].T)
            cell.block(cell.weight_recurrent[replica], name).copy_(weights["weight_hh"][rows].T)
            block = cell.block(cell.bias[replica, 0], name)
            if bias is None:
                block.zero_()
                continue
            outer, inner = bias[rows], weights["bias_hh"][rows]
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
    module = twin(cell)
    fill(module, "_l0", cell, replica)
    return module


def twin(cell: Cell, **options: Any) -> nn.RNNBase:
    """A module of the cell's kind, sizes and dtype, with torch's own options; ValueError where there is no such."""
    _order(cell)
    weight = cell.weight_input
    return _TWIN[type(cell)](cell.inputs, cell.hidden, dtype=weight.dtype, device=weight.device, **options)


def fill(module: nn.RNNBase, suffix: str, cell: Cell, replica: int) -> None:
    """Put one replica of a cell into a module; see `load_torch`."""
    order = _order(cell)
    target = {n.removesuffix(suffix): p for n, p in module.named_parameters() if n.endswith(suffix)}

    def stacked(parameter: Tensor) -> Tensor:
        return torch.cat([cell.block(parameter[replica], name).mT for name in order])

    with torch.no_grad():
        target["weight_ih"].copy_(stacked(cell.weight_input))
        target["weight_hh"].copy_(stacked(cell.weight_recurrent))
        target["bias_ih"].copy_(stacked(cell.bias).squeeze(-1))
        target["bias_hh"].zero_()
        if isinstance(cell, GRU):
            target["bias_hh"][2 * cell.hidden :].copy_(cell.bias_candidate_recurrent[replica, 0])


def _order(cell: Cell) -> tuple[str, ...]:
    if type(cell) not in _ORDER:
        raise ValueError(f"torch.nn has no twin of {type(cell).__name__}; there is one for RNN, LSTM and GRU")
    return _ORDER[type(cell)]


def _check(cell: Cell, module: nn.RNNBase, suffix: str) -> None:
    _order(cell)
    if not isinstance(module, _TWIN[type(cell)]):
        raise ValueError(f"{type(cell).__name__} takes the weights of a torch.nn.{_TWIN[type(cell)].__name__}")
    if module.proj_size:
        raise ValueError("there is no projection here")
    _, inputs = getattr(module, f"weight_ih{suffix}").shape
    if (inputs, module.hidden_size) != (cell.inputs, cell.hidden):
        raise ValueError(f"sizes differ: module {inputs}x{module.hidden_size}, cell {cell.inputs}x{cell.hidden}")
