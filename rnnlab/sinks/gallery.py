"""When pictures are drawn: often enough to watch a run, and never for more than a small share of its time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnnlab.plotting import Figure, by_default
from rnnlab.sinks.figures import pixels

SHARE = 0.02
"""Pictures during training may take this share of the elapsed time. At the end they are drawn in any case."""
FIRST = 0.5
"""Seconds that a picture is taken to cost before it was timed."""


@dataclass
class _Picture:
    draw: Callable[[], Figure]
    step: int
    drawn_step: int = -1
    turn: int = 0
    seconds: float = FIRST


class Gallery:
    """Pictures under one tag each, drawn anew from everything so far, since TensorBoard keeps only some per tag.

    Args:
        hang: takes a tag, a training step and the pixels, (height, width, 3) uint8.
    """

    def __init__(self, hang: Callable[[str, int, np.ndarray], None]) -> None:
        self.hang = hang
        self.pictures: dict[str, _Picture] = {}
        self.began, self.spent, self.turn = time.monotonic(), 0.0, 0

    def offer(self, tag: str, step: int, draw: Callable[[], Figure]) -> None:
        """There is something new to see, of a training step. `draw` is called later, and shows all there is then."""
        picture = self.pictures.setdefault(tag, _Picture(draw, step))
        picture.draw, picture.step = draw, step

    def draw_some(self) -> None:
        """As many as the time allows; in turns."""
        for tag, picture in self._waiting():
            if self.spent + picture.seconds >= SHARE * (time.monotonic() - self.began):
                return
            self._draw(tag, picture)

    def draw_rest(self) -> None:
        """All that show less than there is to see."""
        for tag, picture in self._waiting():
            self._draw(tag, picture)

    def _waiting(self) -> list[tuple[str, _Picture]]:
        new = [(tag, picture) for tag, picture in self.pictures.items() if picture.step > picture.drawn_step]
        return sorted(new, key=lambda item: item[1].turn)

    def _draw(self, tag: str, picture: _Picture) -> None:
        began, self.turn = time.monotonic(), self.turn + 1
        with by_default():
            drawn = pixels(picture.draw())
        self.hang(tag, picture.step, drawn)
        picture.drawn_step, picture.turn, picture.seconds = picture.step, self.turn, time.monotonic() - began
        self.spent += picture.seconds
