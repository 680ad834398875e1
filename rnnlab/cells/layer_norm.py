"""Layer normalisation (Ba, Kiros & Hinton 2016), for the cells that have it inside their equations."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rnnlab.cells.cell import Cell
from rnnlab.plan import Plan


def layer_norm(a_RBG: Float[Tensor, "R B G"], gain_R1G: Float[Tensor, "R 1 G"], epsilon: float) -> Tensor:
    """LN(a) = gain (a - mean) / sqrt(variance + epsilon), mean and variance over G: the rows of one example."""
    return gain_R1G * functional.layer_norm(a_RBG, a_RBG.shape[-1:], eps=epsilon)


def single_input(cell: Cell, plan: Plan) -> str | None:
    """What is lost of one input by a cell that normalises x_t U by itself."""
    if cell.inputs > 1:
        return None
    return (
        f"{plan.chosen('cell')} normalises x_t U over its units: of this task's one input only the sign is left. "
        "cell=rnn_layernorm normalises its sum with h_(t-1) W."
    )
