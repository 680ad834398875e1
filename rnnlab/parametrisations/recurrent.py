"""The recurrent weights of a population, made from what is trained in their place.

R replica, N blocks, H hidden, G gate rows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rnnlab.cells.cell import Cell
from rnnlab.parametrisations.parametrisation import Parametrisation, Parts


class RecurrentWeights(nn.Module):
    """Trained parts as parameters and fixed parts as buffers, (R, N, ...), of the parametrisation of every block.

    One replica's block is made at a time: a batched decomposition need not give a replica the bits that it has alone.

    Args:
        parametrisation: of one block.
        cell: whose `weight_recurrent` holds what the initialisers drew.
    """

    def __init__(self, parametrisation: Parametrisation, cell: Cell) -> None:
        super().__init__()
        self.parametrisation = parametrisation
        weight_RHG = cell.weight_recurrent.detach()
        blocks = len(cell.blocks) if parametrisation.square else 1
        drawn = [w.double().chunk(blocks, dim=-1) for w in weight_RHG]
        begun = [[parametrisation.begin(block) for block in of_replica] for of_replica in drawn]
        trained, fixed = begun[0][0]
        for name in trained:
            stacked = torch.stack([torch.stack([parts[name] for parts, _ in row]) for row in begun])
            self.register_parameter(name, nn.Parameter(stacked.to(weight_RHG.dtype)))
        for name in fixed:
            stacked = torch.stack([torch.stack([parts[name] for _, parts in row]) for row in begun])
            self.register_buffer(name, stacked.to(weight_RHG.dtype))

    def forward(self) -> Tensor:
        """W, (R, H, G)."""
        named = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        replicas = range(len(next(iter(named.values()))))
        return torch.stack([self.of_replica({name: part[r] for name, part in named.items()}) for r in replicas])

    def of_replica(self, parts_N: Mapping[str, Tensor]) -> Tensor:
        """W of one replica, (H, G), from its parts (N, ...)."""
        blocks = range(len(next(iter(parts_N.values()))))
        parts: list[Parts] = [{name: part[n] for name, part in parts_N.items()} for n in blocks]
        return torch.cat([self.parametrisation.weight(**of_block) for of_block in parts], dim=-1)
