"""When pictures are drawn. The clock is the test's own."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from rnnlab.sinks import gallery
from rnnlab.sinks.gallery import FIRST, SHARE, Gallery


class Clock:
    """Stands for the module `time`; drawing takes as long as it is told to."""

    def __init__(self) -> None:
        self.now, self.cost = 0.0, 1.0

    def monotonic(self) -> float:
        return self.now

    def pixels(self, figure: Figure) -> np.ndarray:
        self.now += self.cost
        return np.zeros((1, 1, 3), dtype=np.uint8)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(gallery, "time", clock)
    monkeypatch.setattr(gallery, "pixels", clock.pixels)
    return clock


@pytest.fixture
def hung():
    """(tag, step) of what was drawn."""
    return []


@pytest.fixture
def pictures(clock, hung):
    return Gallery(lambda tag, step, pixels: hung.append((tag, step)))


@pytest.mark.parametrize("cost", [0.1, 1.0, 30.0])
def test_pictures_take_no_more_than_their_share(pictures, clock, hung, cost):
    clock.cost = cost
    for step in range(1, 2001):
        clock.now += 10.0
        for tag in ("a", "b", "c"):
            pictures.offer(tag, step, Figure)
        pictures.draw_some()
        # A picture's cost is known once it was drawn: at first each may go over by what it really costs.
        assert pictures.spent <= SHARE * clock.now + 3 * cost
    drawn = [tag for tag, _ in hung]
    assert pictures.spent >= 0.9 * SHARE * clock.now - 3 * cost, "and they use it"
    assert max(map(drawn.count, "abc")) - min(map(drawn.count, "abc")) <= 1, "and take turns"


def test_the_first_picture_waits_until_its_cost_is_a_small_share(pictures, clock, hung):
    pictures.offer("a", 1, Figure)
    clock.now = 0.9 * FIRST / SHARE
    pictures.draw_some()
    assert hung == []
    clock.now = 1.1 * FIRST / SHARE
    pictures.draw_some()
    assert hung == [("a", 1)]


def test_a_picture_is_drawn_again_only_when_there_is_something_new(pictures, clock, hung):
    clock.now = 1e6
    pictures.offer("a", 1, Figure)
    for _ in range(3):
        pictures.draw_some()
        pictures.draw_rest()
    assert hung == [("a", 1)]
    pictures.offer("a", 2, Figure)
    pictures.draw_some()
    assert hung == [("a", 1), ("a", 2)]


def test_at_the_end_all_are_drawn_that_show_less_than_there_is(pictures, clock, hung):
    for step in (1, 2, 3):
        pictures.offer("a", step, Figure)
        pictures.offer("b", step, Figure)
        pictures.draw_some()
    pictures.draw_rest()
    assert hung == [("a", 3), ("b", 3)]
