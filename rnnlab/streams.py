"""Randomness is passed, never ambient: one seed gives named streams, and every draw of a stream has its own generator.

The generator of (seed, stream, index) does not depend on what was drawn before. So the batch of step 700 of seed 3 is
the same in a population, alone, and after a resume, and no generator state is kept.
"""

import numpy as np
import torch

from rnnlab.groups import GROUPS

STREAMS = {
    "init": 0,
    "data": 1,
    "evaluation": 2,
    "set": 3,
    "order": 4,
    "permutation": 5,
    "example": 6,
    "probe": 7,
    "attribution": 8,
    "waveform": 30,
    **{group.key: group.stream for group in GROUPS.values() if group.stream is not None},
}

CPU = torch.device("cpu")


def generator(seed: int, stream: str, index: int = 0, device: torch.device = CPU) -> torch.Generator:
    """A generator for one draw.

    Args:
        seed: the replica's seed.
        stream: a name from STREAMS.
        index: which draw of the stream, for example the training step.
        device: where the numbers are to be. Every kind of device has numbers of its own.
    """
    # Always four words of 32 bits: SeedSequence writes numbers one after the other and pads with zeros, so that
    # (2**32, 2, 0) and (0, 1, 2) would be the same four words.
    words = (seed & 0xFFFFFFFF, STREAMS[stream], index, seed >> 32)
    if max(words) >= 2**32:
        raise ValueError(f"seed must be below 2**64 and index below 2**32, not {seed} and {index}")
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))
