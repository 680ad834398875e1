"""What the fused engine is held to: ratios of times, as medians over shapes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A ratio that must be reached, and the one aimed at."""

    must: float
    aim: float


_TORCH_NN = {"rnn": Target(0.35, 0.25), "lstm": Target(0.60, 0.48), "gru": Target(0.35, 0.25)}


def unroll_targets(cell: str) -> dict[str, Target]:
    """By ratio, for one cell. torch.nn records nothing; hooks and JAX give the same norms."""
    return {
        "rnnlab/torch_nn": _TORCH_NN[cell],
        "rnnlab/hooks": Target(0.33, 0.20),
        "rnnlab/jax": Target(0.40, 0.25),
        "rnnlab/floor": Target(1.5, 1.1),
        "norms on/off": Target(1.03, 1.00),
    }


TRAIN = {"one_seed/script": 0.8, "eight_seeds/eight_scripts": 0.55}
"""A training step with adjoint norms recorded, against the plain script, which records nothing."""
