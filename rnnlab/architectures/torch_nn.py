"""Weights to and from torch.nn.RNN, LSTM and GRU with several layers or two directions."""

from torch import nn

from rnnlab.architectures.bidirectional import Bidirectional
from rnnlab.architectures.model import Model
from rnnlab.architectures.single import Single
from rnnlab.architectures.stacked import Stacked
from rnnlab.cells import torch_nn


def load_torch(model: Model, replica: int, module: nn.RNNBase) -> None:
    """Copy the weights of a torch.nn module into the cells of one replica of a net.

    Raises:
        ValueError: the module is not the net's twin, or has another size.
    """
    names, directions = _suffixes(model), 1 + isinstance(model.architecture, Bidirectional)
    if module.num_layers * (1 + module.bidirectional) != len(names) or 1 + module.bidirectional != directions:
        raise ValueError(
            f"the net has {len(names) // directions} layers in {directions} direction(s), the module "
            f"{module.num_layers} in {1 + module.bidirectional}"
        )
    for name, suffix in names.items():
        torch_nn.load_torch(model.cells[name], replica, module, suffix)


def to_torch(model: Model, replica: int) -> nn.RNNBase:
    """A torch.nn module with the weights of one replica's cells: its outputs are what the readout sees.

    Raises:
        ValueError: torch.nn has no such cell or architecture.
    """
    names, architecture = _suffixes(model), model.architecture
    first, *_ = model.cells.values()
    two = isinstance(architecture, Bidirectional)
    layers = len(names) // (1 + two)
    module = torch_nn.twin(first, num_layers=layers, bidirectional=two)
    for name, suffix in names.items():
        torch_nn.fill(module, suffix, model.cells[name], replica)
    return module


def _suffixes(model: Model) -> dict[str, str]:
    """What torch.nn's names of a cell's weights end in, by the cell's name."""
    architecture, names = model.architecture, list(model.cells)
    if isinstance(architecture, Single | Stacked) and not getattr(architecture, "residual", False):
        return {name: f"_l{k}" for k, name in enumerate(names)}
    if isinstance(architecture, Bidirectional):
        return {name: f"_l{k // 2}{'_reverse' if k % 2 else ''}" for k, name in enumerate(names)}
    residual = " with residual connections" if isinstance(architecture, Stacked) else ""
    raise ValueError(f"torch.nn has no twin of the architecture {type(architecture).__name__}{residual}")
