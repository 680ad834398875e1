"""Layer normalisation (Ba, Kiros & Hinton 2016), for the cells that have it inside their equations."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def layer_norm(a_RBG: Float[Tensor, "R B G"], gain_R1G: Float[Tensor, "R 1 G"], epsilon: float) -> Tensor:
    """LN(a) = gain (a - mean) / sqrt(variance + epsilon), mean and variance over G: the rows of one example."""
    return gain_R1G * functional.layer_norm(a_RBG, a_RBG.shape[-1:], eps=epsilon)
