"""The adding problem as one would write it by hand: no logging, no adjoints, no checkpoint, one seed."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        self.rnn = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](2, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        return self.head(output[-1]).squeeze(-1)


def adding(length: int, batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, 2), numbers and marks, and targets (B,): the sum of the two marked numbers."""
    values, marks = torch.rand(length, batch, device=device), torch.zeros(length, batch, device=device)
    first = torch.randint(0, length // 2, (batch,), device=device)
    second = torch.randint(length // 2, length, (batch,), device=device)
    each = torch.arange(batch, device=device)
    marks[first, each] = 1.0
    marks[second, each] = 1.0
    return torch.stack([values, marks], dim=-1), values[first, each] + values[second, each]


def train(cell: str, *, length: int, batch: int, hidden: int, seed: int, device: str) -> Iterator[Tensor]:
    """Train for ever; gives control back after every step, with its loss."""
    torch.manual_seed(seed)
    net = Net(cell, hidden).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    while True:
        x, y = adding(length, batch, device)
        loss = nn.functional.mse_loss(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        yield loss.detach()
