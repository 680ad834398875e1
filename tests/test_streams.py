"""Named streams: a draw depends on its seed, stream and index, and on nothing that came before."""

import itertools

import pytest
import torch

from rnnlab.streams import STREAMS, generator
from rnnlab.tasks.task import EVALUATION_SEED


def numbers(seed: int, stream: str, index: int = 0) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=generator(seed, stream, index), dtype=torch.float64).tolist())


def test_every_seed_stream_and_index_has_numbers_of_its_own() -> None:
    seeds = [0, 1, 2, 2**32 - 1, EVALUATION_SEED, 2**32 + 1, 2**33, 2**64 - 1]
    keys = list(itertools.product(seeds, STREAMS, [0, 1, 2, 3, 6, 2**32 - 1]))
    assert len({numbers(*key) for key in keys}) == len(keys)


def test_a_number_too_large_for_its_place_is_refused() -> None:
    for seed, index in ((2**64, 0), (0, 2**32)):
        with pytest.raises(ValueError, match="must be below"):
            generator(seed, "data", index)


def test_a_draw_does_not_depend_on_earlier_ones() -> None:
    first = numbers(3, "data", 7)
    numbers(3, "data", 6)
    torch.manual_seed(5)
    assert numbers(3, "data", 7) == first


def test_streams_keep_their_numbers() -> None:
    """Changing a stream's number or adding one in between would change every result without a word."""
    assert STREAMS["init"] == 0
    assert len(set(STREAMS.values())) == len(STREAMS)
    expected = [0.8488, 0.3493, 0.2986]
    assert [round(x, 4) for x in numbers(0, "data", 1)[:3]] == expected
